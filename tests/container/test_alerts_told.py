"""docs/operations.md and Kubernetes' manifests say of the alerts what docker/alerts.yml holds, and what the
page says to write or to run works."""
import re

import yaml

from child import ROOT
from files import DOCKER, K8S, check, expressions, load
from fleet import program

RULES = [rule for group in load(DOCKER / "alerts.yml")["groups"] for rule in group["rules"]]


def section():
    page = (ROOT / "docs/operations.md").read_text()
    return re.search(r"^## Alerts\n.*?(?=^## )", page, re.M | re.S).group()


def block(language):
    """The one code block of this language in the section."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", section(), re.M | re.S)
    assert len(blocks) == 1
    return blocks[0]


def test_each_alert_has_its_row():
    assert re.findall(r"^\| (Unmask\w+) \|", section(), re.M) == [rule["alert"] for rule in RULES]


def test_events_that_alerts_name_are_logged():
    """`like_this` in an alert's action is an event of the log."""
    source = "".join(path.read_text() for path in (ROOT / "server").glob("*.c"))
    actions = " ".join(rule["annotations"]["action"] for rule in RULES)
    events = set(re.findall(r"`(\w+)`", actions))
    assert "request_failed" in events
    assert {event for event in events if f'"{event}"' not in source} == set()


def test_prometheus_takes_the_lines_that_name_an_alertmanager(tmp_path):
    """With the rules beside it, as compose mounts them."""
    (tmp_path / "alerts.yml").write_text((DOCKER / "alerts.yml").read_text())
    settings = tmp_path / "prometheus.yml"
    settings.write_text((DOCKER / "prometheus.yml").read_text() + block("yaml"))
    assert f"{len(RULES)} rules found" in check([program("promtool"), "check", "config", settings])


def test_the_command_for_kubernetes_makes_a_rule_of_the_file():
    command = block("sh")
    assert command.rstrip().endswith("} | kubectl apply -f -")
    made = yaml.safe_load(check(["bash", "-euc", command.replace("kubectl apply -f -", "cat")], cwd=ROOT))
    assert (made["apiVersion"], made["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert made["metadata"]["namespace"] == load(K8S / "base/kustomization.yaml")["namespace"]
    assert made["spec"] == load(DOCKER / "alerts.yml")


def test_kubernetes_has_the_same_job():
    """The operator names the job by that label of the Service which the ServiceMonitor tells."""
    monitor, service = load(K8S / "optional/servicemonitor.yaml"), load(K8S / "base/service.yaml")
    job = service["metadata"]["labels"][monitor["spec"]["jobLabel"]]
    asked = {job for _, expression in expressions() for job in re.findall(r'job="([^"]*)"', expression)}
    assert asked == {job, "haproxy"}  # HAProxy is not part of Kubernetes' set-up
