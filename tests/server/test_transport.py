"""The HTTP transport over raw sockets, against tests/server/http_echo.c with short deadlines.

What a test proves stands in its name. Every server is asked at the end whether requests are left,
and must exit with 0 (under a sanitizer: without a leak).
"""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest

BUILD = pathlib.Path(os.environ.get("UM_BUILD_DIR", "build/release"))
ECHO = BUILD / "tests/server/http_echo"
TIMEOUT = 20


class Server:
    """A running http_echo."""

    def __init__(self, *options):
        self.log = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would stop the server
        self.process = subprocess.Popen([str(ECHO), *options], stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
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

    def wait_for(self, key, value, seconds=5):
        """Waits until a number of GET /metrics has reached a value."""
        end, seen = time.monotonic() + seconds, None
        while seen != value:
            assert time.monotonic() < end, (key, seen)
            with contextlib.suppress(EOFError):  # refused at a limit of connections
                seen = self.counts().get(key)
            time.sleep(0.02)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def errors(self):
        self.log.seek(0)
        return self.log.read()

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


@pytest.fixture(scope="module")
def echo():
    with running() as server:
        yield server


# ---- plain requests ---------------------------------------------------------------------------


def test_a_body_comes_back_with_the_headers_of_every_answer(echo):
    answer = echo.ask("POST", "/echo", b'{"a": 1}')
    assert (answer.status, answer.body) == (200, b'{"a": 1}')
    assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.headers["openai-version"] == "2020-10-01"
    assert answer.headers["server"] == "unmask"
    assert int(answer.headers["openai-processing-ms"]) >= 0
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_bodies_of_all_sizes_arrive_whole_also_in_small_pieces(echo):
    with echo.connect() as client:
        reader = Reader(client)
        for size in (1, 2, 65535, 65536, 65537, 1 << 20):
            body = random.Random(size).randbytes(size)
            client.sendall(request("POST", "/echo", body))
            assert reader.response().body == body
        data = request("POST", "/echo", b"0123456789")
        for i in range(len(data)):
            client.sendall(data[i:i + 1])
        assert reader.response().body == b"0123456789"


def test_chunked_bodies_arrive_whole(echo):
    body = b"4\r\nabcd\r\n3;x=y\r\nefg\r\n0\r\n\r\n"
    answer = echo.ask("POST", "/echo", body, {"Transfer-Encoding": "chunked"})
    assert (answer.status, answer.body) == (200, b"abcdefg")


def test_request_ids_of_clients_are_kept_when_they_are_plain(echo):
    for name in ("abc", "a" * 128, "A.b_c-9"):
        assert echo.ask("GET", "/open", headers={"X-Request-Id": name}).headers["x-request-id"] == name
    for name in ("a b", "a" * 129, "ä", "<x>"):
        own = echo.ask("GET", "/open", headers={"X-Request-Id": name}).headers["x-request-id"]
        assert re.fullmatch(r"req_[0-9a-f]{32}", own)
    assert echo.ask("GET", "/nope", headers={"X-Request-Id": "abc"}).headers["x-request-id"] == "abc"
    assert echo.ask("OPTIONS", "/open", headers={"X-Request-Id": "abc"}).headers["x-request-id"] == "abc"


def test_request_ids_differ(echo):
    assert len({echo.ask("GET", "/open").headers["x-request-id"] for _ in range(50)}) == 50


def test_a_hundred_requests_on_one_connection(echo):
    with echo.connect() as client:
        reader = Reader(client)
        for i in range(100):
            kind = i % 4
            if kind == 0:
                client.sendall(request("POST", "/echo", b"%d" % i))
                assert reader.response().body == b"%d" % i
            elif kind == 1:
                client.sendall(request("GET", "/nope"))
                assert reader.response().status == 404
            elif kind == 2:
                client.sendall(request("POST", "/stream", b"1"))
                assert reader.response().body == b": accepted\n\ndata: 0\n\n"
            else:
                client.sendall(request("POST", "/late", b"1"))
                assert reader.response().body == b"late"


def test_pipelined_requests_are_answered_in_order(echo):
    with echo.connect() as client:
        reader = Reader(client)
        client.sendall(b"".join([request("POST", "/late", b"20"), request("POST", "/echo", b"2"),
                                 request("GET", "/nope"), request("POST", "/stream", b"2"),
                                 request("HEAD", "/open"), request("POST", "/echo", b"6")]))
        assert reader.response().body == b"late"
        assert reader.response().body == b"2"
        assert reader.response().status == 404
        assert reader.response().body.endswith(b"data: 1\n\n")
        assert reader.response("HEAD").status == 200
        assert reader.response().body == b"6"


def test_prefix_tails_are_decoded_once(echo):
    for path, tail in (("a%2Fb", "a/b"), ("a/b", "a/b"), ("a%252Fb", "a%2Fb"), ("%C3%A9?x=1", "é")):
        assert echo.ask("GET", "/tail/" + path).body.decode() == tail
    for path in ("", "%00", "%zz", "%", "a%4"):
        assert echo.ask("GET", "/tail/" + path).error()["code"] == "unknown_url"


def test_header_values_cannot_split_a_response(echo):
    assert echo.ask("GET", "/tail/a").headers["x-split"] == "a??b: c"


def test_ipv6_loopback_is_served():
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 loopback here")
    server = Server("bind=::1")
    server.address = "::1"
    assert server.ask("GET", "/open", headers={"Host": "[::1]:1"}).status == 200
    server.stop()


def test_a_port_in_use_is_refused_with_its_reason(echo):
    # The echo server always takes a free port, so the address is what fails here.
    result = subprocess.run([str(ECHO), "bind=192.0.2.1"], capture_output=True, text=True, timeout=TIMEOUT)
    assert result.returncode == 1
    assert "cannot listen on 192.0.2.1" in result.stderr


# ---- refusals ---------------------------------------------------------------------------------


def test_unknown_urls_and_trailing_slashes_are_404(echo):
    for path in ("/nope", "/echo/", "/open/", "/Open", "/v1/", "//open", "*"):
        answer = echo.ask("GET", path)
        assert (answer.status, answer.error()["code"]) == (404, "unknown_url"), path


def test_endpoints_of_other_builds_are_404_not_supported(echo):
    for path in ("/v1/embeddings", "/v1/files/abc", "/v1/responses", "/v1/fim/completions",
                 "/v1/edit/completions", "/tokenize", "/v1/images/generations", "/v1/audio/speech",
                 "/v1/threads/t/runs"):
        for method, body in (("POST", b"{}"), ("GET", None)):
            answer = echo.ask(method, path, body)
            assert (answer.status, answer.error()["code"]) == (404, "endpoint_not_supported"), path


def test_wrong_methods_are_405_with_allow(echo):
    for method, path, allow in (("GET", "/echo", "POST"), ("HEAD", "/echo", "POST"),
                                ("POST", "/open", "GET, HEAD"), ("DELETE", "/echo", "POST")):
        answer = echo.ask(method, path, b"" if method == "POST" else None)
        assert (answer.status, answer.headers["allow"]) == (405, allow)
        if method != "HEAD":
            assert answer.error()["code"] == "method_not_allowed"


def test_head_gives_the_headers_of_get(echo):
    get, head = echo.ask("GET", "/open"), echo.ask("HEAD", "/open")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"] == "3"
    assert set(head.headers) == set(get.headers)


def test_media_types(echo):
    accepted = [None, "application/json", "APPLICATION/JSON", "application/json; charset=utf-8",
                'application/json;charset="UTF-8"', "application/json; foo=bar", "application/vnd.x+json",
                "text/plain", "application/x-www-form-urlencoded"]
    for kind in accepted:
        assert echo.ask("POST", "/echo", b"{}", {"Content-Type": kind}).status == 200, kind
    refused = ["text/xml", "application/json; charset=latin1", "application/json; x=1; charset=utf-16",
               "multipart/form-data", "json", "x" * 200]
    for kind in refused:
        answer = echo.ask("POST", "/echo", b"{}", {"Content-Type": kind})
        assert (answer.status, answer.error()["code"]) == (415, "unsupported_media_type"), kind


def test_types_that_pages_send_without_asking_are_refused_with_an_origin(echo):
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        headers = {"Content-Type": kind, "Origin": "http://evil"}
        assert echo.ask("POST", "/echo", b"{}", headers).status == 415
    headers = {"Content-Type": "application/json", "Origin": "http://evil"}
    assert echo.ask("POST", "/echo", b"{}", headers).status == 200


def test_content_encodings_other_than_identity_are_refused(echo):
    assert echo.ask("POST", "/echo", b"{}", {"Content-Encoding": "identity"}).status == 200
    assert echo.ask("POST", "/echo", b"{}", {"Content-Encoding": "gzip"}).status == 415


def test_two_readings_of_where_a_body_ends_are_refused(echo):
    for headers in ({"Content-Length": "2", "content-length": "3"},
                    {"Content-Length": "5", "Transfer-Encoding": "chunked"},
                    {"Transfer-Encoding": "gzip"}):
        with echo.connect() as client:
            client.sendall(request("POST", "/echo", b"0\r\n\r\n", headers))
            assert read_response(client).status == 400
            assert is_closed(client)


def test_the_first_of_several_faults_is_told():
    with running("key=me:right-key-1", "body_bytes_max=10") as server:
        server.ask("POST", "/gate", b"32")
        bad = {"Content-Type": "text/xml"}
        right = {"Authorization": "Bearer right-key-1"}
        steps = [("POST", "/nope", {**bad}, 404), ("PUT", "/generate", {**bad}, 405),
                 ("POST", "/generate", {**bad}, 401), ("POST", "/generate", {**bad, **right}, 503),
                 ("POST", "/echo", {**bad, **right}, 415), ("POST", "/echo", {**right}, 413)]
        for method, path, headers, status in steps:
            assert server.ask(method, path, b"x" * 100, headers).status == status
        for refused in ("auth", "loading"):
            assert server.counts()[f"rejected {refused}"] == 1


def test_error_bodies_have_the_status_of_the_table(echo):
    expected = {-1: (400, "invalid_json"), -9: (400, "integer_above_max_value"),
                -16: (400, "context_length_exceeded"), -17: (404, "model_not_found"),
                -30: (429, "queue_full"), -32: (503, "model_loading"), -33: (503, "draining"),
                -35: (504, "generation_timeout"), -50: (503, "overloaded"), -56: (500, "engine_error"),
                -57: (500, "internal_error"), -99: (500, "internal_error")}
    for status, (http_status, code) in expected.items():
        answer = echo.ask("GET", f"/error/{status}")
        error = answer.error()
        assert (answer.status, error["code"], error["param"]) == (http_status, code, "a[0].b")
        assert error["message"] == "cut é ???"  # bytes that are no UTF-8 do not reach the client
        assert ("retry-after" in answer.headers) == (http_status in (429, 503))
        if http_status in (429, 503):
            assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("1", "1000")
        assert answer.headers.get("x-should-retry") == ("false" if http_status == 504 else None)


def test_the_gate_refuses_generating_routes_only(echo):
    for number, code in ((32, "model_loading"), (33, "draining"), (56, "engine_dead")):
        echo.ask("POST", "/gate", b"%d" % number)
        answer = echo.ask("POST", "/generate", b"{}")
        assert (answer.status, answer.error()["code"]) == (503, code)
        assert answer.error()["type"] == "server_error"
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert answer.headers["connection"] == "close"
        assert echo.ask("POST", "/echo", b"{}").status == 200
    echo.ask("POST", "/gate", b"0")
    assert echo.ask("POST", "/generate", b"{}").status == 200


# ---- keys, hosts, origins ---------------------------------------------------------------------


def test_keys():
    long_key = "k" * 255
    with running("key=one:right-key-1", f"key=two:{long_key}") as server:
        def answer(value):
            return server.ask("POST", "/echo", b"{}", {"Authorization": value})

        for value in (None, "", "Bearer", "Bearer ", "Basic right-key-1", "right-key-1",
                      "Bearer right-key-", "Bearer right-key-12", "Bearer wrong-key-1",
                      "Bearer " + "k" * 254, "Bearer " + "k" * 256, "Bearer " + "k" * 5000):
            refused = answer(value)
            assert (refused.status, refused.error()["code"]) == (401, "invalid_api_key"), value
            assert refused.headers["www-authenticate"] == "Bearer"
        for value, name in (("Bearer right-key-1", "one"), ("bearer right-key-1", "one"),
                            ("BEARER  right-key-1 ", "one"), ("Bearer " + long_key, "two")):
            assert answer(value).headers["x-key-name"] == name
        assert server.ask("GET", "/open").status == 200
        assert server.ask("GET", "/metrics").status == 200
        assert server.ask("OPTIONS", "/echo").status == 204
        server.ask("POST", "/keys", b"fresh-key-1")
        assert answer("Bearer right-key-1").status == 401
        assert answer("Bearer fresh-key-1").headers["x-key-name"] == "new"
    assert "right-key-1" not in server.errors() and "kkkkkkkk" not in server.errors()


def test_metrics_can_ask_for_a_key():
    server = Server("key=one:right-key-1", "metrics_auth=1")
    assert server.ask("GET", "/metrics").status == 401
    assert server.ask("GET", "/open").status == 200
    server.stop()


def test_foreign_hosts_are_refused_on_loopback_without_keys():
    with running("host=models.internal") as server:
        for host in ("localhost", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:5", "models.internal:1", None):
            assert server.ask("GET", "/open", headers={"Host": host}).status == 200, host
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil", "[::2]", "", "x" * 300):
            answer = server.ask("GET", "/open", headers={"Host": host})
            assert (answer.status, answer.error()["code"]) == (403, "host_not_allowed"), host


def test_any_host_passes_with_keys_or_off_loopback():
    with running("key=one:right-key-1") as server:
        assert server.ask("GET", "/open", headers={"Host": "evil.example"}).status == 200
    with running("bind=0.0.0.0") as server:
        assert server.ask("GET", "/open", headers={"Host": "evil.example"}).status == 200


def test_cors_is_off_by_default(echo):
    headers = {"Origin": "http://a.example", "Access-Control-Request-Method": "POST"}
    for method, path in (("OPTIONS", "/echo"), ("GET", "/open")):
        answer = echo.ask(method, path, headers=headers)
        assert answer.status in (200, 204)
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_cors_matches_origins_and_reflects_headers():
    with running("cors=http://a.example", "cors=http://b.example") as server:
        asked = "authorization, content-type, x-stainless-lang"
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked}
        for origin in ("http://a.example", "http://b.example"):
            answer = server.ask("OPTIONS", "/echo", headers={**preflight, "Origin": origin})
            assert answer.status == 204
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["vary"] == "Origin"
            assert answer.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
            assert answer.headers["access-control-allow-headers"] == asked
            assert answer.headers["access-control-max-age"] == "600"
            assert "access-control-allow-credentials" not in answer.headers
            answer = server.ask("POST", "/echo", b"{}", {"Origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            assert "x-request-id" in answer.headers["access-control-expose-headers"]
            assert server.ask("GET", "/nope", headers={"Origin": origin}).headers["vary"] == "Origin"
        foreign = {**preflight, "Origin": "http://a.example.evil"}
        answer = server.ask("OPTIONS", "/echo", headers=foreign)
        assert answer.status == 204
        assert not any(name.startswith("access-control") for name in answer.headers)
        for asked in ("x" * 4097, "a:b", "a<b"):
            bad = {**preflight, "Origin": "http://a.example", "Access-Control-Request-Headers": asked}
            assert "access-control-allow-headers" not in server.ask("OPTIONS", "/echo", headers=bad).headers


def test_cors_star_matches_every_origin():
    with running("cors=*") as server:
        answer = server.ask("GET", "/open", headers={"Origin": "http://x.example"})
        assert answer.headers["access-control-allow-origin"] == "http://x.example"


def test_plain_options_lists_methods(echo):
    assert echo.ask("OPTIONS", "/echo").headers["allow"] == "POST, OPTIONS"
    assert echo.ask("OPTIONS", "/open").headers["allow"] == "GET, HEAD, OPTIONS"
    assert echo.ask("OPTIONS", "/nope").status == 404


# ---- bodies: size, expectation, time ----------------------------------------------------------


def test_expect_continue_is_answered_only_when_the_body_is_wanted(echo):
    with echo.connect() as client:
        head = request("POST", "/echo", headers={"Expect": "100-continue", "Content-Length": "3"})
        client.sendall(head)
        reader = Reader(client)
        assert reader.response().status == 100
        client.sendall(b"abc")
        assert reader.response().body == b"abc"
    for path, headers, status in (("/echo", {"Content-Length": str(2 << 20)}, 413),
                                  ("/nope", {}, 404), ("/open", {}, 405),
                                  ("/echo", {"Content-Type": "text/xml"}, 415)):
        with echo.connect() as client:
            headers = {"Content-Length": "3", "Expect": "100-continue", **headers}
            client.sendall(request("POST", path, headers=headers))
            answer = read_response(client)
            assert answer.status == status
            assert answer.headers["connection"] == "close"
            assert is_closed(client)


def test_too_large_by_content_length_is_told_before_the_body(echo):
    with echo.connect() as client:
        client.sendall(request("POST", "/echo", headers={"Content-Length": str((1 << 20) + 1)}))
        answer = read_response(client)
        assert (answer.status, answer.error()["code"]) == (413, "request_too_large")
        assert "1048576" in answer.error()["message"]
        assert is_closed(client)
    assert echo.ask("POST", "/echo", b"x" * (1 << 20)).status == 200


@pytest.mark.parametrize("path, status", [("/echo", 413), ("/nope", 404)])
def test_a_client_that_keeps_sending_still_reads_its_refusal(echo, path, status):
    # 16 MiB do not fit into the sockets: without a lingering close the answer would be lost to a reset.
    with echo.connect() as client:
        client.sendall(request("POST", path, headers={"Content-Length": str(64 << 20)}))
        for _ in range(256):
            client.sendall(b"x" * 65536)
        answer = read_response(client)
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert answer.error()


def test_too_large_chunked_is_told_when_the_limit_is_crossed(echo):
    with echo.connect() as client:
        client.sendall(request("POST", "/echo", headers={"Transfer-Encoding": "chunked"}))
        for _ in range(17):
            client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        answer = read_response(client)
        assert (answer.status, answer.error()["code"]) == (413, "request_too_large")
        assert is_closed(client)


def test_a_pipelined_error_with_unread_body_closes(echo):
    with echo.connect() as client:
        reader = Reader(client)
        client.sendall(request("POST", "/echo", b"1") + request("POST", "/nope", b"{}") +
                       request("POST", "/echo", b"3"))
        assert reader.response().status == 200
        answer = reader.response()
        assert (answer.status, answer.headers["connection"]) == (404, "close")
        assert is_closed(client)
        assert reader.buffer == b""


def test_slow_headers_are_cut_at_the_absolute_deadline():
    with running("header_timeout_ms=1000") as server:
        with server.connect() as client:
            start = time.monotonic()
            client.sendall(b"GET /open HTTP/1.1\r\nX-Slow: ")
            with pytest.raises(OSError):
                while time.monotonic() - start < 10:
                    client.sendall(b"x")
                    time.sleep(0.1)
            assert 0.9 < time.monotonic() - start < 3
        with server.connect() as client:
            start = time.monotonic()
            assert is_closed(client)
            assert 0.9 < time.monotonic() - start < 3


def test_a_kept_connection_may_idle_longer_than_headers_may_take():
    with running("header_timeout_ms=600", "idle_timeout_s=3") as server:
        with server.connect() as client:
            reader = Reader(client)
            for _ in range(2):
                client.sendall(request("GET", "/open"))
                assert reader.response().status == 200
                time.sleep(1.2)
            start = time.monotonic()
            client.sendall(b"GET /open HTTP/1.1\r\nX-Slow: ")
            with pytest.raises(OSError):
                while time.monotonic() - start < 10:
                    client.sendall(b"x")
                    time.sleep(0.05)
            assert 0.5 < time.monotonic() - start < 2
        with server.connect() as client:
            client.sendall(request("GET", "/open"))
            read_response(client)
            start = time.monotonic()
            assert is_closed(client)
            assert 2 < time.monotonic() - start < 6


def test_slow_bodies_get_408_and_announced_bytes_buy_time():
    with running("body_timeout_ms=600") as server:
        for announced, least in ((1000, 0.5), (131072, 2.5)):
            with server.connect() as client:
                start = time.monotonic()
                client.sendall(request("POST", "/generate", headers={"Content-Length": str(announced)}))
                while time.monotonic() - start < least:
                    client.sendall(b"x")
                    time.sleep(0.05)
                answer = read_response(client)
                assert (answer.status, answer.error()["code"]) == (408, "request_timeout")
                assert least < time.monotonic() - start < least + 1.5
                assert is_closed(client)
        assert server.counts()["rejected bad_request"] == 2


def test_large_headers_are_refused_and_the_server_lives(echo):
    with echo.connect() as client:
        try:
            client.sendall(request("GET", "/open", headers={"X-Large": "x" * 71680}))
            answer = read_response(client)
            assert answer.status == 431
        except (OSError, EOFError):
            pass  # closed while we were still sending
    assert echo.ask("GET", "/open", headers={"X-Large": "x" * 20000}).status == 200


def test_nonsense_is_survived(echo):
    for data in (b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 100,
                 b"GET / HTTP/9.9\r\n\r\n", b"POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                 b"POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                 b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):
        with echo.connect() as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert is_closed(client)
    assert echo.ask("GET", "/open").status == 200


# ---- connections ------------------------------------------------------------------------------


def test_connections_above_the_limit_wait_and_are_then_served():
    with running("connections_max=4") as server:
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(server.connect()) for _ in range(4)]
            for client in held:
                client.sendall(request("GET", "/open"))
                assert read_response(client).status == 200
            late = stack.enter_context(server.connect())
            late.sendall(request("GET", "/open"))
            late.settimeout(0.5)
            with pytest.raises(TimeoutError):
                late.recv(1)
            held[0].close()
            late.settimeout(TIMEOUT)
            assert read_response(late).status == 200


def test_connections_per_address_are_limited():
    with running("connections_per_address_max=4") as server:
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(server.connect()) for _ in range(4)]
            for client in held:
                client.sendall(request("GET", "/open"))
                assert read_response(client).status == 200
            with server.connect() as refused:
                refused.settimeout(TIMEOUT)
                assert is_closed(refused)
            other = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT,
                                             source_address=("127.0.0.2", 0))
            stack.enter_context(other)
            other.sendall(request("GET", "/open"))
            assert read_response(other).status == 200


