#!/usr/bin/env python3
"""Builds and runs every test and counts them. Called by scripts/test, which does the set-up.

Three stages run at a time (see Lanes), for the longest of them mostly wait. A failed stage does not hide the
others. Each writes its log to build/logs/; the end of a failing log is shown. The last line is
"N passed, N failed, N skipped".
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "logs"
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
FUZZ_SECONDS = 10
STAGE_SECONDS = 5400  # guards against a hang, on a loaded machine too
TAIL_LINES = 60
# They build the CUDA plugin, or fail without nvcc; elsewhere the presets leave it out.
CUDA_PRESETS = ("release", "asan")
# The README's commands are about the release build.
SERVER_TESTS = ("tests/server", "--ignore=tests/server/test_readme.py")
# What clients see, on the fake device: slow, so on a checkpoint of one layer, and without the tests
# that ask for hundreds of answers.
API_TESTS = ["-k", "not sampled_bytes and not longer_than_the_free and not neighbours and not deltas",
             *(f"tests/server/test_0{n}.py" for n in ("1_chat", "2_completions", "3_streams",
                                                      "4_diffusion"))]
FAKE_PLUGIN = ROOT / "build/release/tests/fakecuda/unmask-cuda-fake.so"
FAKE_DEVICE = {"UNMASK_BACKEND": "cuda", "UNMASK_CUDA_PLUGIN": str(FAKE_PLUGIN), "UM_TINY_LAYERS": "1"}


class Totals:
    """What was run so far, and which stages failed. All lanes add to it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.passed = self.failed = self.skipped = 0
        self.cpu_seconds = 0
        self.faults = []

    def add(self, work, passed, failed, skipped):
        with self.lock:
            self.passed += passed
            self.failed += failed
            self.skipped += skipped
            self.cpu_seconds += work.cpu_seconds
            mark = "ok  " if failed == 0 else "FAIL"
            print(f"{mark} {work.stage:<24} {passed:>5} passed {failed:>3} failed {skipped:>3} skipped"
                  f" {time.monotonic() - work.start:6.1f} s {work.cpu_seconds:6.1f} s CPU", flush=True)
            if failed:
                self.faults.append(work.stage)
                log = work.log.read_text(errors="replace") if work.log.exists() else ""
                print("\n".join("     | " + line for line in log.splitlines()[-TAIL_LINES:]), flush=True)


class Lanes:
    """Runs stages three at a time, in the order given. A stage that needs a build stands behind it,
    waits for it, and is left out when it failed."""

    def __init__(self, totals, with_cuda):
        self.totals, self.with_cuda = totals, with_cuda
        self.pool = concurrent.futures.ThreadPoolExecutor(3)
        self.stages = []

    def add(self, stage, *arguments, needs=None):
        self.stages.append(self.pool.submit(self.run, needs, stage, *arguments))
        return self.stages[-1]

    def run(self, needs, stage, *arguments):
        if needs is None or needs.result():
            return stage(self.totals, *arguments)
        return False

    def wait(self):
        concurrent.futures.wait(self.stages)
        for stage in self.stages:
            stage.result()  # raises what went wrong in this script itself


class Work:
    """The commands of one stage, into one log file."""

    def __init__(self, stage):
        LOGS.mkdir(parents=True, exist_ok=True)
        self.stage, self.log = stage, LOGS / f"{stage.replace(' ', '-')}.log"
        self.report = self.log.with_suffix(".xml")
        self.report.unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)
        self.start, self.cpu_seconds = time.monotonic(), 0

    def run(self, command, env=None):
        """The command's exit status; it is killed when it overruns."""
        with open(self.log, "ab") as out:
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
        overrun = threading.Timer(STAGE_SECONDS, process.kill)
        overrun.start()
        _, status, usage = os.wait4(process.pid, 0)
        overrun.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds += usage.ru_utime + usage.ru_stime
        return process.returncode


def single(totals, stage, command):
    """A check that is one test: passes when it exits with 0. True when it passed."""
    work = Work(stage)
    passed = work.run(command) == 0
    totals.add(work, int(passed), int(not passed), 0)
    return passed


def build(totals, preset, with_cuda):
    """Configures and builds a preset; counted as one test. True when it worked."""
    options = f"-DUM_CUDA={'ON' if with_cuda and preset in CUDA_PRESETS else 'OFF'}"
    return single(totals, f"build {preset}",
                  ["sh", "-c", f"cmake --preset {preset} {options} && cmake --build --preset {preset}"])


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


def pytest_counts(report):
    suite = xml.parse(report).getroot().find("testsuite")
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    skipped = int(suite.get("skipped"))
    return int(suite.get("tests")) - failed - skipped, failed, skipped


def sanitizer_env():
    return {
        "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
    }


def ctest(totals, preset, *arguments):
    work = Work(f"C tests {preset}")
    work.run(["ctest", "--test-dir", f"build/{preset}", "--output-junit", str(work.report), "-j2",
              "--output-on-failure", "--test-output-size-passed", "1000000", *arguments],
             sanitizer_env())
    totals.add(work, *(ctest_counts(work.report) if work.report.exists() else (0, 1, 0)))


