"""What the faults need: the model that the program comes with, and its right answers."""
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
