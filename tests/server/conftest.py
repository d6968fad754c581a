"""Checkpoints and servers that the tests share. A test that needs other options starts its own."""
import os
import pathlib
import subprocess
import sys

import pytest

import unmask_server
from child import ROOT

MAKER = ROOT / "scripts/make_tiny_checkpoint.py"


def pytest_configure(config):
    config.addinivalue_line("markers", "case(number, ...): proves these cases of the API's checklist")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A small served checkpoint: 608 ids, 1,024 positions, random weights; fewer layers where the
    backend is slow."""
    path = tmp_path_factory.mktemp("checkpoints") / "tiny"
    subprocess.run([sys.executable, MAKER, "--layers", os.environ.get("UM_TINY_LAYERS", "3"), "--out",
                    path], check=True, stdout=subprocess.DEVNULL)
    return pathlib.Path(path)


@pytest.fixture(scope="session")
def shared(checkpoint):
    """One server with two names for many tests. It must still be idle and end cleanly at the end."""
    server = unmask_server.Server(checkpoint, "--model-alias", "alias/name")
    yield server
    server.wait_idle()
    server.stop()


@pytest.fixture
def launch(checkpoint):
    """Starts servers of the test's own; whatever is left is killed."""
    servers = []

    def start(*options, model=checkpoint, **how):
        servers.append(unmask_server.Server(model, *options, **how))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def stepwise(checkpoint):
    """A server whose steps take so long that each is told by itself."""
    server = unmask_server.Server(checkpoint, "--test-step", "slow:2", "--model-id", "tiny")
    yield server
    server.wait_idle()
    server.stop()


@pytest.fixture
def full(launch):
    """A server that has no room until it ends: one request runs in a step without end, one waits."""
    server = launch("--test-step", "slow:3600000", "--max-batch", "1", "--max-queue", "1", "--model-id", "tiny")
    held = [server.open_stream(unmask_server.TEXT, unmask_server.text()) for _ in range(2)]
    yield server
    for client in held:
        client.close()


@pytest.fixture
def slow(launch):
    """A server whose answers take long: plain loops, one request at a time, one in the queue."""
    return launch("--backend", "ref", "--max-batch", "1", "--max-queue", "1", "--drain-timeout", "1")
