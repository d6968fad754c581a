"""Loading, leaving clients, full queues, deadlines and the end: cases 38, 51, 53, 54, 83-85."""
import contextlib
import json
import signal
import socket
import struct
import time

import pytest

from child import TIMEOUT
from unmask_server import CHAT, TEXT, chat, events, text

LONG = {"prompt": [5] * 8, "max_tokens": 400, "seed": 1}  # minutes on the slow server


def abort(server):
    return server.metrics()['request_success_total{finished_reason="abort"}']


def reset(client):
    """Closes with a reset, as a killed client does."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# ---- loading ----


@pytest.fixture(scope="module")
def big_checkpoint(tmp_path_factory, checkpoint):
    """The tiny checkpoint's files around 350 MiB of zeros, so that loading takes a moment. The file
    has holes and takes no room."""
    path = tmp_path_factory.mktemp("checkpoints") / "big"
    path.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (path / name).write_bytes((checkpoint / name).read_bytes())
    config = json.loads((checkpoint / "config.json").read_text())
    wide = {64: 1024, 176: 4096, 32: 512, 608: 608}
    config.update(d_model=1024, mlp_hidden_size=4096, n_layers=6)
    (path / "config.json").write_text(json.dumps(config))
    with open(checkpoint / "model.safetensors", "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    shapes = {name: [wide[n] for n in entry["shape"]] for name, entry in header.items()
              if name != "__metadata__"}
    for layer in range(3, 6):
        shapes.update({name.replace("blocks.0.", f"blocks.{layer}."): shape
                       for name, shape in shapes.items() if "blocks.0." in name})
    entries, end = {}, 0
    for name, shape in shapes.items():
        begin, size = end, 4
        for n in shape:
            size *= n
        end = begin + size
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    encoded = json.dumps(entries).encode()
    with open(path / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.truncate(file.tell() + end)
    return path


@pytest.mark.case(38)
def test_while_the_model_loads(launch, big_checkpoint):
    server = launch(model=big_checkpoint, wait=False)
    answer = server.get("/health")
    assert "loading" in answer.error(503, "model_loading") and 1 <= int(answer.headers["retry-after"]) <= 30
    refused = server.chat()
    assert "retry-after" in refused.headers
    refused.error(503, "model_loading")
    assert server.get("/health/live").status == 200  # the port answers before there is a model
    assert server.get("/v1/models").json["data"][0]["id"] == "big"
    samples = server.metrics()
    assert samples['requests_rejected_total{reason="loading"}'] == 1 and samples["ready"] == 0
    assert abs(samples["start_time_seconds"] - time.time()) < TIMEOUT
    server.wait_for_log("info ready ")
    assert server.get("/health").status == 200 and server.metrics()["ready"] == 1
    assert server.chat(max_tokens=1).status == 200


def test_sigterm_while_the_model_loads(launch, big_checkpoint):
    server = launch(model=big_checkpoint, wait=False)
    server.stop()
    assert "info ready " not in server.errors()


# ---- clients that leave ----


@pytest.mark.case(53)
def test_a_client_that_leaves_a_stream_frees_its_slot(slow):
    client = slow.open_stream(TEXT, LONG)
    slow.wait_for_metric("num_requests_running", lambda n: n == 1)
    reset(client)
    slow.wait_idle()
    assert abort(slow) == 1 and slow.metrics()["canvas_tokens"] == 0


@pytest.mark.case(54)
def test_a_client_that_leaves_before_a_whole_answer_frees_its_slot(slow):
    client = slow.send(TEXT, json.dumps(LONG).encode())
    slow.wait_for_metric("num_requests_running", lambda n: n == 1)
    client.close()
    slow.wait_idle()
    assert abort(slow) == 1


@pytest.mark.case(54)
def test_a_client_that_leaves_the_queue_frees_its_place(slow):
    first = slow.open_stream(TEXT, LONG)
    second = slow.send(TEXT, json.dumps(LONG).encode())
    slow.wait_for_metric("num_requests_waiting", lambda n: n == 1)
    second.close()
    slow.wait_for_metric("num_requests_waiting", lambda n: n == 0)
    first.close()
    slow.wait_idle()
    assert abort(slow) == 2


def test_one_failing_client_of_several_prompts_frees_all_of_them(launch):
    server = launch("--backend", "ref")
    client = server.open_stream(TEXT, {**LONG, "prompt": [LONG["prompt"]] * 3})
    server.wait_for_metric("num_requests_running", lambda n: n == 3)
    client.close()
    server.wait_idle()
    assert abort(server) == 3


# ---- no room, no time ----


@pytest.mark.case(83)
def test_a_full_queue_says_when_to_come_back(slow):
    first, second = slow.open_stream(TEXT, LONG), slow.open_stream(TEXT, LONG)
    for stream in (False, True):
        answer = slow.text(stream=stream)
        answer.error(429, "queue_full")
        seconds, milliseconds = (int(answer.headers[name]) for name in ("retry-after", "retry-after-ms"))
        assert 1 <= seconds <= 30 and milliseconds <= 1000 * seconds <= milliseconds + 1000
    first.close()
    second.close()
    slow.wait_idle()
    assert slow.metrics()['requests_rejected_total{reason="queue_full"}'] == 2


def test_waiting_too_long_in_the_queue(launch):
    server = launch("--backend", "ref", "--max-batch", "1", "--queue-timeout", "1")
    first = server.open_stream(TEXT, LONG)
    server.post(TEXT, LONG).error(429, "queue_timeout")
    raw = server.stream(TEXT, LONG)[1]
    assert json.loads(raw.split(b"data: ")[1])["error"]["code"] == "queue_timeout"
    assert raw.endswith(b"data: [DONE]\n\n")
    first.close()
    server.wait_idle()
    assert server.metrics()['requests_rejected_total{reason="queue_timeout"}'] == 2


@pytest.mark.case(84)
def test_answers_over_the_time_limit(launch):
    server = launch("--backend", "ref", "--request-timeout", "1")
    answer = server.post(TEXT, LONG)
    answer.error(504, "generation_timeout")
    assert answer.headers["x-should-retry"] == "false"
    chunks = events(server.stream(TEXT, LONG)[1])
    assert set(chunks[-1]) == {"error"} and chunks[-1]["error"]["code"] == "generation_timeout"
    assert chunks[-1]["error"]["message"]
    assert not any(choice["finish_reason"] for chunk in chunks[:-1] for choice in chunk["choices"])
    assert server.metrics()['request_success_total{finished_reason="error"}'] == 2


@pytest.mark.case(51)
def test_silence_is_filled_with_comments(launch):
    """The second stream waits in the queue for longer than the ping interval."""
    server = launch("--backend", "ref", "--max-batch", "1", "--sse-ping-interval", "1")
    first = server.open_stream(TEXT, LONG)
    waiting = server.send(TEXT, json.dumps({**LONG, "stream": True}).encode())
    seen = b""
    while b": keep-alive\n\n" not in seen:
        part = waiting.recv(4096)
        assert part, seen
        seen += part
    first.close()
    waiting.close()


@pytest.mark.case(51)
def test_a_stalled_engine_leaves_comments(launch):
    """The stream runs; no step ends."""
    server = launch("--test-step", "slow:3600000", "--sse-ping-interval", "1")
    client = server.open_stream(TEXT, LONG)
    seen = b""
    while seen.count(b": keep-alive\n\n") < 2:
        part = client.recv(4096)
        assert part, seen
        seen += part
    assert b"data:" not in seen
    server.wait_for_metric("num_requests_running", lambda n: n == 1)
    client.close()


# ---- a step that fails ----


@pytest.mark.case(52)
@pytest.mark.parametrize("path, body", [(TEXT, text()), (CHAT, chat())])
def test_a_failing_step_is_told_in_the_stream(launch, path, body):
    """An error event, [DONE], a clean end (events), and no finish."""
    server = launch("--test-step", "fail:3")
    settings = {**body, "diffusion": {"block_length": 1}}
    *chunks, last = events(server.stream(path, settings)[1])
    assert set(last) == {"error"} and set(last["error"]) == {"message", "type", "param", "code"}
    assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "engine_error")
    assert last["error"]["message"]
    assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])
    assert server.wait() == 1


@pytest.mark.case(52)
def test_a_failing_step_is_a_503_where_nothing_was_sent(launch):
    server = launch("--test-step", "fail:3")
    server.text().error(503, "engine_dead")


# ---- the end ----


@pytest.mark.case(85)
def test_sigterm_lets_what_runs_finish(launch):
    server = launch("--backend", "ref", "--drain-timeout", "600")
    body = {"prompt": [5] * 64, "max_tokens": 64, "seed": 1}
    client = server.open_stream(TEXT, body)
    server.signal(signal.SIGTERM)
    server.wait_for_log("draining")
    answer = server.text()
    answer.error(503, "draining")
    assert answer.headers["connection"] == "close" and "retry-after" in answer.headers
    server.get("/health").error(503, "draining")
    assert server.get("/health/live").status == 200
    rest = b""
    with contextlib.closing(client):
        while part := client.recv(65536):
            rest += part
    assert b'"finish_reason":"length"' in rest and b"data: [DONE]\n\n" in rest
    assert server.wait() == 0


def test_drain_timeout_ends_what_is_left_with_an_error(launch):
    slow = launch("--test-step", "slow:500", "--max-batch", "1", "--max-queue", "1", "--drain-timeout", "1")
    client = slow.open_stream(TEXT, LONG)
    waiting = slow.send(TEXT, json.dumps(LONG).encode())
    slow.wait_for_metric("num_requests_waiting", lambda n: n == 1)
    slow.signal(signal.SIGTERM)
    rest = b""
    with contextlib.closing(client):
        while part := client.recv(65536):
            rest += part
    assert b'"code":"server_shutdown"' in rest and b"data: [DONE]\n\n" in rest
    with contextlib.closing(waiting):
        assert waiting.recv(65536).startswith(b"HTTP/1.1 503 ")
    assert slow.wait() == 0


def test_second_sigterm_stops_at_once(launch):
    server = launch("--test-step", "slow:500", "--drain-timeout", "600")
    client = server.open_stream(TEXT, LONG)
    server.signal(signal.SIGTERM)
    server.wait_for_log("draining")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    client.close()


def test_sigint_is_a_sigterm(launch):
    server = launch()
    server.signal(signal.SIGINT)
    assert server.wait() == 0
