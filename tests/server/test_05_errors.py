"""Bodies, methods, paths, media types and keys: cases 36, 78-82, 86-88, 92, 93."""
import json
import shutil
import signal
import socket

import pytest

from child import TIMEOUT
from unmask_server import CHAT, TEXT, chat

KEY, OTHER = "sk-first-0123456789", "sk-second-9876543210"


@pytest.mark.case(78)
@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"7", b'{"a":1,"a":2}', b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"{} x",
    b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", b'{"temperature":1e999}', b'{"seed":99999999999999999999}',
])
def test_broken_bodies_are_invalid_json(shared, body):
    shared.ask("POST", CHAT, body, {"Content-Type": "application/json"}).error(400, "invalid_json")


@pytest.mark.case(35, 36)
@pytest.mark.parametrize("path", [
    "/v1/embeddings", "/v1/files", "/v1/batches", "/v1/moderations", "/v1/images/generations",
    "/v1/audio/speech", "/v1/responses/resp_1", "/v1/vector_stores/1/files",
])
def test_endpoints_of_others_are_told_apart_from_unknown_ones(shared, path):
    for method in ("POST", "GET"):
        shared.ask(method, path, {} if method == "POST" else None).error(404, "endpoint_not_supported")


@pytest.mark.case(79, 87)
def test_unknown_paths_and_wrong_methods(shared):
    for path in ("/nope", "/v1", "/v1/chat/completions/", "/index.html"):
        shared.get(path).error(404, "unknown_url")
    for path in (CHAT, TEXT):
        answer = shared.get(path)
        answer.error(405, "method_not_allowed")
        assert "POST" in answer.headers["allow"]
    assert shared.ask("HEAD", CHAT).status == 405


@pytest.mark.case(87)
def test_head_answers_like_get_without_a_body(shared):
    for path in ("/health", "/v1/models", "/version"):
        head, get = shared.ask("HEAD", path), shared.get(path)
        assert head.status == 200 and head.body == b""
        assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.case(81)
def test_media_types(shared):
    payload = json.dumps(chat()).encode()
    for kind, status in ((None, 200), ("application/json; charset=utf-8", 200), ("text/plain", 200),
                         ("application/vnd.api+json", 200), ("text/xml", 415),
                         ("application/json; charset=latin-1", 415)):
        answer = shared.ask("POST", CHAT, payload, {"Content-Type": kind} if kind else {})
        assert answer.status == status, (kind, answer.body)
    crossed = {"Content-Type": "text/plain", "Origin": "http://evil.example"}
    shared.ask("POST", CHAT, payload, crossed).error(415, "unsupported_media_type")
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    shared.ask("POST", CHAT, payload, packed).error(415, "unsupported_media_type")


@pytest.mark.case(80)
def test_bodies_over_the_limit(launch):
    server = launch("--max-body", "2048")
    server.ask("POST", CHAT, b"x" * 4096).error(413, "request_too_large")
    server.ask("POST", CHAT, (b"x" * 1024 for _ in range(9)), {"Transfer-Encoding": "chunked"}).error(
        413, "request_too_large")
    assert server.chat().status == 200


def test_bodies_give_back_their_room_once_they_are_read(launch):
    """Each request fits, all together would not."""
    server = launch("--max-body", "2048", "--max-body-total", "4096")
    for _ in range(4):
        body = json.dumps(chat()).encode()
        answer = server.ask("POST", CHAT, body + b" " * (2000 - len(body)), {"Content-Type": "application/json"})
        assert answer.status == 200, answer.body


def test_whole_answers_have_a_bound_too(launch):
    """One that is larger than all of them together may be is refused; the others give their room back."""
    server = launch("--max-body", "8192", "--max-body-total", "8192")
    large, small = ({"prompt": "q z" * count, "return_token_strs": True} for count in (2500, 150))
    server.post("/tokenize", large).error(503, "overloaded")
    for _ in range(20):
        answer = server.post("/tokenize", small)
        assert answer.status == 200 and 1000 < len(answer.body) < 8192


