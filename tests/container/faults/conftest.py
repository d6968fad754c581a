"""What the faults need: the model that the program comes with, and its right answers."""
import subprocess
import sys

import pytest

from child import ROOT
from fleet import Fleet
from load import right_answers
from unmask_server import Server

MODEL = ROOT / "models/pocket"


@pytest.fixture(scope="session")
def answers():
    server = Server(MODEL)
    yield right_answers(f"http://127.0.0.1:{server.port}/v1")
    server.stop()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A model with a longer context and quick steps, for answers of many megabytes."""
    path = tmp_path_factory.mktemp("checkpoints") / "tiny"
    subprocess.run([sys.executable, ROOT / "scripts/make_tiny_checkpoint.py", "--layers", "3", "--out", path],
                   check=True, stdout=subprocess.DEVNULL)
    return path


@pytest.fixture
def fleet(tmp_path):
    """Starts a fleet of the test's own."""
    started = []

    def start(count, *options, model=MODEL):
        started.append(Fleet(count, model, tmp_path, *options).__enter__())
        return started[-1]

    yield start
    for each in started:
        each.__exit__()
