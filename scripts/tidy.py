#!/usr/bin/env python3
"""Style that a machine can check: banned calls (with the replacement named), file and function
length, leftovers, dead files, formatting. Run as a test; `tidy.py --fix` formats in place."""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE_FOLDERS = ("core", "kernels", "config", "server", "tests")
SOURCES, HEADERS = {".c", ".cpp", ".cu"}, {".h", ".cuh"}
FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 100  # a screen and a half; tables and straight-line layer sequences fit

# call -> what to use instead. Applies to all C of the project, except where ALLOWED says why.
BANNED = {
    "malloc": "um_mem_zalloc (core/base/mem.h)",
    "calloc": "um_mem_calloc",
    "realloc": "um_mem_realloc",
    "free": "um_mem_free",
    "strdup": "um_mem_strdup",
    "strndup": "um_mem_strndup",
    "strcpy": "um_buf or snprintf",
    "strcat": "um_buf",
    "sprintf": "snprintf or um_buf_printf",
    "vsprintf": "vsnprintf",
    "gets": "fgets",
    "atoi": "strtol with checks",
    "atof": "strtod with checks",
    "strtok": "strtok_r, or a loop",
    "rand": "core/base/rng.h",
    "srand": "core/base/rng.h",
    "alloca": "a fixed array or um_mem",
    "assert": "UM_ASSERT",
    "exit": "return a status (only main.c ends the process)",
    "getenv": "config/ (the only reader of the environment)",
    "gmtime": "gmtime_r",
    "localtime": "localtime_r",
    "usleep": "nanosleep",
}
ALLOWED = {
    ("core/base/mem.c", "calloc"), ("core/base/mem.c", "realloc"), ("core/base/mem.c", "free"),
    ("tests/fakecuda/planted.cu", "assert"),  # the device's own, planted to be found
}
# Tests and tools are programs of their own: they end themselves, read their environment and may
# sleep.
TEST_ALLOWED = {"exit", "getenv", "usleep", "malloc", "calloc", "free"}
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
COMMENT_OR_STRING = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(match):
    """Comments and strings become spaces, so that line numbers stay."""
    return re.sub(r"[^\n]", " ", match.group(0))


def c_files():
    for folder in SOURCE_FOLDERS:
        yield from sorted(p for p in (ROOT / folder).rglob("*.*") if p.suffix in SOURCES | HEADERS)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def banned_faults(name, code):
    for match in re.finditer(r"(?<![\w.>])([a-z]\w*)\s*\(", code):
        call = match.group(1)
        if call not in BANNED or (name, call) in ALLOWED:
            continue
        if name.startswith("tests/") and call in TEST_ALLOWED:
            continue
        if call == "exit" and name == "server/main.c":
            continue
        if call == "getenv" and name.startswith("config/"):
            continue
        line = code.count("\n", 0, match.start()) + 1
        yield f"{name}:{line}: {call}() is banned: use {BANNED[call]}"


def function_faults(name, code):
    """A function body opens with `{` in column 0 and ends with `}` in column 0."""
    start = None
    for number, line in enumerate(code.split("\n"), 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start - 1 > FUNCTION_LINES_MAX:
                yield f"{name}:{start}: function of {number - start - 1} lines (limit {FUNCTION_LINES_MAX})"
            start = None


def text_faults(name, text):
    if text.count("\n") > FILE_LINES_MAX:
        yield f"{name}: {text.count(chr(10))} lines (limit {FILE_LINES_MAX})"
    for number, line in enumerate(text.split("\n"), 1):
        if LEFTOVER.search(line):
            yield f"{name}:{number}: leftover {LEFTOVER.search(line).group(1)}"
        if line != line.rstrip():
            yield f"{name}:{number}: trailing space"
        if "\t" in line:
            yield f"{name}:{number}: tab"


def dead_files():
    lists = "\n".join(p.read_text() for p in ROOT.rglob("CMakeLists.txt") if "build" not in p.parts)
    sources = "\n".join(p.read_text() for p in c_files())
    for path in c_files():
        if path.suffix in SOURCES and path.name not in lists:
            yield f"{name_of(path)}: in no CMakeLists.txt"
        if path.suffix in HEADERS and f'"{name_of(path)}"' not in sources:
            yield f"{name_of(path)}: included by nobody"


def clang_format():
    for name in ("clang-format-14", "clang-format"):
        if shutil.which(name):
            version = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
            if " 14." in version:
                return name
    return None


def format_faults(fix):
    tool = clang_format()
    if not tool:
        print("tidy: clang-format 14 is not here, formatting not checked")
        return
    files = [str(p) for p in c_files()]
    if fix:
        subprocess.run([tool, "-i", *files], check=True)
        return
    run = subprocess.run([tool, "--dry-run", "--Werror", *files], capture_output=True, text=True)
    seen = set()
    for match in re.finditer(r"^(\S+?):(\d+):\d+: error", run.stderr, re.M):
        if match.group(1) not in seen:
            seen.add(match.group(1))
            yield f"{name_of(pathlib.Path(match.group(1)))}:{match.group(2)}: not formatted (scripts/tidy.py --fix)"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fix", action="store_true", help="format in place")
    fix = parser.parse_args().fix
    found = []
    for path in c_files():
        name, text = name_of(path), path.read_text()
        code = COMMENT_OR_STRING.sub(blank, text)
        found += [*text_faults(name, text), *banned_faults(name, code), *function_faults(name, code)]
    for path in sorted((ROOT / "scripts").rglob("*.py")) + sorted((ROOT / "tests").rglob("*.py")):
        if path != pathlib.Path(__file__).resolve():
            found += text_faults(name_of(path), path.read_text())
    found += dead_files()
    found += format_faults(fix)
    for line in found:
        print(line)
    print(f"tidy: {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
