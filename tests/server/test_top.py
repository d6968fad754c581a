"""`unmask top`: what it shows are the server's own metrics."""
import contextlib
import http.server
import os
import pty
import re
import signal
import subprocess
import threading

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


def fake_server(pages):
    """Answers /metrics with one page after the other; the last one for ever. None hangs up."""
    left = list(pages)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page = left.pop(0) if len(left) > 1 else left[0]
            if page is not None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(page)

        def log_message(self, *_):
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def screen_of(pages, rounds):
    """What the view draws in a terminal."""
    parent, child = pty.openpty()
    with fake_server(pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        process = subprocess.Popen([str(BINARY), "top", f"http://127.0.0.1:{server.server_port}", "--interval",
                                    "0.1", "--rounds", str(rounds)], stdout=child, stdin=subprocess.DEVNULL)
        os.close(child)
        screen = b""
        with contextlib.suppress(OSError):
            while part := os.read(parent, 65536):
                screen += part
        assert process.wait(TIMEOUT) == 0
        server.shutdown()
    os.close(parent)
    return screen.decode()


def test_a_server_cannot_command_the_terminal():
    page = b'unmask_num_requests_running{model_name="\x1b]0;me\x07\x1b[31m\x1b[2Jx"} 1\n'
    screen = screen_of([page], 1)
    assert "?]0;me??[31m?[2Jx on" in screen
    assert "\x07" not in screen and "\x1b]" not in screen and "\x1b[31m" not in screen


def test_a_restart_is_no_negative_rate_and_an_outage_no_end():
    first, second = (b"unmask_start_time_seconds %d\nunmask_forward_passes_total %d\n" % pair
                     for pair in ((100, 5000), (200, 3)))
    screen = screen_of([first, None, second], 3)
    frames = screen.split("\x1b[H")
    rates = [float(rate) for rate in re.findall(r"steps/s +(\S+)", screen)]
    assert len(rates) == 2 and rates[0] > 0 and rates[1] == 0
    assert "http://127.0.0.1" in frames[1] and "steps/s" not in frames[1]  # the outage, in words


def test_every_reason_of_a_refusal_is_shown():
    lines = [b'unmask_requests_rejected_total{model_name="m",reason="%s"} %d\n' % pair
             for pair in ((b"engine", 2), (b"auth", 0), (b"a_new_one", 7))]
    assert re.search(r"rejected +engine 2 a_new_one 7\x1b", screen_of([b"".join(lines)], 1))
