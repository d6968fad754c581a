"""A program under test: its log, what it takes of the machine, and waiting for it. No test lives here."""
import fcntl
import os
import pathlib
import re
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("UM_BUILD_DIR", ROOT / "build/release"))
TIMEOUT = 240  # seconds; guards against a hang and promises nothing, so that any load passes
# A sanitizer keeps freed memory back; it looks for leaks by itself when the program exits.
SANITIZED = re.search(rb"__[at]san_init", (BUILD / "server/unmask").read_bytes()) is not None


def wait_until(get, good):
    """The first value of `get()` that is good; fails when none comes."""
    end = time.monotonic() + TIMEOUT
    while not good(value := get()):
        assert time.monotonic() < end, value
        time.sleep(0.01)
    return value


class Child:
    def __init__(self, command, **how):
        self.log = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would stop the program
        # Both sides share the file's offset, and errors() moves it: the program must write at the end
        # all the same, or it would now and then overwrite what it said before.
        fcntl.fcntl(self.log, fcntl.F_SETFL, fcntl.fcntl(self.log, fcntl.F_GETFL) | os.O_APPEND)
        self.process = subprocess.Popen(list(map(str, command)), stderr=self.log, stdin=subprocess.DEVNULL,
                                        **how)

    def errors(self):
        self.log.seek(0)
        return self.log.read()

    def file(self, name):
        return pathlib.Path(f"/proc/{self.process.pid}/{name}")

    def descriptors(self):
        return len(list(self.file("fd").iterdir()))

    def resident_kib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", self.file("status").read_text()).group(1))

    def cpu_seconds(self):
        fields = self.file("stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
