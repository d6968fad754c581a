"""The README's examples, run as they stand: `scripts/serve` without arguments on its default port,
then the curl, Python and Node blocks and the prompts of the session, streamed and not."""
import json
import os
import re
import signal
import socket
import subprocess
import sys

import openai
import pytest

from child import BUILD, ROOT, TIMEOUT
from draft import watch
from unmask_server import events, joined

README = (ROOT / "README.md").read_text()
CAPITAL = "The capital of France is Paris."


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
    assert process.wait(TIMEOUT) == 0


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl(served):
    plain, streamed, drafted, gap, edit = [block for block in blocks("sh") if block.startswith("curl -s")]
    answer = json.loads(run(["bash", "-c", plain]))
    assert answer["choices"][0]["message"]["content"] == CAPITAL
    chunks = events(run(["bash", "-c", streamed]).encode())
    assert joined(chunks) == CAPITAL
    chunks = events(run(["bash", "-c", drafted]).encode())
    [draft] = watch(chunks, {"guess": True})
    assert draft.text() == joined(chunks) == CAPITAL
    assert json.loads(run(["bash", "-c", gap]))["choices"][0]["text"] == " shiny key"
    answer = json.loads(run(["bash", "-c", edit]))
    assert answer["object"] == "edit.completion" and answer["choices"][0]["message"]["content"]


def test_python(served):
    chat, responses = blocks("python")
    lines = run([sys.executable, "-c", chat]).strip().splitlines()
    assert lines == [CAPITAL, CAPITAL]
    assert run([sys.executable, "-c", responses]) == CAPITAL + "\n"


def test_node(served, tmp_path):
    modules = os.environ.get("UM_NODE_MODULES")
    if not modules:
        pytest.skip("UM_NODE_MODULES is not set; scripts/test sets it")
    (source,) = blocks("js")
    (tmp_path / "example.mjs").write_text(source)
    (tmp_path / "node_modules").symlink_to(modules)
    assert run(["node", "example.mjs"], cwd=tmp_path).strip().splitlines() == [CAPITAL, CAPITAL]


def session():
    """(prompt, answer) of the session with the default model."""
    (block,) = re.findall(r"^```console\n(.*?)^```$", README, re.S | re.M)
    found = re.findall(r'^\$ unmask generate "(.*)"\n((?:(?!\$ ).*\n)+)', block, re.M)
    assert len(found) > 10
    return [(prompt, answer.rstrip("\n")) for prompt, answer in found]


@pytest.mark.parametrize("prompt, answer", session())
def test_session(served, prompt, answer):
    """The model's answers, right ones as a reader can see, over HTTP and in the terminal."""
    client = openai.OpenAI(base_url="http://127.0.0.1:8080/v1", api_key="none")
    ask = {"model": client.models.list().data[0].id,
           "messages": [{"role": "user", "content": prompt}]}
    assert client.chat.completions.create(**ask).choices[0].message.content == answer
    chunks = client.chat.completions.create(**ask, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer
    assert run([BUILD / "server/unmask", "generate", prompt]) == answer + "\n"


def test_inspect(served):
    assert "llada" in run([BUILD / "server/unmask", "inspect", ROOT / "models/pocket"])