# ---- streams ----------------------------------------------------------------------------------


def events(body):
    assert body.endswith(b"\n\n")
    return [event for event in body.decode().split("\n\n")[:-1] if not event.startswith(":")]


@pytest.mark.parametrize("path", ["/stream", "/late-stream", "/instant-stream"])
def test_streams_arrive_whole_with_their_headers(echo, path):
    answer = echo.ask("POST", path, b"20")
    assert answer.status == 200 and answer.complete
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "openai-processing-ms" not in answer.headers
    assert events(answer.body) == [f"data: {i}" for i in range(20)]


def test_stream_bytes_are_not_held_back(echo):
    with echo.connect() as client:
        client.sendall(request("POST", "/silent", b""))
        reader = Reader(client)
        start = time.monotonic()
        reader.until(b"data: 1\n\n")
        assert time.monotonic() - start < 1


def test_http_1_0_streams_end_by_close(echo):
    with echo.connect() as client:
        client.sendall(request("POST", "/stream", b"5", version="1.0"))
        answer = read_response(client)
        assert "transfer-encoding" not in answer.headers
        assert events(answer.body) == [f"data: {i}" for i in range(5)]


def test_an_aborted_stream_has_no_terminating_chunk(echo):
    answer = echo.ask("POST", "/abort", b"")
    assert (answer.status, answer.body, answer.complete) == (200, b"data: 1\n\n", False)


