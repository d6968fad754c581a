"""The HTTP transport over raw sockets: requests, refusals, keys, hosts and origins.

The server is tests/server/http_echo.c. Each is asked at its end whether requests are left, and must
exit with 0 (under a sanitizer: without a leak).
"""
import random
import re
import socket
import subprocess
import time

import pytest

from child import TIMEOUT
from http_echo import ECHO, Reader, Server, is_closed, read_response, request, running


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
    body = b"4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n"
    answer = echo.ask("POST", "/echo", body, {"Transfer-Encoding": "chunked"})
    assert (answer.status, answer.body) == (200, b"abcdefg")


@pytest.mark.case(86)
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


@pytest.mark.case(89)
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


@pytest.mark.case(87)
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
                -35: (504, "generation_timeout"), -50: (503, "overloaded"), -56: (503, "engine_dead"),
                -57: (500, "internal_error"), -99: (500, "internal_error")}
    for status, (http_status, code) in expected.items():
        answer = echo.ask("GET", f"/error/{status}")
        error = answer.error()
        assert (answer.status, error["code"], error["param"]) == (http_status, code, "a[0].b")
        assert error["message"] == "cut é ??"  # bytes that are no UTF-8 do not reach the client
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


@pytest.mark.case(82)
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
        for host in ("localhost", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:5", "models.internal:1"):
            assert server.ask("GET", "/open", headers={"Host": host}).status == 200, host
        assert server.ask("GET", "/open", headers={"Host": None}, version="1.0").status == 200
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil", "[::2]", "", "x" * 300):
            answer = server.ask("GET", "/open", headers={"Host": host})
            assert (answer.status, answer.error()["code"]) == (403, "host_not_allowed"), host


def test_any_host_passes_with_keys_or_off_loopback():
    with running("key=one:right-key-1") as server:
        assert server.ask("GET", "/open", headers={"Host": "evil.example"}).status == 200
    with running("bind=0.0.0.0") as server:
        assert server.ask("GET", "/open", headers={"Host": "evil.example"}).status == 200


@pytest.mark.case(88)
def test_cors_is_off_by_default(echo):
    headers = {"Origin": "http://a.example", "Access-Control-Request-Method": "POST"}
    for method, path in (("OPTIONS", "/echo"), ("GET", "/open")):
        answer = echo.ask(method, path, headers=headers)
        assert answer.status in (200, 204)
        assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.case(88)
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
