"""docker/compose.yaml as it is: two replicas, HAProxy and Prometheus from their images, on a bridge with
names, under load from OpenAI clients. Runs inside scripts/container_ns, so that its fixed ports are its
own."""
import json
import os
import time
import urllib.parse
import urllib.request

import pytest

from child import ROOT, wait_until
from dashboard import panel_expressions
from engine import DOCKER, compose, composed, engine, healthy, is_strict, run, state
from fleet import get
from load import Load, right_answers

URL = "http://127.0.0.1:8080/v1"
BALANCER = composed("haproxy")
REPLICAS = composed("unmask", 1), composed("unmask", 2)


@pytest.fixture(scope="module")
def topology():
    """Up, with every health check good."""
    compose("up", "--detach", "--no-build", "unmask", "haproxy", "prometheus")
    wait_until(lambda: all(healthy(name) for name in (*REPLICAS, BALANCER)), bool)
    wait_until(ready, lambda count: count == 2)
    yield
    compose("down", "--timeout", "1", check=False)


def prometheus(expression):
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"http://127.0.0.1:9090/api/v1/query?{query}", timeout=60) as answer:
        return json.load(answer)["data"]["result"]


def value(expression):
    result = prometheus(expression)
    return float(result[0]["value"][1]) if result else 0


def balancer_says(path):
    """Asked inside, where alone it says so; and at once, unlike what Prometheus saw some seconds ago."""
    script = f"exec 3<>/dev/tcp/127.0.0.1/8404 && printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    return engine("exec", BALANCER, "bash", "-c", script, check=False).stdout


def ready():
    """How many replicas the balancer has ready."""
    rows = (line.split(",") for line in balancer_says("/;csv").splitlines())
    return sum(row[0] == "unmask" and row[1].startswith("replica") and row[17] == "UP" for row in rows if len(row) > 17)


def nothing_was_lost(load):
    if load.count("failed") or load.count("silent"):
        print(*engine("logs", BALANCER).stdout.splitlines()[-400:], sep="\n")
        raise AssertionError(load.summary())
    return True


@pytest.fixture(scope="module")
def answers(topology):
    return right_answers(URL)


def test_killed_and_drained_replicas_cost_nothing_that_had_not_begun(topology, answers):
    with Load(URL, answers, clients=6) as load:
        load.wait_for(12)
        engine("kill", "--signal", "KILL", REPLICAS[0])
        load.wait_for(12)
        engine("start", REPLICAS[0])  # a new address, under the same name
        wait_until(ready, lambda count: count == 2)
        cut = load.count("cut")
        load.wait_for(6)
        engine("stop", "--time", "75", REPLICAS[1])
        load.wait_for(12)
        assert load.count("cut") == cut  # a drain cuts nothing
        engine("start", REPLICAS[1])
        wait_until(ready, lambda count: count == 2)
        load.wait_for(6)
    assert nothing_was_lost(load)
    assert state(REPLICAS[1])["Running"]


def test_only_the_balancer_is_reached_from_outside(topology):
    assert get(8080, "/balancer/health")[0] == 200
    assert engine("port", REPLICAS[0], check=False).stdout == ""
    assert " 200 " in balancer_says("/").splitlines()[0]


def test_prometheus_has_something_to_say_to_every_panel(topology, answers):
    wait_until(lambda: sorted(sample["value"][1] for sample in prometheus('up{job="unmask"}')),
               lambda up: up == ["1", "1"])
    with Load(URL, answers, clients=4) as load:
        end = time.monotonic() + 20  # four scrapes
        wait_until(lambda: time.monotonic(), lambda now: now > end)
    assert load.count("right") > 0
    silent = [where for where, expression in panel_expressions() if not prometheus(expression)]
    assert not silent


def test_every_container_is_as_strict_as_the_file_says(topology):
    assert all(is_strict(name) for name in (*REPLICAS, BALANCER))


def test_a_third_replica_is_found_and_used(topology, answers):
    compose("up", "--detach", "--no-build", "--no-recreate", "--scale", "unmask=3", "unmask")
    wait_until(ready, lambda count: count == 3)
    assert state(composed("unmask", 3))["Running"]
    with Load(URL, answers, clients=6) as load:
        load.wait_for(12)
    assert nothing_was_lost(load) and load.count("cut") == 0
    wait_until(lambda: value('count(unmask_requests_started_total > 0)'), lambda count: count == 3)


def replicas():
    return set(compose("ps", "--quiet", "unmask").stdout.split())


@pytest.mark.skipif(not DOCKER, reason="upgrade.sh needs Compose's --no-recreate --scale")
def test_an_upgrade_costs_no_request(topology, answers):
    before = replicas()
    with Load(URL, answers, clients=6) as load:
        load.wait_for(6)
        run(ROOT / "docker/upgrade.sh")
        load.wait_for(6)
    assert nothing_was_lost(load) and load.count("cut") == 0
    assert len(replicas()) == len(before) and not replicas() & before


@pytest.mark.skipif(not DOCKER, reason="upgrade.sh needs Compose's --no-recreate --scale")
def test_an_upgrade_that_fails_leaves_the_old_ones(topology, answers):
    before = replicas()
    with Load(URL, answers, clients=6) as load:
        load.wait_for(6)
        result = run(ROOT / "docker/upgrade.sh", check=False, env={**os.environ, "UNMASK_MODEL": "/models/none"})
    assert result.returncode == 1 and "/models/none" in result.stderr, result.stderr
    assert replicas() == before
    assert nothing_was_lost(load) and load.count("cut") == 0


@pytest.mark.skipif(not DOCKER, reason="podman-compose takes the paths of `extends` from another folder")
def test_every_gpu_has_one_service():
    """As Compose itself reads the files: each under the name that the balancer looks up."""
    files = ("-f", ROOT / "docker/compose.yaml", "-f", ROOT / "docker/compose.cuda.yaml")
    services = json.loads(run("docker", "compose", *files, "--profile", "gpu1", "config", "--format",
                              "json").stdout)["services"]
    ours = {name: service for name, service in services.items() if name.startswith("unmask")}
    devices = [service["deploy"]["resources"]["reservations"]["devices"] for service in ours.values()]
    assert sorted(device["device_ids"] for [device] in devices) == [["0"], ["1"]]
    assert all(service["deploy"]["replicas"] == 1 for service in ours.values())
    assert all(name == "unmask" or "unmask" in service["networks"]["inside"]["aliases"]
               for name, service in ours.items())


def test_a_stopped_balancer_lets_answers_end(topology, answers):
    """The last one: it is down afterwards. New requests are refused, begun and waiting ones are answered."""
    with Load(URL, answers, clients=6) as load:
        load.wait_for(6)
        engine("stop", "--time", "75", BALANCER)
    end = state(BALANCER)
    assert not end["Running"] and end["ExitCode"] == 0, end
    assert load.count("cut") == load.count("silent") == 0, load.summary()
    refused = ("APIConnectionError", "APITimeoutError")  # nobody has the address any more
    assert all(detail.startswith(refused) for detail in load.details("failed")), load.summary()
