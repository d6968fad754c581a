"""`unmask health`, what images and probes ask: its exit status follows /health, in bounded time, with
the reason on standard error."""
import contextlib
import os
import signal
import socket
import subprocess
import time

import pytest

from child import TIMEOUT
from unmask_server import BINARY, chat

SECONDS_MAX = 4  # of cmd_health.c


def health(*options, **variables):
    return subprocess.run([str(BINARY), "health", *map(str, options)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=TIMEOUT, env={**os.environ, **variables})


@contextlib.contextmanager
def listener(answer=None):
    """A server that takes one connection, reads what comes and says `answer`; or never speaks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        pid = os.fork()
        if pid == 0:
            connection, _ = server.accept()
            connection.recv(4096)
            if answer is None:
                time.sleep(TIMEOUT)
            connection.sendall(answer)
            os._exit(0)
        yield port
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_ready_server_is_ready_by_flag_variable_and_file(shared, tmp_path):
    file = tmp_path / "unmask.json"
    file.write_text('{"port": %d, "max_batch": 4}' % shared.port)
    for result in (health("--port", shared.port), health(UNMASK_PORT=str(shared.port)),
                   health("--config", file), health("--host", "0.0.0.0", "--port", shared.port)):
        assert (result.returncode, result.stdout, result.stderr) == (0, "ready\n", "")


def test_nobody_there_is_not_ready():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = health("--port", port)
    assert result.returncode == 1 and f"127.0.0.1:{port}" in result.stderr and "refused" in result.stderr


def test_a_name_with_several_addresses_is_tried_through(shared, tmp_path):
    """On most machines localhost is ::1 first, where the server does not listen."""
    hosts = tmp_path / "hosts"
    hosts.write_text("::1 localhost\n127.0.0.1 localhost\n")
    inside = ["unshare", "--mount", "--map-root-user", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts]
    if subprocess.run([*inside, "true"], capture_output=True).returncode != 0:
        pytest.skip("no mount namespace of our own here")
    first = subprocess.run([*inside, "getent", "ahosts", "localhost"], capture_output=True, text=True).stdout
    if not first.startswith("::1 "):
        pytest.skip("no IPv6 here")
    result = subprocess.run([*inside, BINARY, "health", "--host", "localhost", "--port", str(shared.port)],
                            capture_output=True, text=True, timeout=TIMEOUT)
    assert (result.returncode, result.stdout, result.stderr) == (0, "ready\n", "")


def test_a_server_that_hangs_is_not_ready_in_bounded_time():
    with listener() as port:
        start = time.monotonic()
        result = health("--port", port)
        assert result.returncode == 1 and f"within {SECONDS_MAX} s" in result.stderr
        assert time.monotonic() - start >= SECONDS_MAX - 0.1  # it must not give up early


@pytest.mark.parametrize("answer", [
    b"", b"HTTP/1.1", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200", b"HTTP/1.1 500 200 \r\n\r\n", b"\0\0\0\0", b"x" * 9000,
])
def test_what_is_no_ready_answer_is_not_ready(answer):
    with listener(answer) as port:
        assert health("--port", port).returncode == 1


def test_a_draining_server_is_not_ready_and_the_reason_is_told(launch):
    server = launch("--backend", "ref", "--max-batch", "1", "--drain-timeout", "60")
    with server.open_stream("/v1/chat/completions", chat(max_tokens=900)):
        server.signal(signal.SIGTERM)
        server.wait_for_log(r"drain")
        result = health("--port", server.port)
        assert result.returncode == 1 and "503" in result.stderr and "draining" in result.stderr
    server.wait()


def test_words_and_unknown_options_are_refused():
    assert health("now").returncode == 2
    result = health("--max-batch", "3")
    assert result.returncode == 2 and "--max-batch" in result.stderr
