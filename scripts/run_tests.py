#!/usr/bin/env python3
"""Builds and runs every test and counts them. Called by scripts/test, which does the set-up.

Stages, cheapest first; a failed stage does not hide the later ones. Each writes its log to
build/logs/; the end of a failing log is shown. The last line is "N passed, N failed, N skipped".
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "logs"
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
FUZZ_SECONDS = 10
TAIL_LINES = 60
# The README's commands are about the release build.
SERVER_TESTS = ("tests/server", "--ignore=tests/server/test_readme.py")


class Totals:
    """What was run so far, and which stages failed."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.faults = []

    def add(self, stage, passed, failed, skipped, log, seconds):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        mark = "ok  " if failed == 0 else "FAIL"
        print(f"{mark} {stage:<34} {passed:>5} passed {failed:>3} failed {skipped:>3} skipped"
              f"  {seconds:6.1f} s", flush=True)
        if failed:
            self.faults.append(stage)
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            print("\n".join("     | " + line for line in lines[-TAIL_LINES:]), flush=True)


def run(command, log, env=None, timeout=1800):
    """Runs a command into a log file; its exit status, or 124 when it overran."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out:
        try:
            return subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, timeout=timeout,
                                  env={**os.environ, **(env or {})}).returncode
        except subprocess.TimeoutExpired:
            return 124


def single(totals, stage, command, skip_status=None):
    """A check that is one test: passes when it exits with 0."""
    log, start = LOGS / f"{stage.replace(' ', '-')}.log", time.monotonic()
    status = run(command, log)
    skipped = int(status == skip_status)
    totals.add(stage, int(status == 0), int(status != 0 and not skipped), skipped, log,
               time.monotonic() - start)


def build(totals, preset):
    """Configures and builds a preset; counted as one test. True when it worked."""
    log, start = LOGS / f"build-{preset}.log", time.monotonic()
    status = run(["cmake", "--preset", preset], log)
    if status == 0:
        status = run(["cmake", "--build", f"build/{preset}"], log)
    totals.add(f"build {preset}", int(status == 0), int(status != 0), 0, log,
               time.monotonic() - start)
    return status == 0


def ctest_counts(report):
    """Sums the cases that the C programs counted themselves; a program without a count is one."""
    passed = failed = skipped = 0
    for case in xml.parse(report).iter("testcase"):
        counts = COUNTS.findall(case.findtext("system-out") or "")
        ok = case.get("status") == "run" and case.find("failure") is None
        p, f, s = map(int, counts[-1]) if counts else (int(ok), int(not ok), 0)
        passed, skipped = passed + p, skipped + s
        failed += f if f or ok else 1
    return passed, failed, skipped


def sanitizer_env():
    return {
        "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
    }


def ctest(totals, preset, *arguments):
    stage = f"C tests {preset}"
    log, report, start = LOGS / f"ctest-{preset}.log", LOGS / f"ctest-{preset}.xml", time.monotonic()
    report.unlink(missing_ok=True)
    run(["ctest", "--test-dir", f"build/{preset}", "--output-junit", str(report), "-j2",
         "--output-on-failure", "--test-output-size-passed", "1000000", *arguments],
        log, sanitizer_env())
    counts = ctest_counts(report) if report.exists() else (0, 1, 0)
    totals.add(stage, *counts, log, time.monotonic() - start)


def pytest(totals, preset, *arguments):
    stage = f"Python tests {preset}"
    log, report, start = LOGS / f"pytest-{preset}.log", LOGS / f"pytest-{preset}.xml", time.monotonic()
    report.unlink(missing_ok=True)
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=300",
         f"--junitxml={report}", *arguments], log,
        {**sanitizer_env(), "UM_BUILD_DIR": str(ROOT / "build" / preset), "PYTHONDONTWRITEBYTECODE": "1"})
    counts = (0, 1, 0)
    if report.exists():
        suite = xml.parse(report).getroot().find("testsuite")
        failed = int(suite.get("failures")) + int(suite.get("errors"))
        skipped = int(suite.get("skipped"))
        counts = (int(suite.get("tests")) - failed - skipped, failed, skipped)
    totals.add(stage, *counts, log, time.monotonic() - start)


def fuzz(totals, seconds):
    """Each target for a bounded time on a copy of its corpus; a finding is a failure."""
    for target in sorted((ROOT / "build/fuzz/tests/fuzz").glob("fuzz_*")):
        if not os.access(target, os.X_OK) or target.is_dir():
            continue
        name = target.name.removeprefix("fuzz_")
        work = ROOT / "build/fuzz/work" / name
        work.mkdir(parents=True, exist_ok=True)
        corpus = ROOT / "tests/fuzz/corpus" / name
        single(totals, f"fuzz {name}",
               [str(target), f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=4096",
                "-max_len=65536", f"-artifact_prefix={work}/", str(work), str(corpus)])


def static(totals):
    single(totals, "include check", [sys.executable, "scripts/check_includes.py"])
    single(totals, "tidy check", [sys.executable, "scripts/tidy.py"])


def clang_tidy(totals, preset):
    single(totals, "clang-tidy", [sys.executable, "scripts/clang_tidy.py", f"build/{preset}"])


def quick(totals):
    static(totals)
    if build(totals, "release"):
        ctest(totals, "release")
        pytest(totals, "release", "tests")


def everything(totals, fuzz_seconds):
    quick(totals)
    if build(totals, "asan"):
        clang_tidy(totals, "asan")
        ctest(totals, "asan")
        pytest(totals, "asan", *SERVER_TESTS)
    if build(totals, "tsan"):
        ctest(totals, "tsan", "-L", "threads")
        pytest(totals, "tsan", *SERVER_TESTS)
    if build(totals, "fuzz"):
        fuzz(totals, fuzz_seconds)


def deep(totals):
    """The matrix on this machine, then in fresh Debian roots."""
    everything(totals, FUZZ_SECONDS * 6)
    for preset in ("clang", "debug"):
        if build(totals, preset):
            ctest(totals, preset)
            pytest(totals, preset, *SERVER_TESTS)
    for release in ("bookworm", "trixie"):
        single(totals, f"Debian {release}", ["bash", "scripts/test_in_debian", release])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="gcc release and static checks only")
    parser.add_argument("--deep", action="store_true", help="every compiler, fresh Debian roots too")
    parser.add_argument("--fuzz-seconds", type=int, default=FUZZ_SECONDS, help="time for each target")
    options = parser.parse_args()
    totals, start = Totals(), time.monotonic()
    if options.quick:
        quick(totals)
    elif options.deep:
        deep(totals)
    else:
        everything(totals, options.fuzz_seconds)
    print(f"{time.monotonic() - start:.0f} s in all; logs in build/logs")
    if totals.faults:
        print("failed: " + ", ".join(totals.faults))
    print(f"{totals.passed} passed, {totals.failed} failed, {totals.skipped} skipped")
    return 1 if totals.failed or totals.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
