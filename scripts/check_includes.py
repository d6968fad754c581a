#!/usr/bin/env python3
"""Checks every #include of the tree against the floors of ARCHITECTURE.md.

A file may include its own folder and any floor below; never upward, never a sibling. Third-party
headers are confined to the folders that own them. Link order alone does not show this.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Floor of each folder; the longest matching prefix counts.
FLOORS = {
    "core/base": 0,
    "kernels": 1,
    "kernels/ref": 1,
    "kernels/cpu": 1,
    "kernels/cuda": 1,
    "core/model": 2,
    "core/text": 2,
    "core/engine": 3,
    "config": 4,
    "server": 5,
}
# A backend may see its parent's interface and the reference it starts from; the parent only opens it.
SAME_FLOOR = {
    ("kernels/ref", "kernels"),
    ("kernels/cpu", "kernels"),
    ("kernels/cpu", "kernels/ref"),
    ("kernels/cuda", "kernels"),
}
# Header (prefix) -> files that may include it.
CONFINED = {
    "microhttpd.h": r"server/",
    "uv.h": r"server/",
    "jansson.h": r"core/base/json\.c|server/\w+_json\.c|config/",
    "pcre2.h": r"core/text/",
    "utf8proc.h": r"core/text/",
    "immintrin.h": r"kernels/cpu/",
    "cuda": r"kernels/cuda/",
    "cublas": r"kernels/cuda/",
}
SUFFIXES = {".c", ".h", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)


def folder_of(path):
    """The longest entry of FLOORS that holds `path`, or None (tests, scripts)."""
    matches = [f for f in FLOORS if path.startswith(f + "/")]
    return max(matches, key=len, default=None)


def project_include_fault(source, target):
    here, there = folder_of(source), folder_of(target)
    if not (ROOT / target).exists():
        return f"{target} does not exist (include paths start at the top level)"
    if here is None:
        return None
    if there is None:
        return f"{target} belongs to no floor that {here} may see"
    if here == there or (here, there) in SAME_FLOOR:
        return None
    if FLOORS[there] >= FLOORS[here]:
        return f"{here} (floor {FLOORS[here]}) may not include {there} (floor {FLOORS[there]})"
    return None


def confined_fault(source, header):
    for prefix, allowed in CONFINED.items():
        if header.startswith(prefix) and not re.match(allowed, source):
            return f"<{header}> is confined to {allowed}"
    return None


def faults():
    for folder in ("core", "kernels", "config", "server"):
        for path in sorted(p for p in (ROOT / folder).rglob("*.*") if p.suffix in SUFFIXES):
            source = path.relative_to(ROOT).as_posix()
            for kind, header in INCLUDE.findall(path.read_text()):
                fault = (project_include_fault(source, header) if kind == '"'
                         else confined_fault(source, header))
                if fault:
                    yield f"{source}: {fault}"


def main():
    found = list(faults())
    for line in found:
        print(line)
    print(f"include check: {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
