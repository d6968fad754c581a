"""A machine that is gone without a goodbye, the replica's or the client's: neither holds anything for long.
Without the settings for it a replica's requests would stay for a quarter of an hour, TCP's patience."""
import concurrent.futures
import contextlib
import http.client
import json

import pytest

from child import wait_until
from conftest import MODEL
from fleet import Balancer
from load import client_of, end_of
from network import FarServer, elsewhere
from unmask_server import Server

SECONDS = 120  # several times what the balancer needs, a fraction of TCP's own patience
SHORT = {"prompt": "Once", "max_tokens": 8, "seed": 1, "diffusion": {"steps": 1}}
WAITING = {**SHORT, "max_tokens": 60, "diffusion": {"steps": 60}, "ignore_eos": True}
STREAM = {"model": "pocket", "prompt": "Once", "max_tokens": 100, "seed": 1,
          "extra_body": {"ignore_eos": True, "diffusion": {"steps": 100}}}


@pytest.fixture
def network():
    with elsewhere() as made:
        yield made


@pytest.fixture
def keep():
    """Children and connections that end with the test."""
    with contextlib.ExitStack() as stack:
        def each(thing, end):
            stack.callback(end)
            return thing

        yield each


def ask(connection, body):
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())["choices"][0]["text"]


def test_a_replicas_machine_that_is_gone(network, keep, tmp_path):
    """What it had taken and not answered is answered elsewhere, and so is what was sent to it on kept
    connections after it had gone; its stream breaks, the other replica's goes on."""
    far = FarServer(network, MODEL, "--test-step", "slow:200")
    keep(far, far.kill)
    near = Server(MODEL, "--early-headers=false", "--test-step", "slow:200")
    keep(near, near.kill)
    balancer = Balancer([f"{far.host}:{far.port}", f"127.0.0.1:{near.port}"], tmp_path)
    keep(balancer, balancer.stop)
    balancer.wait_for_states("UP", "UP")
    expected = {body["max_tokens"]: near.post("/v1/completions", body).content for body in (SHORT, WAITING)}

    def connect():
        return http.client.HTTPConnection("127.0.0.1", balancer.port, timeout=SECONDS)

    connections = [keep(each, each.close) for each in (connect() for _ in range(14))]
    kept, others = connections[:8], connections[8:]
    with concurrent.futures.ThreadPoolExecutor(len(connections)) as pool:
        waiting = [pool.submit(ask, each, WAITING) for each in others]
        wait_until(lambda: far.metrics()["num_requests_running"], lambda n: n == len(others) / 2)
        client = client_of(f"http://127.0.0.1:{balancer.port}/v1")
        streams = [client.completions.create(**STREAM, stream=True) for _ in range(2)]
        assert all(next(stream).choices for stream in streams)
        wait_until(lambda: far.metrics()["num_requests_running"], lambda n: n == len(others) / 2 + 1)
        assert {each.result()[0] for each in [pool.submit(ask, each, SHORT) for each in kept]} == {200}  # both have some
        network.fall_silent()
        late = [pool.submit(ask, each, SHORT) for each in kept]
        wait_until(lambda: int(balancer.rows()[0]["reuse"]), lambda n: n > 0)  # sent, and never acknowledged
        assert [each.result() for each in late] == [(200, expected[SHORT["max_tokens"]])] * len(late)
        assert [each.result() for each in waiting] == [(200, expected[WAITING["max_tokens"]])] * len(waiting)
    ends = sorted(end_of(stream) for stream in streams)
    assert ends == ["APIConnectionError", "length"] and balancer.total("wretr") >= len(waiting) / 2


def test_clients_whose_machine_is_gone(network, keep, tmp_path):
    """Their places in the replica are free before the work is done: of those that only wait, and of those
    whose streams are on their way."""
    server = Server(MODEL, "--early-headers=false", "--test-step", "slow:500")
    keep(server, server.kill)
    balancer = Balancer([f"127.0.0.1:{server.port}"], tmp_path, address=network.near)
    keep(balancer, balancer.stop)
    balancer.wait_for_states("UP")
    clients = []
    for streamed in (True, True, False, False):
        body = json.dumps({**WAITING, "max_tokens": 256, "diffusion": {"steps": 256}, "stream": streamed}).encode()
        client = network.socket()
        clients.append(keep(client, client.close))
        client.settimeout(SECONDS)
        client.connect((network.near, balancer.port))
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    assert all(client.recv(4096).startswith(b"HTTP/1.1 200 ") for client in clients[:2])
    server.wait_for_metric("num_requests_running", lambda n: n == len(clients))
    network.fall_silent()
    server.wait_idle()
    assert server.metrics()['request_success_total{finished_reason="abort"}'] == len(clients)
