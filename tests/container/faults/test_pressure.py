"""Clients and machines that misbehave, through the balancer: slow and vanished readers, full queues, a
full disk for the log, a clock that jumps. The others are served, and the books balance."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import socket
import struct
import subprocess
import threading
import time

import openai
import pytest

from child import wait_until
from fleet import get
from load import Load, client_of, question, right_answers

LONG = {"prompt": "Once", "max_tokens": 200, "seed": 1, "stream": True}


def check_nothing_was_lost(load):
    assert load.count("right") > 0
    assert load.count("failed") == load.count("silent") == load.count("cut") == 0, load.summary()


def post(port, body):
    """A socket of a client of its own, the request sent and nothing read. Its buffer is small, and so are
    its packets, by which the sender's buffer goes."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    client.settimeout(240)
    client.connect(("127.0.0.1", port))
    payload = json.dumps(body).encode()
    client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                   b"Content-Length: %d\r\n\r\n%s" % (len(payload), payload))
    return client


def megabytes(steps):
    """A stream of several kilobytes for each step; the systems between its ends hold some five megabytes."""
    draft = {"interval_ms": 0, "frames": "full", "confidence": True, "guess": True, "token_ids": True}
    return {**LONG, "max_tokens": steps, "ignore_eos": True,
            "diffusion": {"block_length": steps, "steps": steps, "stream": "draft", "draft": draft}}


def frames_dropped(f):
    return sum(server.metrics()['stream_frames_total{kind="dropped"}'] for server in f.live())


def test_slow_readers_hold_up_nobody_and_get_all_of_it(fleet, tiny):
    """They take a few bytes at a time until their answers are complete, while others are served. The replicas
    leave out frames for want of room, and no text."""
    f = fleet(2, "--model-id", "pocket", model=tiny)
    answers, body = right_answers(f.url), megabytes(800)
    expected, size = read_stream(post(f.balancer.port, body))
    assert size > 5_000_000
    dropped = frames_dropped(f)  # none, but on a machine that starves even this reader
    slow = [post(f.balancer.port, body) for _ in range(2)]
    with Load(f.url, answers, clients=2) as load, concurrent.futures.ThreadPoolExecutor(len(slow)) as pool:
        ended = threading.Event()
        reading = [pool.submit(read_stream, client, ended) for client in slow]
        wait_until(lambda: complete(f), lambda count: count == 1 + len(slow))
        ended.set()
        texts = [each.result() for each in reading]
        load.wait_for(8)
    check_nothing_was_lost(load)
    assert [text for text, _ in texts] == [expected] * len(slow)
    assert all(taken < size for _, taken in texts) and frames_dropped(f) > dropped
    f.balanced_books()


def complete(f):
    """Answers of megabytes that the replicas are done with; all others are far shorter."""
    found = [server.metrics() for server in f.live()]
    return sum(m["request_generation_tokens_count"] - m['request_generation_tokens_bucket{le="500"}'] for m in found)


