#!/usr/bin/env python3
"""Holds the machine code of the plugin's kernels to what it promises, without a GPU.

    tests/cuda/sass_check.py build/release/server/unmask-cuda.so
    tests/cuda/sass_check.py --update build/release/server/unmask-cuda.so

Every kernel, for every architecture of the plugin: no local memory, no stack, no TF32; registers
and shared memory at most as in resources.tsv, which --update writes anew; what kernels.tsv marks:

    tensor     has instructions of the tensor cores; kernels without the mark have none
    wide       reads global memory in 128-bit pieces where it streams
    only-wide  reads global memory in 128-bit pieces and no others

calibration.cu is compiled and counted first, so that a toolkit that spells its instructions in
another way fails instead of switching the checks off.
"""
import argparse
import collections
import csv
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESOURCES, MARKS = HERE / "resources.tsv", HERE / "kernels.tsv"
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")

ELF_ARCH = re.compile(r"^arch = (sm_\w+)", re.M)
USAGE = re.compile(r"^ Function (\S+):\n\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", re.M)
FUNCTION = re.compile(r"^\s+Function : (\S+)", re.M)
INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", re.M)

# What the counts of a kernel are called, and the opcodes that they count.
KINDS = {
    "local": re.compile(r"(LDL|STL)\b"),
    "tensor": re.compile(r"(HMMA|HGMMA|UTCHMMA|OMMA|QMMA|IMMA|DMMA|WARPGROUP)\b"),
    "tf32": re.compile(r"[A-Z]*MMA\b.*\.TF32\b"),
    "wide": re.compile(r"(LDG|LDGSTS)\b.*\.128\b"),
    "load64": re.compile(r"LDG\b.*\.64\b"),
    "load": re.compile(r"LDG\b"),
}
# kernel -> what must be there (True) and what must not (False).
CALIBRATION = {
    "loads_32": {"load": True, "load64": False, "wide": False, "local": False, "tensor": False},
    "loads_64": {"load": True, "load64": True, "wide": False},
    "loads_128": {"load": True, "load64": False, "wide": True},
    "copies_128_to_shared": {"wide": True, "load": False},
    "uses_local_memory": {"local": True},
    "multiplies_bf16": {"tensor": True, "tf32": False, "local": False},
    "multiplies_tf32": {"tensor": True, "tf32": True},
}


class Kernel:
    """One kernel for one architecture."""

    def __init__(self, registers, stack, shared, local):
        self.registers, self.stack, self.shared, self.local = registers, stack, shared, local
        self.counts = collections.Counter()


class Results:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, faults):
        """A check passes when it found no faults."""
        faults = list(faults)
        print(f"{'FAIL' if faults else 'ok  '} {name}")
        for fault in faults:
            print(f"    {fault}")
        self.failed += bool(faults)
        self.passed += not faults


def tool(name, *arguments):
    run = subprocess.run([name, *map(str, arguments)], capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(map(str, run.args))}: {run.stderr.strip()}")
    return run.stdout


def paths():
    lines = tool(ROOT / "scripts/setup_cuda", "paths").splitlines()
    return dict(line.split("=", 1) for line in lines)


def short_names(mangled):
    """Names as people write them: attend_mma<64>."""
    names = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True,
                           check=True).stdout.splitlines()
    short = {}
    for symbol, name in zip(mangled, names):
        name = name.replace("(anonymous namespace)::", "").removeprefix("void ")
        short[symbol] = name.split("(")[0]
    return short


def sections(text):
    """(architecture, its part of cuobjdump's output) for each cubin."""
    starts = [m for m in ELF_ARCH.finditer(text)]
    for match, following in zip(starts, [*starts[1:], None]):
        part = text[match.end():following.start() if following else None]
        yield match.group(1), part


def read_kernels(cuobjdump, path):
    """{(kernel, architecture): Kernel}"""
    kernels, symbols = {}, set()
    for arch, part in sections(tool(cuobjdump, "-res-usage", path)):
        for symbol, *numbers in USAGE.findall(part):
            symbols.add(symbol)
            kernels[symbol, arch] = Kernel(*map(int, numbers))
    for arch, part in sections(tool(cuobjdump, "-sass", path)):
        pieces = FUNCTION.split(part)
        for symbol, code in zip(pieces[1::2], pieces[2::2]):
            for opcode in INSTRUCTION.findall(code):
                for kind, pattern in KINDS.items():
                    kernels[symbol, arch].counts[kind] += bool(pattern.match(opcode))
    names = short_names(sorted(symbols))
    if len(set(names.values())) != len(names):
        twice = [n for n, c in collections.Counter(names.values()).items() if c > 1]
        sys.exit(f"two kernels are called {', '.join(twice)}: resources.tsv needs unique names")
    return {(names[symbol], arch): kernel for (symbol, arch), kernel in kernels.items()}