def test_a_silent_stream_gets_keep_alive_comments_between_events_only():
    with running("ping_interval_ms=200") as server:
        for path, expected in (("/silent", True), ("/half-event", False)):
            with server.connect() as client:
                client.sendall(request("POST", path, b""))
                received = Reader(client).for_seconds(1.1)
                pings = received.count(b"\r\n: keep-alive\n\n\r\n")
                assert 3 <= pings <= 6 if expected else b"keep-alive" not in received
        assert server.ask("POST", "/stream", b"60").body.count(b"keep-alive") == 0
    with running("ping_interval_ms=0") as server, server.connect() as client:
        client.sendall(request("POST", "/silent", b""))
        assert b"keep-alive" not in Reader(client).for_seconds(0.5)


def test_bulk_streams_arrive_whole_while_memory_stays_bounded(echo):
    # Twice, so that the allocator's own reserve is not counted.
    sizes = []
    for _ in range(2):
        answer = echo.ask("POST", "/huge", str(32 << 20).encode())
        assert answer.complete and len(answer.body) == 32 << 20
        assert answer.body.count(b"data: x") == (32 << 20) // 4096
        sizes.append(echo.resident_kib())
    assert sizes[1] - sizes[0] < 4096


def test_a_reader_that_takes_nothing_is_cut_and_a_slow_one_is_not():
    with running("reader_timeout_ms=800") as server:
        with server.connect() as client:
            client.sendall(request("POST", "/huge", str(1 << 30).encode()))
            start = time.monotonic()
            server.wait_for("gone", 1)
            assert 0.7 < time.monotonic() - start < 3
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(TIMEOUT)
            client.connect(("127.0.0.1", server.port))
            client.sendall(request("POST", "/huge", str(1 << 30).encode()))
            end = time.monotonic() + 3
            while time.monotonic() < end:
                assert client.recv(4096)
                time.sleep(0.1)
            assert server.counts()["gone"] == 1
        server.wait_for("gone", 2)


