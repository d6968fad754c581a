"""One replica of two breaks, with a stream that has begun and a request that waits behind it, both for
sure: the stream ends with an error that the SDK throws, the request is answered by the other replica, and
the other replica's stream goes on to its end."""
import concurrent.futures
import json
import subprocess

import pytest

from child import ROOT, wait_until
from clients import needs_node
from load import Load, ask, client_of, end_of

STREAM = {"model": "pocket", "prompt": "Once", "max_tokens": 80, "seed": 1, "ignore_eos": True,
          "diffusion": {"steps": 80}}
ONE_AT_A_TIME = ("--test-step", "slow:100", "--max-batch", "1")


class PythonStream:
    """Of the OpenAI SDK; once this is made the stream has begun, with a first chunk or else its headers."""

    def __init__(self, url, chunk=True):
        extra = {name: STREAM[name] for name in ("ignore_eos", "diffusion")}
        known = {name: value for name, value in STREAM.items() if name not in extra}
        self.stream = client_of(url).completions.create(**known, extra_body=extra, stream=True)
        if chunk:
            next(self.stream)

    def end(self):
        return str(end_of(self.stream))


class NodeStream:
    def __init__(self, url):
        self.process = subprocess.Popen(["node", ROOT / "tests/container/stream.mjs", url, json.dumps(STREAM)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "began\n"

    def end(self):
        return self.process.communicate(timeout=240)[0].strip()


def wait_for_one_waiting_at_each(servers):
    wait_until(lambda: [s.metrics()["num_requests_waiting"] for s in servers], lambda found: found == [1, 1])


def kinds(outcomes):
    return [(outcome.kind, outcome.detail) for outcome in outcomes]


BROKEN = {PythonStream: "APIConnectionError", NodeStream: "TypeError"}  # undici's, as it is


@pytest.mark.parametrize("kind", [PythonStream, pytest.param(NodeStream, marks=needs_node)])
def test_kill_9_with_a_begun_stream_and_a_waiting_request(fleet, answers, kind):
    f = fleet(2, *ONE_AT_A_TIME)
    streams = [kind(f.url) for _ in range(2)]
    assert [server.metrics()["num_requests_running"] for server in f.live()] == [1, 1]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, client_of(f.url), 0, answers[0], streamed, {}) for streamed in (True, False)]
        wait_for_one_waiting_at_each(f.live())
        f.replicas[0].server.kill()
        ends = sorted(stream.end() for stream in streams)
        outcomes = [each.result() for each in waiting]
    assert ends == sorted([BROKEN[kind], "length"])
    assert kinds(outcomes) == [("right", "")] * 2
    assert f.balancer.total("wredis") == 1
    f.balanced_books()


def test_a_step_that_never_returns(fleet, answers):
    """The process ends by itself, with status 1. No step of this replica ends, so its stream begins with the
    early headers that replicas behind a balancer should not have."""
    f = fleet(2, *ONE_AT_A_TIME)
    f.replicas[0].drain()
    stuck = f.replicas[0].start("--test-step", "hang", "--stall-timeout", "10", "--early-headers=true")
    f.balancer.wait_for_states("UP", "UP")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        streams = [PythonStream(f.url, chunk=False) for _ in range(2)]
        assert [server.metrics()["num_requests_running"] for server in f.live()] == [1, 1]
        waiting = [pool.submit(ask, client_of(f.url), 0, answers[0], False, {}) for _ in range(2)]
        wait_for_one_waiting_at_each(f.live())
        ends = sorted(stream.end() for stream in streams)
        outcomes = [each.result() for each in waiting]
    assert stuck.wait() == 1 and "--stall-timeout" in stuck.errors().splitlines()[-1]
    assert ends == sorted(["APIError", "length"])  # of an error event, not of a broken connection
    assert kinds(outcomes) == [("right", "")] * 2
    f.balanced_books()


def test_a_step_that_fails(fleet, answers):
    """As where a device is lost: the process refuses what had not begun, which is done elsewhere, and ends
    with status 1, each time it is started again."""
    f = fleet(2, "--max-batch", "2")
    with Load(f.url, answers, clients=8) as load:
        f.replicas[0].drain()
        for _ in range(4):
            failing = f.replicas[0].start("--test-step", "fail:30")
            assert failing.wait() == 1 and "step 30 fails" in failing.errors().splitlines()[-1]
            load.wait_for(8)
        f.replicas[0].start()
        f.balancer.wait_for_states("UP", "UP")
        load.wait_for(8)
    assert load.count("right") > 0
    assert load.count("failed") == load.count("silent") == 0, load.summary()
    assert f.balancer.total("wretr") > 0
    f.balanced_books()
