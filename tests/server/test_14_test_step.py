"""--test-step: an engine that stands still, breaks or costs nothing, for cases 51, 52 and 98."""
import contextlib
import json
import signal
import time

import pytest

from child import SANITIZED, TIMEOUT, Child
from unmask_server import BINARY, CHAT, TEXT, chat, events, text


def test_a_step_that_fails_ends_a_stream_with_an_error(launch):
    """Case 52: text of the first steps, then the error; no finish and no usage chunk."""
    server = launch("--test-step", "fail:3")
    raw = server.stream(CHAT, chat(max_tokens=32, diffusion={"steps": 32}, stream_options={"include_usage": True}))[1]
    assert raw.endswith(b"data: [DONE]\n\n")
    chunks = events(raw)
    assert chunks[-1]["error"]["code"] == "engine_error" and chunks[-1]["error"]["message"]
    assert not any(choice["finish_reason"] for chunk in chunks[:-1] for choice in chunk["choices"])
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert server.wait() == 1
    lines = server.errors().splitlines()
    assert any(" error engine_failed " in line for line in lines)
    assert any(" warn request_failed id=" in line and "status=UM_E_ENGINE " in line for line in lines)
    assert lines[-1].startswith("unmask: ") and "step 3 fails" in lines[-1]


def test_a_step_that_fails_ends_an_answer_and_the_server(launch):
    """A supervisor then starts it anew: nothing in the process could bring a lost device back."""
    server = launch("--test-step", "fail:1")
    server.chat().error(503, "engine_dead")  # nothing was sent: another server may do it
    assert server.wait() == 1


def test_a_step_that_does_not_end_ends_the_server(launch):
    """No thread can be made to come back, but clients can be told."""
    server = launch("--test-step", "hang", "--stall-timeout", "1", "--max-batch", "1")
    stream = server.open_stream(TEXT, text())
    waiting = server.send(TEXT, json.dumps(text()).encode())
    with contextlib.closing(stream), contextlib.closing(waiting):
        rest = b""
        while part := stream.recv(65536):
            rest += part
        assert b'"code":"engine_error"' in rest and rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        answer = waiting.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ") and b'"code":"engine_dead"' in answer
    assert server.wait() == 1
    assert " error step_abandoned open=2 " in server.errors()
    assert "--stall-timeout" in server.errors().splitlines()[-1]


def test_a_slow_step_is_no_stall(launch):
    server = launch("--test-step", "slow:3000", "--stall-timeout", "5")
    assert server.text(diffusion={"steps": 3}).status == 200


def test_a_pause_of_the_process_is_no_stall(launch):
    """The clock says that the step takes too long, but nobody could have ended it meanwhile."""
    server = launch("--test-step", "hang", "--stall-timeout", "6")
    with server.open_stream(TEXT, text()):
        server.wait_for_metric("num_requests_running", lambda n: n == 1)
        server.signal(signal.SIGSTOP)
        time.sleep(8)
        server.signal(signal.SIGCONT)
        time.sleep(2)
        assert server.process.poll() is None
        assert server.wait() == 1


@pytest.mark.parametrize("signals", [1, 2])
def test_a_hung_step_does_not_keep_the_server_from_stopping(launch, signals):
    """After --drain-timeout, when clients are told, or told twice; a step that is only slow gets some
    seconds more."""
    server = launch("--test-step", "hang", "--drain-timeout", "1" if signals == 1 else "3600")
    with server.open_stream(TEXT, text()) as client:
        server.wait_for_metric("num_requests_running", lambda n: n == 1)
        for _ in range(signals):
            server.signal(signal.SIGTERM)
            server.wait_for_log("draining")
        assert server.wait() == 1
        rest = b""
        while part := client.recv(65536):
            rest += part
        assert (b'"code":"server_shutdown"' in rest) == (signals == 1)
    assert "told to stop" in server.errors().splitlines()[-1]


def test_a_step_that_fails_while_the_server_drains_is_the_reason_of_its_end(launch):
    server = launch("--test-step", "fail:40", "--backend", "ref", "--drain-timeout", "600")
    stream = server.open_stream(TEXT, text(max_tokens=200, diffusion={"steps": 200}))
    server.signal(signal.SIGTERM)
    server.wait_for_log("draining")
    assert server.metrics()["forward_passes_total"] < 39
    with contextlib.closing(stream):
        assert server.wait() == 1
    assert "step 40 fails" in server.errors().splitlines()[-1]


