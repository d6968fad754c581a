"""The program behind sockets: cases 79, 88, 90, 91, 93."""
import contextlib
import json
import socket

import pytest

from child import TIMEOUT
from http_echo import Reader, is_closed, request
from unmask_server import CHAT, TEXT, chat, events, joined, text

GET = ["/v1/models", "/health", "/health/live", "/version", "/metrics", "/openapi.json"]
POST = [CHAT, TEXT, "/v1/responses", "/v1/fim/completions", "/v1/edit/completions", "/tokenize",
        "/detokenize", "/v1/tokenize", "/v1/detokenize"]


@pytest.mark.case(79)
@pytest.mark.parametrize("path", POST)
def test_posts_alone_reach_the_endpoints_that_generate(shared, path):
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = shared.ask(method, path)
        answer.error(405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"
    assert shared.post(path + "/", {}).status == 404


@pytest.mark.case(79, 87)
@pytest.mark.parametrize("path", GET)
def test_gets_and_heads_reach_the_others(shared, path):
    assert shared.get(path).status == 200
    head = shared.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    answer = shared.post(path, {})
    answer.error(405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.case(88)
def test_cors_reflects_what_browsers_send(launch):
    """A dozen names of an SDK; exposed headers; any origin with a star."""
    server = launch("--cors-origin", "*")
    names = ", ".join(["authorization", "content-type", *(f"x-stainless-{i}" for i in range(12))])
    answer = server.ask("OPTIONS", CHAT, headers={
        "Origin": "http://any.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": names})
    assert answer.status == 204 and answer.headers["access-control-allow-headers"] == names
    assert answer.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
    assert answer.headers["access-control-max-age"] == "600"
    for answer in (server.post(CHAT, chat(), Origin="http://any.example"),
                   server.post(CHAT, chat(temperature=9), Origin="http://any.example")):
        assert answer.headers["access-control-allow-origin"] in ("*", "http://any.example")
        exposed = answer.headers["access-control-expose-headers"]
        assert all(name in exposed for name in ("x-request-id", "retry-after", "x-unmask-ignored"))
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.case(90)
def test_one_address_cannot_take_all_connections(launch):
    server = launch("--max-connections-per-address", "64")
    with contextlib.ExitStack() as stack:
        for _ in range(64):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT))
            client.sendall(request("GET", "/health/live"))
            assert Reader(client).response().status == 200
        with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as refused:
            assert is_closed(refused)
        other = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT,
                                         source_address=("127.0.0.2", 0))
        stack.enter_context(other)
        other.sendall(request("GET", "/health/live"))
        assert Reader(other).response().status == 200


@pytest.mark.case(90)
def test_huge_headers_leave_the_server_alive(shared):
    with socket.create_connection(("127.0.0.1", shared.port), timeout=TIMEOUT) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(request("GET", "/health", headers={"X-Long": "y" * 70_000}))
            answer = client.recv(65536)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert shared.get("/health").status == 200


@pytest.mark.parametrize("lines", [1, 2048, 14 * 2048])
def test_empty_lines_in_front_of_a_request_are_harmless(stepwise, lines):
    """libmicrohttpd skips them in its memory for the connection, so that a request does not begin where
    that memory does (2,048 lines are a page). Whoever takes it for the beginning reads behind the end,
    where only sometimes nothing is mapped: hence several connections. From 1.0 on the library closes
    the connection after too many of them, which is harmless too."""
    body = text()
    payload = json.dumps({**body, "stream": True}).encode()
    expected = stepwise.post(TEXT, body).content
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", stepwise.port), timeout=TIMEOUT) as client:
            client.sendall(b"\r\n" * lines +
                           request("POST", TEXT, payload, {"Content-Type": "application/json"}))
            try:
                answer = Reader(client).response()
            except (EOFError, ConnectionResetError):
                assert lines > 1
                continue
        assert answer.status == 200 and joined(events(answer.body)) == expected
    assert stepwise.post(TEXT, body).content == expected


@pytest.mark.case(91)
@pytest.mark.parametrize("path, body", [(CHAT, chat()), (TEXT, text())])
def test_an_old_client_reads_its_stream_to_the_close(shared, path, body):
    payload = json.dumps({**body, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", shared.port), timeout=TIMEOUT) as client:
        client.sendall(request("POST", path, payload, {"Content-Type": "application/json"}, version="1.0"))
        answer = Reader(client).response()
    assert answer.status == 200 and "transfer-encoding" not in answer.headers
    assert joined(events(answer.body)) == shared.post(path, body).content


@pytest.mark.case(93)
def test_no_answer_repeats_the_prompt_or_the_key(launch):
    """Errors name fields, never what stood in them, where that is text of the user's."""
    key, secret = "sk-first-0123456789", "zebra-quagga-okapi"
    server = launch("--api-key", key, "--log-level", "debug")
    bearer = {"Authorization": f"Bearer {key}"}
    messages = [{"role": "user", "content": secret}]
    bodies = [(CHAT, chat(messages=messages, temperature=9)), (CHAT, chat(messages=messages, max_tokens=5000)),
              (CHAT, chat(messages=[{"role": "user", "content": {"x": secret}}])),
              (CHAT, chat(messages=[{"role": "user", "content": secret * 2000}])),
              (TEXT, text(prompt=secret, suffix=secret * 2000)), (TEXT, {"prompt": [secret, 5]}),
              ("/v1/edit/completions", {"messages": messages}), ("/v1/fim/completions", {"prompt": [secret]}),
              ("/v1/responses", {"input": [{"type": "x", "content": secret}]}),
              (CHAT, chat(messages=messages, prediction={"type": "content", "content": secret * 2000}))]
    for path, body in bodies:
        answer = server.post(path, body, **bearer)
        assert answer.status == 400, (path, answer.body)
        assert secret not in answer.body.decode() and key not in answer.body.decode()
    broken = b'{"messages": [{"role": "user", "content": "' + secret.encode() + b'"'
    assert secret not in server.post(CHAT, broken, **bearer).body.decode()
    seen = server.errors() + server.get("/metrics").body.decode()
    assert secret not in seen and key not in seen