@pytest.mark.case(86)
def test_request_ids_are_the_clients_where_they_can_be(shared):
    assert shared.get("/health", **{"X-Request-Id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    assert shared.get("/health", **{"X-Request-Id": "a b"}).headers["x-request-id"].startswith("req_")
    answer = shared.post(CHAT, {}, **{"X-Request-Id": "mine"})
    answer.error(400, "missing_required_parameter", "messages")
    assert answer.headers["x-request-id"] == "mine"


@pytest.mark.case(92)
def test_expect_continue_is_answered_before_the_body(shared):
    payload = json.dumps(chat()).encode()
    with socket.create_connection(("127.0.0.1", shared.port), timeout=TIMEOUT) as client:
        client.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                       b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                       % (CHAT.encode(), len(payload)))
        assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
        client.sendall(payload)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")


def bearer(key, scheme="Bearer"):
    return {"Authorization": f"{scheme} {key}"}


@pytest.mark.case(82)
def test_keys_guard_everything_but_health(launch, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# comment\n\nalice:{OTHER}\n")
    server = launch("--api-key", KEY, "--api-key-file", str(file), "--metrics-auth")
    for path in ("/health", "/health/live", "/version"):
        assert server.get(path).status == 200
    for headers in ({}, bearer("sk-wrong-0123456789"), bearer(KEY, "Basic"), bearer(KEY + "x")):
        for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("GET", "/metrics")):
            answer = server.ask(method, path, chat() if method == "POST" else None, headers)
            answer.error(401, "invalid_api_key")
            assert answer.headers["www-authenticate"].startswith("Bearer")
    for key, name in ((KEY, "key-1"), (OTHER, "alice")):
        assert server.post(CHAT, chat(), **bearer(key)).status == 200
        assert server.wait_for_log(rf'status=200 key="{name}" ')
        assert server.get("/metrics", **bearer(key, "bearer")).status == 200


def test_keys_are_read_again_on_sighup(launch, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n")
    server = launch("--api-key-file", str(file))
    assert server.get("/v1/models", **bearer(KEY)).status == 200
    file.write_text(f"{OTHER}\n")
    server.signal(signal.SIGHUP)
    server.wait_for_log("keys_read count=1")
    assert server.get("/v1/models", **bearer(KEY)).status == 401
    assert server.get("/v1/models", **bearer(OTHER)).status == 200
    file.write_text("short\n")
    server.signal(signal.SIGHUP)
    server.wait_for_log("keys_kept")
    assert server.get("/v1/models", **bearer(OTHER)).status == 200


def test_a_key_file_without_keys_opens_nothing(launch, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n")
    server = launch("--api-key-file", str(file))
    for text in ("", "# nobody\n", "#" * 1022 + " " + "not-a-key-but-a-comment\n"):
        file.write_text(text)
        server.signal(signal.SIGHUP)
        server.wait_for_log("keys_kept")
        assert server.get("/v1/models").status == 401
        assert server.get("/v1/models", **bearer("not-a-key-but-a-comment")).status == 401
        assert server.get("/v1/models", **bearer(KEY)).status == 200


def test_an_open_server_without_keys_says_so(launch):
    launch("--host", "0.0.0.0").wait_for_log("warn no_key host=0.0.0.0")
    quiet = launch("--host", "0.0.0.0", "--api-key", KEY).errors() + launch().errors()
    assert "no_key" not in quiet


@pytest.mark.case(93)
def test_no_key_and_no_prompt_reaches_log_or_metrics(launch):
    server = launch("--api-key", KEY, "--log-level", "debug")
    secret = "zebra-quagga-okapi"
    messages = [{"role": "user", "content": secret}]
    assert server.post(CHAT, chat(messages=messages), **bearer(KEY)).status == 200
    server.post(CHAT, chat(messages=messages), **bearer("sk-wrong-0123456789"))
    server.post(CHAT, chat(messages=messages, temperature=9), **bearer(KEY))
    seen = server.errors() + server.get("/metrics").body.decode()
    for word in (KEY, "sk-wrong", secret):
        assert word not in seen


def test_a_foreign_host_header_is_refused_on_loopback(shared, launch):
    shared.get("/v1/models", Host="evil.example").error(403, "host_not_allowed")
    assert launch("--allowed-host", "good.example").get("/v1/models", Host="good.example").status == 200


@pytest.mark.case(88)
def test_cors_only_for_the_origins_named(shared, launch):
    assert "access-control-allow-origin" not in shared.get("/health", Origin="http://a.example").headers
    server = launch("--cors-origin", "http://a.example")
    preflight = {"Origin": "http://a.example", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "authorization, x-stainless-os"}
    answer = server.ask("OPTIONS", CHAT, headers=preflight)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "http://a.example"
    assert "x-stainless-os" in answer.headers["access-control-allow-headers"]
    foreign = server.ask("OPTIONS", CHAT, headers={**preflight, "Origin": "http://b.example"})
    assert foreign.status == 204 and "access-control-allow-origin" not in foreign.headers


def test_no_path_of_the_machine_reaches_a_client(launch, checkpoint, tmp_path):
    model = tmp_path / "no-template"
    shutil.copytree(checkpoint, model)
    file = model / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["chat_template"]
    file.write_text(json.dumps(config))
    server = launch(model=model)
    assert "no_chat" in server.errors()
    message = server.chat().error(400, "unsupported_parameter", "messages")
    assert "chat template" in message and str(tmp_path) not in message
    assert server.text().status == 200
