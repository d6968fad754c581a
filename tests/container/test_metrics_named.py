"""What dashboard and alerts ask for exists: each metric, label and label's value is in a running server's
/metrics, or in that of a running HAProxy."""
import re
import subprocess

import pytest

from child import ROOT
from dashboard import dashboard
from files import DOCKER, check, expressions, load
from fleet import Balancer, get, program
from unmask_server import Server

SELECTOR = re.compile(r"\b((?:unmask|haproxy|kube)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
ANY = ".*"  # the dashboard's variable, when all is shown


def of_prometheus():
    """The series that Prometheus makes itself, and one of kube-state-metrics, which has the Deployment's
    name."""
    jobs = {settings["job_name"] for settings in load(DOCKER / "prometheus.yml")["scrape_configs"]}
    deployment = load(DOCKER / "k8s/base/deployment.yaml")["metadata"]["name"]
    return {"up": {"job": jobs, "instance": set()},
            "kube_deployment_spec_replicas": {"deployment": {deployment}}}


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """{metric: {label: values}}, by samples' names, so with _bucket, _sum and _count. The server shows each
    value that a label can have from its start on, but for the model's name."""
    server = Server(ROOT / "models/pocket")
    balancer = Balancer([server.port], tmp_path_factory.mktemp("balancer"))
    texts = [server.get("/metrics").body.decode(), get(balancer.metrics_port, "/metrics")[1].decode()]
    balancer.stop()
    server.stop()
    check_text_format(texts[0], tmp_path_factory.mktemp("metrics") / "metrics")
    found = of_prometheus()
    for text in texts:
        for name, labels in re.findall(r"^([a-z][\w]*)(?:\{(.*)\})? ", text, re.M):
            known = found.setdefault(name, dict(found["up"]))  # Prometheus adds job and instance
            for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
                known.setdefault(label, set()).add(value)
    return found


def unknown(series, expression):
    """What an expression names that no series has: metrics, labels, values."""
    wrong, labels_known = [], set()
    for name, matchers in SELECTOR.findall(expression):
        labels = series.get(name)
        if labels is None:
            wrong.append(name)
            continue
        labels_known |= set(labels)
        assert MATCHER.sub("", matchers).strip(", ") == "", f"not read: {matchers}"
        for label, operator, value in MATCHER.findall(matchers):
            values = value.split("|") if "~" in operator and value != ANY else [value]
            if label not in labels:
                wrong.append(f"{name}: {label}")
            elif value != ANY:
                wrong += [f"{name}: {label}={value}" for value in values if value not in labels[label]]
    for labels in re.findall(r"\b(?:by|without|on|ignoring) *\(([^)]*)\)", expression):
        wrong += [f"by {label}" for label in re.findall(r"\w+", labels) if label not in labels_known]
    return wrong


def check_text_format(text, path):
    path.write_text(text)
    with open(path) as file:
        result = subprocess.run([program("promtool"), "check", "metrics"], stdin=file, capture_output=True,
                                text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("where, expression", [pytest.param(*pair, id=f"{i}-{pair[0]}")
                                               for i, pair in enumerate(expressions())])
def test_metrics_labels_and_their_values_exist(series, where, expression):
    assert SELECTOR.search(expression) and not unknown(series, expression), where


@pytest.mark.parametrize("expression, wrong", [
    ('rate(unmask_requests_began_total[5m])', ["unmask_requests_began_total"]),
    ('unmask_request_success_total{reason="error"}', ["unmask_request_success_total: reason"]),
    ('unmask_request_success_total{model_name=~".*",finished_reason="errors"}',
     ["unmask_request_success_total: finished_reason=errors"]),
    ('unmask_requests_rejected_total{reason=~"queue_full|queue_time"}',
     ["unmask_requests_rejected_total: reason=queue_time"]),
    ('unmask_http_requests_total{status!="5XX", handler!~"/healthz|/ready"}',
     ["unmask_http_requests_total: status=5XX", "unmask_http_requests_total: handler=/healthz"]),
    ('haproxy_backend_active_servers{proxy="unmasked"}', ["haproxy_backend_active_servers: proxy=unmasked"]),
    ('up{job="mask"} == 0', ["up: job=mask"]),
    ('sum by (status_class) (unmask_http_requests_total)', ["by status_class"]),
])
def test_a_misspelt_name_is_found(series, expression, wrong):
    assert unknown(series, expression) == wrong


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
