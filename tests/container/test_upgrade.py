"""docker/upgrade.sh against a stand-in for Docker: in which order it does things, and what it leaves behind
when a new replica is no good."""
import json
import os
import shutil
import subprocess

import pytest

from child import ROOT, TIMEOUT

SCRIPT = ROOT / "docker/upgrade.sh"


class Fleet:
    """Replicas under the stand-in: `old` of them run, of the image "old"."""

    def __init__(self, folder, old, starts):
        self.path, self.bin = folder / "state.json", folder / "bin"
        self.bin.mkdir()
        shutil.copy(ROOT / "tests/container/fake_docker.py", self.bin / "docker")
        (self.bin / "docker").chmod(0o755)
        containers = {f"{number:064x}": {"name": f"unmask-unmask-{number}", "image": "old", "restarts": 2,
                                         "status": "running", "health": "healthy", "how": "old", "looks": 0}
                      for number in range(1, old + 1)}
        self.write({"containers": containers, "number": old, "image": "new", "starts": starts, "calls": []})

    def write(self, state):
        self.path.write_text(json.dumps(state))

    @property
    def state(self):
        return json.loads(self.path.read_text())

    def upgrade(self, *options, wait=600):
        environment = {key: value for key, value in os.environ.items() if key != "COMPOSE_FILE"}
        result = subprocess.run([SCRIPT, *options], capture_output=True, text=True, timeout=TIMEOUT,
                                stdin=subprocess.DEVNULL,
                                env={**environment, "PATH": f"{self.bin}:{os.environ['PATH']}", "UPGRADE_SETTLE": "0",
                                     "UPGRADE_WAIT": str(wait), "FAKE_DOCKER": str(self.path)})
        print(result.stderr)
        return result

    def images(self):
        """Of what there is, running or not."""
        return sorted(box["image"] for box in self.state["containers"].values() if box["status"] == "running")

    def fewest_healthy(self):
        return min(sum(health == "healthy" for _, health in call["running"]) for call in self.state["calls"])

    def most(self):
        return max(len(call["running"]) for call in self.state["calls"])


@pytest.mark.parametrize("old", [1, 3])
def test_every_replica_is_replaced_and_there_are_never_fewer(tmp_path, old):
    fleet = Fleet(tmp_path, old, ["slow", "healthy", "slow"][:old])
    assert fleet.upgrade().returncode == 0
    assert fleet.images() == ["new"] * old and len(fleet.state["containers"]) == old
    assert fleet.fewest_healthy() == old and fleet.most() == old + 1


@pytest.mark.parametrize("how", ["unhealthy", "restarts"])
def test_a_new_replica_that_is_no_good_is_taken_away_and_the_old_ones_stay(tmp_path, how):
    fleet = Fleet(tmp_path, 2, [how])
    result = fleet.upgrade(wait=1)
    assert result.returncode == 1 and "0 of 2 replaced" in result.stderr
    assert "the last words of unmask-unmask-3" in result.stderr
    assert fleet.images() == ["old", "old"] and len(fleet.state["containers"]) == 2
    assert fleet.fewest_healthy() == 2


@pytest.mark.parametrize("how", ["ends", "refused"])
def test_a_new_replica_that_does_not_even_run_changes_nothing(tmp_path, how):
    fleet = Fleet(tmp_path, 2, [how])
    result = fleet.upgrade()
    assert result.returncode == 1 and "0 of 2 replaced" in result.stderr
    assert fleet.images() == ["old", "old"] and fleet.fewest_healthy() == 2
    fleet.write({**fleet.state, "starts": ["healthy", "healthy"]})  # what is left over is no obstacle
    assert fleet.upgrade().returncode == 0
    assert fleet.images() == ["new", "new"] and len(fleet.state["containers"]) == 2


def test_it_ends_at_the_first_that_is_no_good(tmp_path):
    fleet = Fleet(tmp_path, 3, ["healthy", "unhealthy"])
    result = fleet.upgrade(wait=1)
    assert result.returncode == 1 and "1 of 3 replaced" in result.stderr
    assert fleet.images() == ["new", "old", "old"] and fleet.fewest_healthy() == 3


def test_a_stopped_replica_is_not_started_and_does_not_count(tmp_path):
    fleet = Fleet(tmp_path, 2, ["healthy"])
    state = fleet.state
    next(iter(state["containers"].values()))["status"] = "exited"
    fleet.write(state)
    assert fleet.upgrade().returncode == 0
    assert fleet.images() == ["new"] and len(fleet.state["containers"]) == 1


def test_without_replicas_it_does_nothing(tmp_path):
    fleet = Fleet(tmp_path, 0, [])
    result = fleet.upgrade()
    assert result.returncode == 1 and "no replica of unmask runs" in result.stderr
    assert not fleet.state["containers"]


@pytest.mark.parametrize("options", [(), ("-p", "other", "-f", "a file.yaml")])
def test_options_go_to_every_call_of_compose(tmp_path, options):
    fleet = Fleet(tmp_path, 1, ["healthy"])
    assert fleet.upgrade(*options).returncode == 0
    calls = [call for call in fleet.state["calls"] if call["words"][0] == "compose"]
    assert len(calls) > 4
    for call in calls:
        assert call["words"][1:1 + len(options)] == list(options)
        assert call["file"] == str(ROOT / "docker/compose.yaml")  # -f is stronger than the variable