def test_a_client_that_does_not_take_its_reply_is_cut():
    with running("reader_timeout_ms=800", "body_bytes_max=67108864") as server, server.connect() as client:
        start = time.monotonic()
        client.sendall(request("POST", "/echo", b"x" * (32 << 20)))  # more than the sockets hold
        server.wait_for("exchanges", 2)
        server.wait_for("exchanges", 1)
        assert 0.7 < time.monotonic() - start < 4


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize("path", ["/never", "/silent", "/stream", "/threaded"])
def test_a_client_that_leaves_is_noticed_at_once(how, path):
    with running() as server:
        with server.connect() as client:
            client.sendall(request("POST", path, b"0" if path == "/stream" else b"1000000"))
            if path != "/never":
                Reader(client).until(b"\r\n\r\n")
            server.wait_for("exchanges", 2)
            if how == "half-close":
                client.shutdown(socket.SHUT_WR)
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how != "half-close":
                client.close()
            server.wait_for("gone", 1, seconds=2)
            server.wait_for("exchanges", 1, seconds=2)


def test_a_client_that_leaves_in_its_body_is_not_a_handlers_matter(echo):
    before = echo.counts()
    with echo.connect() as client:
        client.sendall(request("POST", "/generate", b"abc", {"Content-Length": "10"}))
        echo.wait_for("exchanges", 2)
    echo.wait_for("exchanges", 1)
    after = echo.counts()
    assert after.get("gone") == before.get("gone")
    assert after["rejected bad_request"] == before["rejected bad_request"] + 1


