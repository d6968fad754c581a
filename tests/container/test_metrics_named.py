"""What dashboard and alerts ask for exists: each metric and label is in a running server's /metrics, or
in that of a running HAProxy."""
import re
import subprocess

import pytest

from child import ROOT
from dashboard import dashboard
from files import check, expressions
from fleet import Balancer, get, program
from unmask_server import Server

NAME = re.compile(r"\b((?:unmask|haproxy)_[a-z0-9_]+)(?:\{([^}]*)\})?")
OF_PROMETHEUS = {"job", "instance"}  # labels that it adds itself


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """{metric: set of labels}, by samples' names, so with _bucket, _sum and _count."""
    server = Server(ROOT / "models/pocket")
    balancer = Balancer([server.port], tmp_path_factory.mktemp("balancer"))
    texts = [server.get("/metrics").body.decode(), get(balancer.metrics_port, "/metrics")[1].decode()]
    balancer.stop()
    server.stop()
    check_text_format(texts[0], tmp_path_factory.mktemp("metrics") / "metrics")
    found = {}
    for text in texts:
        for name, labels in re.findall(r"^([a-z][\w]*)(?:\{(.*)\})? ", text, re.M):
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def check_text_format(text, path):
    path.write_text(text)
    with open(path) as file:
        result = subprocess.run([program("promtool"), "check", "metrics"], stdin=file, capture_output=True,
                                text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("where, expression", [pytest.param(*pair, id=f"{i}-{pair[0]}")
                                               for i, pair in enumerate(expressions())])
def test_metrics_and_labels_exist(series, where, expression):
    for name, labels in NAME.findall(expression):
        assert name in series, f"{where}: {name} is in no /metrics"
        for label in re.findall(r"(\w+)=", labels):
            assert label in series[name] | OF_PROMETHEUS, f"{where}: {name} has no label {label}"
    for labels in re.findall(r"by \(([^)]*)\)", expression):
        known = OF_PROMETHEUS.union(*(series[name] for name, _ in NAME.findall(expression)))
        assert set(re.findall(r"\w+", labels)) <= known, where


def test_metrics_of_the_specification_are_on_the_dashboard(series):
    """A metric that nobody looks at is a cost without a use."""
    shown = "\n".join(expression for _, expression in expressions())
    for name in series:
        if name.startswith("unmask_"):
            assert re.sub("_(bucket|sum|count)$", "", name) in shown, name


def test_expressions_are_promql(tmp_path):
    lines = ["groups:", "- name: all", "  rules:"]
    for i, (_, expression) in enumerate(expressions()):
        lines += [f"  - record: x:y{i}", "    expr: |", *(f"      {line}" for line in expression.splitlines())]
    rules = tmp_path / "rules.yml"
    rules.write_text("\n".join(lines) + "\n")
    check([program("promtool"), "check", "rules", rules])


def test_the_dashboard_is_one_that_grafana_takes():
    """As far as can be told without it: ids unique, panels inside the grid and not on top of each other,
    every target with an expression and the chosen data source."""
    board = dashboard()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) > 20
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] and place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["targets"] and panel["datasource"]["uid"] == "${datasource}"
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) and all(target["expr"] for target in panel["targets"])
    assert {variable["name"] for variable in board["templating"]["list"]} == {"datasource", "model"}
