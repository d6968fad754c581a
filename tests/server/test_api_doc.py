"""docs/api.md: every curl of the page is run against the default model, and the answer has the shape that
the page shows. A "…" in it stands for any value; a JSON answer has exactly the members shown."""
import json
import re
import subprocess

import pytest

from child import ROOT, TIMEOUT
from unmask_server import Server, events

PAGE = (ROOT / "docs/api.md").read_text()
BLOCK = re.compile(r"^```(sh|json|sse)\n(.*?)^```$", re.S | re.M)


def examples():
    """(command, kind and text of what the page shows behind it, if it does)."""
    found = []
    for kind, text in BLOCK.findall(PAGE):
        if kind == "sh":
            found.append([text, None, None])
        else:
            found[-1][1:] = [kind, text]
    return found


@pytest.fixture(scope="module")
def pocket():
    server = Server(ROOT / "models/pocket")
    yield server
    server.wait_idle()
    server.stop()


def fits(shown, got, path="answer"):
    if shown == "…":
        return
    assert type(shown) is type(got), (path, shown, got)
    if isinstance(shown, dict):
        assert set(shown) == set(got), (path, got)
        for key in shown:
            fits(shown[key], got[key], f"{path}.{key}")
    elif isinstance(shown, list):
        assert len(shown) == len(got), (path, got)
        for index, (a, b) in enumerate(zip(shown, got)):
            fits(a, b, f"{path}[{index}]")
    else:
        assert shown == got, path


def fits_in_order(shown, got):
    """Every chunk is like the one shown for it; one shown may stand for several in a row."""
    at = 0
    for chunk in got:
        try:
            fits(shown[at], chunk)
        except AssertionError:
            at += 1
            fits(shown[at], chunk)
    assert at == len(shown) - 1


@pytest.mark.parametrize("command, kind, shown", examples())
def test_example(pocket, command, kind, shown):
    command = command.replace("127.0.0.1:8080", f"127.0.0.1:{pocket.port}")
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=TIMEOUT, check=True)
    if kind == "json":
        fits(json.loads(shown), json.loads(done.stdout))
    elif kind == "sse":
        assert shown.splitlines()[-1] == "[DONE]"  # events() checks that it is the stream's last, too
        fits_in_order([json.loads(line) for line in shown.splitlines()[:-1]], events(done.stdout))
    elif "stream" in command:
        assert b"data: " in done.stdout and b'"error":{' not in done.stdout
    elif "metrics" not in command:
        assert "error" not in json.loads(done.stdout), done.stdout


def test_every_route_has_a_section():
    routes = re.findall(r'\{"(?:GET|POST)", "([^"]+)"', (ROOT / "server/app.c").read_text())
    assert len(routes) > 10
    for route in routes:
        assert route.removeprefix("/v1").rstrip("/") in PAGE or route in ("/v1/health", "/ready"), route


def test_the_table_of_options_is_the_codes():
    subprocess.run([ROOT / "scripts/options_table.py", "--check"], check=True)
