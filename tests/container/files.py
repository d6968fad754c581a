"""What the checks of docker/ read. No test lives here."""
import functools
import os
import pathlib
import re
import subprocess

import yaml

from child import ROOT, TIMEOUT
from dashboard import panel_expressions
from unmask_server import BINARY

DOCKER = ROOT / "docker"
K8S = DOCKER / "k8s"
OPS = pathlib.Path(os.environ.get("UM_OPS_PYTHON", "python3")).parent


def check(command, **how):
    """Runs a checker; its words are the failure's."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=TIMEOUT,
                            stdin=subprocess.DEVNULL, **how)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def load(path):
    with open(path) as file:
        return yaml.safe_load(file)


def documents(folder):
    """Every manifest of a folder by its kind, those that its kustomization makes among them."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        document = load(path)
        if "kind" in document:
            assert document["kind"] not in found
            found[document["kind"]] = document
    for rule in found.get("Kustomization", {}).get("configMapGenerator", ()):
        assert "ConfigMap" not in found
        found["ConfigMap"] = config_map(folder, rule)
    return found


def config_map(folder, rule):
    """What a configMapGenerator makes of its files of variables, but for the hash in its name."""
    lines = [line for file in rule["envs"] for line in (folder / file).read_text().splitlines()]
    return {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": rule["name"], "labels": rule["options"]["labels"]},
            "data": dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))}


@functools.cache
def option_defaults():
    """Name and default of each option of `unmask serve`, as its help tells."""
    text = check([BINARY, "serve", "--help"])
    found = {}
    for line in re.findall(r"^  --(\S+.*)$", text, re.M):
        name = line.split()[0].removeprefix("[no-]").replace("-", "_")
        default = re.search(r"default ([^,)]+)\)$", line)
        found[name] = default and default.group(1)
    return found


def seconds(text):
    """75s, 960s, 10m of HAProxy and compose; plain numbers are seconds."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h|)", str(text)).groups()
    return int(number) * {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}[unit]


def merged(base, patch):
    """Kubernetes' strategic merge, as far as the overlays use it: mappings by key, lists of named things
    by name, other lists replaced."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {key: merged(base[key], patch[key]) if key in base and key in patch
                else patch.get(key, base.get(key)) for key in {**base, **patch}}
    if isinstance(base, list) and isinstance(patch, list) and all("name" in item for item in base + patch):
        named = {item["name"]: item for item in base}
        for item in patch:
            named[item["name"]] = merged(named.get(item["name"], {}), item)
        return list(named.values())
    return patch


def expressions():
    """(where, PromQL) of every panel and alert, Grafana's variables filled in."""
    yield from panel_expressions()
    for group in load(DOCKER / "alerts.yml")["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
