"""The program of tests/server/http_echo.c: start it, speak HTTP to it over raw sockets. No test lives here."""
import contextlib
import json
import signal
import socket
import subprocess
import time

from child import BUILD, TIMEOUT, Child, wait_until

ECHO = BUILD / "tests/server/http_echo"


class Server(Child):
    """A running http_echo."""

    def __init__(self, *options):
        super().__init__([ECHO, *options], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, self.errors()
        self.port = int(line.split()[1])
        self.address = "127.0.0.1"

    def connect(self):
        client = socket.create_connection((self.address, self.port), timeout=TIMEOUT)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def ask(self, method, path, body=None, headers=None, version="1.1"):
        """One request on a connection of its own."""
        with self.connect() as client:
            client.sendall(request(method, path, body, headers, version))
            return read_response(client, method)

    def counts(self):
        """The numbers of GET /metrics, by the words before them."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in lines}

    def wait_for(self, key, value):
        """Waits until a number of GET /metrics has reached a value."""
        def count():
            with contextlib.suppress(EOFError):  # refused at a limit of connections
                return self.counts().get(key)

        wait_until(count, lambda seen: seen == value)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=TIMEOUT)
        assert self.process.returncode == 0, self.errors()[-4000:]


class Response:
    def __init__(self, status, headers, body, complete):
        self.status, self.headers, self.body, self.complete = status, headers, body, complete

    def error(self):
        """The members of a standard error body, whose form is checked."""
        assert self.headers["content-type"] == "application/json"
        error = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        return error


def request(method, path, body=None, headers=None, version="1.1"):
    lines = [f"{method} {path} HTTP/{version}"]
    headers = {"Host": "localhost", **(headers or {})}
    if body is not None and not any(name.lower() in ("content-length", "transfer-encoding")
                                    for name in headers):
        headers["Content-Length"] = str(len(body))
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


class Reader:
    """Takes responses off a socket, keeping what belongs to the next one."""

    def __init__(self, client):
        self.client, self.buffer, self.closed = client, b"", False

    def more(self):
        try:
            data = self.client.recv(65536)
        except ConnectionResetError:
            data = b""
        self.closed = not data
        self.buffer += data
        return data

    def until(self, mark):
        while mark not in self.buffer:
            if not self.more():
                raise EOFError(self.buffer)
        head, self.buffer = self.buffer.split(mark, 1)
        return head

    def exactly(self, count):
        while len(self.buffer) < count:
            if not self.more():
                raise EOFError(self.buffer)
        head, self.buffer = self.buffer[:count], self.buffer[count:]
        return head

    def response(self, method="GET"):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        if method == "HEAD" or status in (100, 204):
            return Response(status, headers, b"", True)
        if "content-length" in headers:
            return Response(status, headers, self.exactly(int(headers["content-length"])), True)
        if headers.get("transfer-encoding") == "chunked":
            return Response(status, headers, *self.chunks())
        while self.more():
            pass
        return Response(status, headers, self.buffer, True)

    def chunks(self):
        """Body and whether the terminating chunk came."""
        body = bytearray()
        try:
            while (size := int(self.until(b"\r\n"), 16)) > 0:
                body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
            assert self.exactly(2) == b"\r\n"
            return bytes(body), True
        except EOFError:
            return bytes(body), False

    def for_seconds(self, seconds):
        """What came in that time; the connection must stay open."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.client.settimeout(left)
            with contextlib.suppress(TimeoutError):
                assert self.more()
        return self.buffer


def read_response(client, method="GET"):
    return Reader(client).response(method)


def is_closed(client, seconds=TIMEOUT):
    """Waits for the end of the connection; what came before it is dropped."""
    client.settimeout(seconds)
    try:
        while client.recv(65536):
            pass
        return True
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@contextlib.contextmanager
def running(*options):
    server = Server(*options)
    try:
        yield server
        server.wait_for("exchanges", 1)  # the asking one
    finally:
        if server.process.poll() is None:
            server.stop()
    assert server.process.returncode == 0