def test_no_wake_up_is_lost(echo):
    # Another thread announces every event through a uv_async; wakes merge, events must not.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: echo.ask("POST", "/threaded", b"20000"), range(8)))
    for answer in answers:
        assert answer.complete
        assert answer.body == b"".join(b"data: %d\n\n" % i for i in range(20000))


def test_64_streams_with_random_disconnects_leave_nothing_behind(echo):
    rng = random.Random(1)
    before = echo.counts()["gone"]

    def one(seed):
        own = random.Random(seed)
        with echo.connect() as client:
            client.sendall(request("POST", "/stream", b"%d" % own.randrange(1, 60)))
            if own.random() < 0.5:
                time.sleep(own.random() * 0.3)
                return None
            return read_response(client)

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        for answer in pool.map(one, [rng.random() for _ in range(400)]):
            assert answer is None or answer.complete
    echo.wait_for("exchanges", 1)
    assert echo.counts()["gone"] > before


# ---- counters, cost, end ----------------------------------------------------------------------


def test_requests_are_counted_by_route_method_and_class():
    with running() as server:
        for _ in range(3):
            server.ask("POST", "/echo", b"{}")
        server.ask("POST", "/stream", b"1")
        server.ask("POST", "/echo", b"{}", {"Content-Type": "text/xml"})
        server.ask("GET", "/error/-57")
        server.ask("GET", "/tail/a")
        server.ask("GET", "/nope")
        server.ask("PUT", "/echo")
        counts = server.counts()
        assert counts["/echo POST 2xx"] == 3
        assert counts["/echo POST 4xx"] == 1
        assert counts["/stream POST 2xx"] == 1
        assert counts["/error/{status} GET 5xx"] == 1
        assert counts["/tail/{rest} GET 2xx"] == 1
        assert counts["other other 4xx"] == 2