def pytest(totals, preset, *arguments, stage=None, env=None, python=sys.executable):
    work = Work(stage or f"Python tests {preset}")
    work.run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=600",
              f"--junitxml={work.report}", *arguments],
             {**sanitizer_env(), "UM_BUILD_DIR": str(ROOT / "build" / preset), "PYTHONDONTWRITEBYTECODE": "1",
              **(env or {})})
    totals.add(work, *(pytest_counts(work.report) if work.report.exists() else (0, 1, 0)))


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


def clang_tidy(totals, preset):
    single(totals, "clang-tidy", [sys.executable, "scripts/clang_tidy.py", f"build/{preset}"])


# ---- what runs, in which order: stages that wait a lot beside stages that compute ----------------


def static(lanes):
    lanes.add(single, "include check", [sys.executable, "scripts/check_includes.py"])
    lanes.add(single, "tidy check", [sys.executable, "scripts/tidy.py"])


def built(lanes, preset):
    return lanes.add(build, preset, lanes.with_cuda)


def api_on_cuda(totals):
    pytest(totals, "release", *API_TESTS, stage="API on the fake device", env=FAKE_DEVICE)


def docker_files(totals):
    """What can be said of docker/ without building an image; in an environment of its own."""
    pytest(totals, "release", "tests/container", "--ignore=tests/container/faults",
           "--ignore=tests/container/engine", stage="docker files", python=os.environ["UM_OPS_PYTHON"])


def release_tests(lanes, release):
    """All there are. A part that only the release build has belongs here."""
    lanes.add(pytest, "release", "tests", "--ignore=tests/container", needs=release)
    lanes.add(docker_files, needs=release)
    lanes.add(ctest, "release", needs=release)
    if lanes.with_cuda:
        lanes.add(api_on_cuda, needs=release)


def quick(lanes):
    static(lanes)
    release_tests(lanes, built(lanes, "release"))


def compilers(lanes):
    """What a machine with another compiler and libraries can break."""
    quick(lanes)
    lanes.add(ctest, "clang", needs=built(lanes, "clang"))


def everything(lanes, fuzz_seconds):
    static(lanes)
    release, asan = built(lanes, "release"), built(lanes, "asan")
    release_tests(lanes, release)
    lanes.add(ctest, "asan", needs=asan)
    tsan = built(lanes, "tsan")
    lanes.add(pytest, "asan", *SERVER_TESTS, needs=asan)
    lanes.add(clang_tidy, "asan", needs=asan)
    lanes.add(pytest, "tsan", *SERVER_TESTS, needs=tsan)
    fuzzers = built(lanes, "fuzz")
    lanes.add(ctest, "tsan", "-L", "threads", needs=tsan)
    lanes.add(fuzz, fuzz_seconds, needs=fuzzers)


def deep(lanes):
    """The matrix on this machine, then in fresh Debian roots."""
    everything(lanes, FUZZ_SECONDS * 6)
    for preset in ("clang", "debug"):
        done = built(lanes, preset)
        lanes.add(pytest, preset, *SERVER_TESTS, needs=done)
        lanes.add(ctest, preset, needs=done)
    lanes.wait()
    pytest(lanes.totals, "release", "tests/container/faults", stage="faults")
    single(lanes.totals, "containers", ["bash", "scripts/container_test"])
    if lanes.with_cuda:
        single(lanes.totals, "container cuda", ["bash", "scripts/container_test", "cuda"])
    single(lanes.totals, "containers by Docker", ["bash", "scripts/container_docker"])
    for release in ("bookworm", "trixie"):
        single(lanes.totals, f"Debian {release}",
               ["bash", "scripts/test_in_debian", release, "--compilers", "--without-cuda"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="gcc release and static checks only")
    parser.add_argument("--compilers", action="store_true", help="gcc and clang, without sanitizers")
    parser.add_argument("--without-cuda", action="store_true", help="leave the CUDA plugin out")
    parser.add_argument("--deep", action="store_true", help="every compiler, fresh Debian roots too")
    parser.add_argument("--fuzz-seconds", type=int, default=FUZZ_SECONDS, help="time for each target")
    options = parser.parse_args()
    totals, start = Totals(), time.monotonic()
    lanes = Lanes(totals, not options.without_cuda)
    if options.quick:
        quick(lanes)
    elif options.compilers:
        compilers(lanes)
    elif options.deep:
        deep(lanes)
    else:
        everything(lanes, options.fuzz_seconds)
    lanes.wait()
    print(f"{time.monotonic() - start:.0f} s in all, {totals.cpu_seconds:.0f} s CPU; logs in build/logs")
    if totals.faults:
        print("failed: " + ", ".join(totals.faults))
    print(f"{totals.passed} passed, {totals.failed} failed, {totals.skipped} skipped")
    return 1 if totals.failed or totals.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
