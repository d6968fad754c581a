"""The programs of other people that the API is tried with: each is run as a process of its own. No
test lives here."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from child import TIMEOUT

FOLDER = pathlib.Path(__file__).resolve().parent
MODULES = os.environ.get("UM_NODE_MODULES", "")
PYTHON = os.environ.get("UM_CLIENT_PYTHON", "")

needs_node = pytest.mark.skipif(not shutil.which("node") or not pathlib.Path(MODULES, "openai").is_dir(),
                                reason="node or the npm packages are missing: run scripts/setup test")
needs_python_clients = pytest.mark.skipif(not pathlib.Path(PYTHON).is_file(),
                                          reason="UM_CLIENT_PYTHON is not set: run scripts/setup test")


def node_major():
    return int(subprocess.run(["node", "--version"], capture_output=True, text=True).stdout[1:].split(".")[0])


def base_url(server):
    return f"http://127.0.0.1:{server.port}/v1"


def output_of(command, env=None):
    """Standard output of a client, which must succeed."""
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=TIMEOUT,
                            stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


class Findings(dict):
    """What scenarios found, by name. To ask for one that raised fails."""

    def __getitem__(self, name):
        result = super().__getitem__(name)
        assert "found" in result, result["raised"]
        return result["found"]


def run_node(script, server, *scenarios):
    return Findings(json.loads(output_of(["node", FOLDER / script, base_url(server), *scenarios])))


def run_python(script, server, *scenarios):
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}  # it would ask for a list of prices
    return Findings(json.loads(output_of([PYTHON, FOLDER / script, base_url(server), *scenarios], env)))
