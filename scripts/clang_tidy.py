#!/usr/bin/env python3
"""Runs clang-tidy (.clang-tidy) over the product's C files of a build folder, two at a time.

    scripts/clang_tidy.py build/asan
"""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def find_tool():
    for name in ("clang-tidy", *(f"clang-tidy-{v}" for v in range(21, 13, -1))):
        if shutil.which(name):
            return name
    sys.exit("clang-tidy is not installed; run scripts/setup test")


def sources(build):
    """C files of the product: tests follow the same guide, but may do odd things on purpose."""
    commands = json.loads((build / "compile_commands.json").read_text())
    files = {pathlib.Path(c["file"]).resolve() for c in commands if c["file"].endswith(".c")}
    return sorted(f for f in files if f.relative_to(ROOT).parts[0] != "tests")


def main():
    build, tool = pathlib.Path(sys.argv[1]), find_tool()

    def check(path):
        run = subprocess.run([tool, "-p", str(build), "--quiet", str(path)],
                             capture_output=True, text=True)
        return path, run.returncode, run.stdout

    faults = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, status, output in pool.map(check, sources(build)):
            if status:
                faults += 1
                print(output)
    print(f"clang-tidy: {faults} files with faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
