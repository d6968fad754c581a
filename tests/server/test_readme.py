"""The README's examples, run as they stand: `scripts/serve` without arguments on its default port,
then the curl, Python and Node blocks, streamed and not."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest

from unmask_server import BUILD, ROOT, events, joined

README = (ROOT / "README.md").read_text()
SECONDS = 240


def blocks(language):
    """The fenced code blocks of a language that speak to the server."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.S | re.M)
    return [block for block in found if "127.0.0.1:8080" in block]


@pytest.fixture(scope="module")
def served():
    if BUILD.name != "release":
        pytest.skip("scripts/serve runs the release build")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 8080))  # the README's port must be free
    process = subprocess.Popen([ROOT / "scripts/serve"], stderr=subprocess.PIPE, text=True,
                               stdin=subprocess.DEVNULL)
    said = []
    for line in process.stderr:
        said.append(line)
        if " ready " in line:
            break
    assert process.poll() is None, said
    yield
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl(served):
    plain, streamed = blocks("sh")
    answer = json.loads(run(["bash", "-c", plain]))
    assert answer["choices"][0]["message"]["content"]
    chunks = events(run(["bash", "-c", streamed]).encode())
    assert joined(chunks)


def test_python(served):
    (source,) = blocks("python")
    lines = run([sys.executable, "-c", source]).strip().splitlines()
    assert len(lines) >= 2 and lines[0] and lines[-1]


def test_node(served, tmp_path):
    modules = os.environ.get("UM_NODE_MODULES")
    if not modules:
        pytest.skip("UM_NODE_MODULES is not set; scripts/test sets it")
    (source,) = blocks("js")
    (tmp_path / "example.mjs").write_text(source)
    (tmp_path / "node_modules").symlink_to(modules)
    lines = run(["node", "example.mjs"], cwd=tmp_path).strip().splitlines()
    assert len(lines) >= 2 and lines[0] and lines[-1]


def test_generate_and_inspect(served):
    """The commands of the README on the checkpoint that scripts/serve served."""
    model = ROOT / "models/pocket"
    if not (model / "config.json").exists():
        cache = os.environ.get("UNMASK_CACHE") or pathlib.Path(
            os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "unmask"
        model = pathlib.Path(cache) / "tiny-llada"
    assert run([BUILD / "server/unmask", "generate", "--model", model, "Hello!"]).strip()
    assert "llada" in run([BUILD / "server/unmask", "inspect", model])