def test_an_idle_server_uses_no_processor(echo):
    with echo.connect() as silent, echo.connect() as kept, echo.connect() as stream:
        kept.sendall(request("GET", "/open"))
        read_response(kept)
        stream.sendall(request("POST", "/silent", b""))
        Reader(stream).until(b"data: 1\n\n")
        silent.sendall(b"GET /open HTTP/1.1\r\n")
        time.sleep(0.2)
        before = echo.cpu_seconds()
        time.sleep(1.5)
        assert echo.cpu_seconds() - before <= 0.02


def test_thousands_of_connections_leave_memory_and_descriptors_flat(echo):
    idle = echo.descriptors()

    def one(i):
        kind = i % 6
        if kind == 0:
            assert echo.ask("POST", "/echo", b"x" * 1000).status == 200
        elif kind == 1:
            assert echo.ask("GET", "/nope").status == 404
        elif kind == 2:
            assert echo.ask("POST", "/stream", b"1").complete
        else:
            with echo.connect() as client:
                if kind == 3:
                    client.sendall(request("POST", "/never", b"{}"))
                elif kind == 4:
                    client.sendall(b"POST /echo HTTP/1.1\r\nContent-Le")
                else:
                    client.sendall(request("POST", "/huge", b"100000000"))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(1000)))
        echo.wait_for("exchanges", 1)
        before = echo.resident_kib()
        list(pool.map(one, range(4000)))
        echo.wait_for("exchanges", 1)
    # Requests that broke off in their headers are no exchanges; their sockets close a moment later.
    end = time.monotonic() + 10
    while echo.descriptors() > idle:
        assert time.monotonic() < end, (echo.descriptors(), idle)
        time.sleep(0.05)
    assert echo.resident_kib() < before + 6144