def read_table(path):
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def write_resources(kernels):
    with open(RESOURCES, "w", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(["kernel", "arch", "registers", "shared"])
        for (name, arch), kernel in sorted(kernels.items(), key=sort_key):
            rows.writerow([name, arch, kernel.registers, kernel.shared])


def sort_key(item):
    name, arch = item[0]
    return name, ARCHITECTURES.index(arch)


def calibrate(results, nvcc, cuobjdump):
    with tempfile.TemporaryDirectory() as folder:
        fatbin = pathlib.Path(folder) / "calibration.fatbin"
        targets = [f"-gencode=arch=compute_{a[3:]},code={a}" for a in ARCHITECTURES]
        tool(nvcc, "-std=c++17", "-O3", *targets, "--fatbin", HERE / "calibration.cu", "-o", fatbin)
        kernels = read_kernels(cuobjdump, fatbin)
    for arch in ARCHITECTURES:
        results.check(f"calibration {arch}", calibration_faults(kernels, arch))


def calibration_faults(kernels, arch):
    for name, expected in CALIBRATION.items():
        if (name, arch) not in kernels:
            yield f"{name} is not there"
            continue
        counts = kernels[name, arch].counts
        for kind, there in expected.items():
            if (counts[kind] > 0) != there:
                yield f"{name}: {counts[kind]} instructions of kind '{kind}', expected " \
                      f"{'some' if there else 'none'}"


def memory_faults(kernels):
    for (name, arch), kernel in kernels.items():
        if kernel.counts["local"] or kernel.stack or kernel.local:
            yield f"{name} {arch}: {kernel.counts['local']} loads and stores of local memory, " \
                  f"stack {kernel.stack}, local {kernel.local}"


def tf32_faults(kernels):
    for (name, arch), kernel in kernels.items():
        if kernel.counts["tf32"]:
            yield f"{name} {arch}: {kernel.counts['tf32']} TF32 products"


def resource_faults(kernels):
    table = {(row["kernel"], row["arch"]): row for row in read_table(RESOURCES)}
    for key in sorted(table.keys() - kernels.keys()):
        yield f"{' '.join(key)}: in resources.tsv, but not in the plugin (--update)"
    for key, kernel in kernels.items():
        row = table.get(key)
        if not row:
            yield f"{' '.join(key)}: not in resources.tsv (--update)"
            continue
        for what, now in (("registers", kernel.registers), ("shared", kernel.shared)):
            if now > int(row[what]):
                yield f"{' '.join(key)}: {what} {now}, at most {row[what]} in resources.tsv"


def mark_faults(kernels):
    marks = {row["kernel"]: set(row["marks"].split()) for row in read_table(MARKS)}
    names = {name for name, _ in kernels}
    for name in sorted(marks.keys() - names):
        yield f"{name}: in kernels.tsv, but not in the plugin"
    for name in sorted(names - marks.keys()):
        yield f"{name}: not in kernels.tsv"
    for (name, arch), kernel in kernels.items():
        mine = marks.get(name, set())
        if unknown := mine - {"tensor", "wide", "only-wide"}:
            yield f"{name}: unknown marks {' '.join(sorted(unknown))}"
        if ("tensor" in mine) != (kernel.counts["tensor"] > 0):
            yield f"{name} {arch}: {kernel.counts['tensor']} tensor-core instructions, mark " \
                  f"'{' '.join(sorted(mine))}'"
        wide, loads = kernel.counts["wide"], kernel.counts["load"]
        if ("wide" in mine or "only-wide" in mine) and not wide:
            yield f"{name} {arch}: no 128-bit loads among {loads} loads"
        if "only-wide" in mine and wide != loads:
            yield f"{name} {arch}: {loads - wide} loads of less than 128 bits"


def architecture_faults(kernels):
    names = {name for name, _ in kernels}
    if not names:
        yield "no kernels"
    for name in sorted(names):
        missing = [a for a in ARCHITECTURES if (name, a) not in kernels]
        if missing:
            yield f"{name}: not built for {', '.join(missing)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write resources.tsv")
    parser.add_argument("plugin")
    options = parser.parse_args()
    places = paths()
    if not places["UM_CUDA_TOOLS"]:
        sys.exit("cuobjdump is missing; scripts/setup_cuda brings it")
    cuobjdump = pathlib.Path(places["UM_CUDA_TOOLS"]) / "cuobjdump"
    kernels, results = read_kernels(cuobjdump, options.plugin), Results()
    if options.update:
        write_resources(kernels)
    calibrate(results, places["UM_NVCC"], cuobjdump)
    results.check("every kernel for every architecture", architecture_faults(kernels))
    results.check("no local memory", memory_faults(kernels))
    results.check("no TF32", tf32_faults(kernels))
    results.check("registers and shared memory", resource_faults(kernels))
    results.check("tensor cores and wide loads where marked", mark_faults(kernels))
    print(f"{results.passed} passed, {results.failed} failed, 0 skipped")
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