def read_stream(client, quick_from=None):
    """Text and size of a whole stream that ended as it should; read slowly until the event is set."""
    answer, raw = http.client.HTTPResponse(client, method="POST"), bytearray()
    answer.begin()
    assert answer.status == 200
    while part := answer.read1(64 if quick_from and not quick_from.wait(0.01) else 65536):  # raises where it is cut
        raw += part
    client.close()
    assert raw.endswith(b"data: [DONE]\n\n"), raw[-300:]
    events = [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: {")]
    assert events[-1]["choices"][0]["finish_reason"], raw[-300:]
    return "".join(event["choices"][0]["text"] for event in events), len(raw)


def test_a_reader_that_takes_nothing_gives_its_place_to_the_next(fleet, tiny):
    """It has half a minute; its answer would take twice that."""
    f = fleet(1, "--max-batch", "1", "--test-step", "slow:70", model=tiny)
    asleep = post(f.balancer.port, megabytes(900))
    server = f.replicas[0].server
    server.wait_for_metric("num_requests_running", lambda n: n == 1)
    assert read_stream(post(f.balancer.port, {**LONG, "max_tokens": 8}))[0]
    metrics = server.metrics()
    assert metrics['request_success_total{finished_reason="abort"}'] == 1, metrics
    with asleep, pytest.raises(ConnectionResetError):
        while asleep.recv(65536):
            pass
    f.balanced_books()


def test_vanished_clients_leave_their_places(fleet, answers):
    """A client that is gone, with or without a goodbye to the balancer, is gone in the replica too."""
    f = fleet(2, "--test-step", "slow:500", "--max-batch", "4")
    clients = [post(f.balancer.port, {**LONG, "stream": i % 2 == 0}) for i in range(6)]
    wait_until(lambda: sum(s.metrics()["num_requests_running"] for s in f.live()), lambda n: n == 6)
    for i, client in enumerate(clients):
        if i % 3 == 0:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        client.close()
    for server in f.live():
        server.wait_idle()
    aborted = sum(s.metrics()['request_success_total{finished_reason="abort"}'] for s in f.live())
    assert aborted == 6
    f.balanced_books()


def test_bodies_longer_than_the_balancers_buffer_are_served(fleet, answers):
    """They cannot be repeated, but go through, up to the replicas' own bound, whose answer comes back."""
    f = fleet(2)
    client = client_of(f.url)
    for size in (300_000, 2_000_000, 8_000_000):
        answer = client.chat.completions.create(**question(0), extra_body={"padding": "x" * size})
        assert answer.choices[0].message.content == answers[0]
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(**question(0), extra_body={"padding": "x" * 9_000_000})
    assert refused.value.status_code == 413


def test_full_queues_are_told_and_clients_that_come_again_get_in(fleet, answers):
    """Two places each; twelve clients that try again, as the SDK does, all get right answers. One that does
    not sees 429 with the time to wait."""
    f = fleet(2, "--max-batch", "1", "--max-queue", "1")
    with Load(f.url, answers, clients=12, retries=1000) as load:
        refused = wait_until(lambda: first_refusal(f), bool)
        load.wait_for(24)
    check_nothing_was_lost(load)
    assert refused.status_code == 429 and refused.code == "queue_full"
    assert 1 <= int(refused.response.headers["retry-after"]) <= 30
    f.balanced_books()


def first_refusal(f):
    try:
        client_of(f.url).chat.completions.create(**question(12))
    except openai.RateLimitError as error:
        return error
    return None


@pytest.fixture
def log_on_a_full_disk():
    with open("/dev/full", "w") as file:
        yield file


def test_a_full_disk_for_the_log_stops_nobody(fleet, answers, log_on_a_full_disk):
    """Every write of the log fails for want of room; requests, drain and exit status are as ever."""
    f = fleet(2)
    f.replicas[0].drain()
    f.balancer.wait_for_states("DOWN", "UP")
    process = subprocess.Popen([str(word) for word in f.replicas[0].server.process.args],
                               stdin=subprocess.DEVNULL, stdout=log_on_a_full_disk, stderr=log_on_a_full_disk)
    try:
        f.balancer.wait_for_states("UP", "UP")
        served = requests_of(f.replicas[0].port)
        with Load(f.url, answers, clients=8) as load:
            load.wait_for(32)
        check_nothing_was_lost(load)
        assert requests_of(f.replicas[0].port) > served  # it had its share
        process.terminate()
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.wait()


def requests_of(port):
    text = get(port, "/metrics")[1].decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if line.startswith("unmask_requests_started_total"))


@pytest.fixture
def fake_time(tmp_path):
    """Environment of a program whose wall clock follows a file; its monotonic clock stays true."""
    places = (pathlib.Path(root).glob("usr/lib/*/faketime/libfaketime.so.1")
              for root in (os.environ.get("UM_OPS_PROGRAMS", "/"), "/"))
    library = next((str(path) for found in places for path in found), None)
    assert library, "libfaketime is not here: scripts/setup test"
    file = tmp_path / "clock"
    file.write_text("+0\n")
    return file, {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
                  "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def test_jumps_of_the_clock_end_nothing(fleet, answers, fake_time):
    """A day ahead, two back, while requests run and wait: no deadline is of the wall clock."""
    file, environment = fake_time
    f = fleet(2, "--request-timeout", "600", "--queue-timeout", "300")
    for replica in f.replicas:
        replica.drain()
        replica.start(env=environment)
    f.balancer.wait_for_states("UP", "UP")
    with Load(f.url, answers, clients=8) as load:
        for jump in ("+1d", "-1d", "+0", "+30d"):
            load.wait_for(8)
            file.write_text(jump + "\n")
            created = wait_until(lambda: client_of(f.url).chat.completions.create(**question(0)).created, bool)
            days = {"+1d": 1, "-1d": -1, "+0": 0, "+30d": 30}[jump]
            assert abs(created - time.time() - days * 86400) < 3600  # the jump was seen
        load.wait_for(8)
    check_nothing_was_lost(load)
    f.balanced_books()