def test_a_quiesced_server_finishes_what_it_has_and_takes_nothing_new():
    server = Server()
    with server.connect() as client, server.connect() as kept, server.connect() as busy:
        kept.sendall(request("GET", "/open"))
        assert read_response(kept).status == 200
        busy.sendall(request("POST", "/late", b"600"))
        client.sendall(request("POST", "/stream", b"100"))
        reader = Reader(client)
        reader.until(b"accepted")
        server.process.send_signal(signal.SIGUSR1)
        assert is_closed(kept)
        with pytest.raises(OSError):
            server.connect()
        answer = read_response(busy)
        assert (answer.body, answer.headers["connection"]) == (b"late", "close")
        reader.until(b"data: 99\n\n")
    server.stop()


def test_closing_cuts_streams_and_tells_waiting_handlers():
    server = Server()
    paths = ["/never", "/silent", "/stream", "/huge", "/threaded", "/late", "/echo"]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in paths]
        for client, path in zip(clients, paths):
            body = b"0" if path == "/stream" else b"1000000000"
            if path == "/echo":
                client.sendall(request("POST", path, b"half", {"Content-Length": "10"}))
            else:
                client.sendall(request("POST", path, body))
        server.wait_for("exchanges", len(paths) + 1)
        server.stop()  # exits only when every handle is closed; a sanitizer would see a leak
        for client in clients:
            assert is_closed(client)