def test_slow_steps_leave_room_for_comments(launch):
    """Case 51."""
    server = launch("--test-step", "slow:2500", "--sse-ping-interval", "1")
    client = server.open_stream(TEXT, text(diffusion={"steps": 1}))
    seen = b""
    while b"[DONE]" not in seen:
        part = client.recv(4096)
        assert part, seen
        seen += part
    assert seen.index(b": keep-alive\n\n") < seen.index(b"data: ")
    client.close()


def test_the_server_stops_in_the_middle_of_a_slow_step(launch):
    server = launch("--test-step", "slow:86400000", "--drain-timeout", "1")
    client = server.open_stream(TEXT, text())
    waiting = server.send(TEXT, json.dumps(text()).encode())
    server.wait_for_metric("requests_started_total", lambda n: n == 2)
    server.signal(signal.SIGTERM)
    rest = b""
    while part := client.recv(65536):
        rest += part
    assert b'"code":"server_shutdown"' in rest
    assert waiting.recv(65536).startswith(b"HTTP/1.1 503 ")
    assert server.wait() == 0
    client.close()
    waiting.close()


def test_clients_that_give_up_leave_nothing_behind(launch):
    """Case 98: three attempts that time out."""
    server = launch("--test-step", "slow:300")
    for _ in range(3):
        client = server.send(CHAT, json.dumps(chat(max_tokens=300)).encode())
        time.sleep(0.2)
        client.close()
    server.wait_idle()
    assert server.metrics()['request_success_total{finished_reason="abort"}'] == 3


@pytest.mark.parametrize("fields", [
    {}, {"algorithm": "random"}, {"threshold": 0.9}, {"algorithm": "factor"}, {"algorithm": "margin"},
    {"steps": 3}])
def test_instant_steps_commit_what_was_asked_for(launch, fields):
    server = launch("--test-step", "instant")
    answer = server.text(max_tokens=32, diffusion=fields)
    letter = answer.content[0]
    assert answer.content == letter * 32 and letter.isalpha()
    assert answer.json["usage"]["diffusion"]["steps"] == (3 if "steps" in fields else 32)
    streamed = events(server.stream(TEXT, text(max_tokens=32, diffusion=fields))[1])
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == letter * 32


@pytest.mark.parametrize("value", ["", "slow", "slow:", "slow:0", "slow:-1", "slow:1x", "slow:86400001", "fail:0",
                                   "fail:99999999999999999999", "instantly", "hang:1"])
def test_other_words_are_refused(checkpoint, value):
    child = Child([BINARY, "serve", "--model", checkpoint, "--port", "0", "--test-step", value])
    assert child.process.wait(TIMEOUT) != 0
    assert "--test-step" in child.errors()


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps freed memory back")
def test_a_silent_stream_takes_little_memory(launch):
    """The library clears 128 KiB for each connection; what it does not need of them goes back. 18 KiB
    were seen for a stream, 100 KiB before that."""
    server = launch("--test-step", "slow:86400000", "--max-queue", "65536", "--drain-timeout", "0")
    body = text(prompt=[5] * 20)
    clients = [server.open_stream(TEXT, body) for _ in range(50)]
    before = server.resident_kib()
    clients += [server.open_stream(TEXT, body) for _ in range(400)]
    assert (server.resident_kib() - before) / 400 < 40
    for client in clients:
        client.close()


def test_a_stream_whose_memory_was_given_back_goes_on(launch):
    """Headers of nearly 64 KiB stand in that memory while the first step runs."""
    server = launch("--test-step", "slow:500")
    headers = {f"x-filler-{i}": "x" * 4000 for i in range(14)}
    with contextlib.closing(server.connect()) as connection:
        for _ in range(2):  # the same connection again
            connection.request("POST", TEXT, json.dumps(text(stream=True, diffusion={"steps": 2})), headers)
            answer = connection.getresponse()
            assert answer.status == 200 and answer.headers["x-request-id"]
            assert answer.read().endswith(b"data: [DONE]\n\n")
