"""`unmask top`: what it shows are the server's own metrics."""
import contextlib
import os
import pty
import re
import signal
import subprocess

import pytest

from child import TIMEOUT
from unmask_server import BINARY, chat


def top(*arguments):
    return subprocess.run([str(BINARY), "top", *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=TIMEOUT)


def test_a_line_an_interval_where_nobody_looks(shared):
    for where in ((f"http://127.0.0.1:{shared.port}/",), ("--port", shared.port)):
        result = top(*where, "--interval", "0.1", "--rounds", "2")
        assert result.returncode == 0 and result.stderr == ""
        lines = result.stdout.splitlines()
        assert len(lines) == 2
        assert all(re.fullmatch(r'running=\d+ waiting=\d+ occupancy=[\d.]+ requests_per_s=[\d.]+ '
                                r'tokens_per_s=[\d.]+ steps_per_s=[\d.]+ step_p50="[^"]+"', line)
                   for line in lines), lines


def test_the_view_shows_the_batch_and_ends_on_a_signal(launch):
    server = launch("--backend", "ref", "--max-batch", "1", "--drain-timeout", "0")
    parent, child = pty.openpty()
    with server.open_stream("/v1/chat/completions", chat(max_tokens=900)):
        process = subprocess.Popen([str(BINARY), "top", f"http://127.0.0.1:{server.port}", "--interval", "0.2"],
                                   stdout=child, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        os.close(child)
        screen = b""
        while not (b"occupancy 100 %" in screen and re.search(rb"running +1 ", screen)):
            screen += os.read(parent, 65536)
        process.send_signal(signal.SIGINT)
        rest = b""
        with contextlib.suppress(OSError):  # the other end of the terminal is gone
            while part := os.read(parent, 65536):
                rest += part
        process.wait(TIMEOUT)
        assert process.returncode == 0 and process.stderr.read() == b""
    os.close(parent)
    for text in (b"tiny on ", b"p95", b"rejected", b"whole answer"):
        assert text in screen, screen
    assert b"\x1b[?25h" in screen + rest  # the cursor is back


@pytest.mark.parametrize("url, word", [
    ("https://127.0.0.1", "http://"), ("http://", "host"), ("http://127.0.0.1:99999", "65535"),
    ("http://127.0.0.1:80/metrics", "expected"), ("http://127.0.0.1:80x", "expected"),
])
def test_bad_urls_are_refused(url, word):
    result = top(url)
    assert result.returncode == 2 and word in result.stderr


def test_nobody_there_and_no_key(launch):
    server = launch("--api-key", "secret-key-1", "--metrics-auth")
    url = f"http://127.0.0.1:{server.port}"
    result = top(url, "--rounds", "1")
    assert result.returncode == 1 and "401" in result.stderr and "--api-key" in result.stderr
    assert top(url, "--rounds", "1", "--interval", "0.1", "--api-key", "secret-key-1").returncode == 0
    server.stop()
    result = top(url, "--rounds", "1")
    assert result.returncode == 1 and "refused" in result.stderr
