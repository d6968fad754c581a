"""The linters have nothing to say about docker/ and the scripts that build and run it."""
import re

import pytest
import yaml

from child import ROOT
from files import DOCKER, K8S, OPS, check, documents
from fleet import program

ALERT_TESTS = sorted((ROOT / "tests/container").glob("alerts*_test.yml"))
SHELL = re.compile(rb"#!/(usr/bin/env bash|bin/sh)\n|.*\n(#.*\n)*# shellcheck shell=bash\n")
SCRIPTS = [path for folder in (ROOT / "scripts", DOCKER) for path in sorted(folder.iterdir())
           if path.is_file() and SHELL.match(path.read_bytes())]


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda", "haproxy.Dockerfile"])
def test_dockerfiles(name):
    check([OPS / "hadolint", "--config", ROOT / ".hadolint.yaml", DOCKER / name])


def test_compose_files_follow_the_schema():
    check([OPS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml",
           DOCKER / "compose.cuda.yaml"])


def test_haproxy_takes_its_settings_without_a_warning():
    said = check([program("haproxy"), "-c", "-f", DOCKER / "haproxy.cfg"])
    assert "WARNING" not in said and "ALERT" not in said, said


def test_prometheus_takes_its_settings():
    promtool = program("promtool")
    check([promtool, "check", "config", DOCKER / "prometheus.yml"])
    check([promtool, "check", "rules", DOCKER / "alerts.yml"])


def test_each_alert_fires_on_its_cause_and_not_on_what_looks_near():
    check([program("promtool"), "test", "rules", *ALERT_TESTS])
    rules = (DOCKER / "alerts.yml").read_text()
    names = {line.split()[-1] for line in rules.splitlines() if "- alert:" in line}
    fired = "".join(path.read_text() for path in ALERT_TESTS)
    assert names and all(f"alertname: {name}\n" in fired for name in names), names
    assert set(re.findall(r"alertname: (\w+)", fired)) == names  # promtool is silent on unknown ones


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_manifests_follow_the_schema(version, tmp_path):
    manifests = documents(K8S / "base")
    del manifests["Kustomization"]
    assert len(manifests) >= 6
    files = [tmp_path / f"{kind}.yaml" for kind in manifests]
    for path, manifest in zip(files, manifests.values(), strict=True):
        path.write_text(yaml.safe_dump(manifest))
    check([OPS / "kubernetes-validate", "--strict", "-k", version, *files, K8S / "optional/ingress.yaml"])


def test_yaml():
    check([OPS / "yamllint", "--strict", "-c", ROOT / ".yamllint.yaml", DOCKER, *ALERT_TESTS])


def test_shell_scripts():
    assert {"setup", "test", "container_env", "upgrade.sh"} <= {path.name for path in SCRIPTS}
    check([OPS / "shellcheck", "-x", *SCRIPTS], cwd=ROOT)
