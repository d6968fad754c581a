"""docker/compose.yaml as it is: two replicas, HAProxy and Prometheus from their images, on a bridge with
names, under load from OpenAI clients. Runs inside scripts/container_ns, so that its fixed ports are its
own."""
import json
import os
import pathlib
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import pytest

from child import ROOT, wait_until
from dashboard import panel_expressions
from fleet import get
from load import Load, right_answers

URL = "http://127.0.0.1:8080/v1"
COMPOSE = [str(pathlib.Path(os.environ["UM_OPS_PYTHON"]).parent / "podman-compose"), "-f",
           str(ROOT / "docker/compose.yaml"), "--profile", "monitoring"]
REPLICAS = ("unmask_unmask_1", "unmask_unmask_2")


def run(*command, check=True):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240,
                            stdin=subprocess.DEVNULL)
    assert not check or result.returncode == 0, (command, result.stdout, result.stderr)
    return result.stdout.strip()


@pytest.fixture(scope="module")
def topology():
    """Up, with every health check good; what a Docker daemon's timers do, a thread does here."""
    stopping = threading.Event()

    def check_health():
        while not stopping.wait(1):
            for name in run("podman", "ps", "--format", "{{.Names}}").split():
                subprocess.run(["timeout", "10", "podman", "healthcheck", "run", name], capture_output=True)

    run(*COMPOSE, "up", "--detach", "--no-build", "unmask", "haproxy", "prometheus")
    thread = threading.Thread(target=check_health)
    thread.start()
    wait_until(healthy, lambda names: names == {*REPLICAS, "unmask_haproxy_1"})
    wait_until(ready, lambda count: count == 2)
    yield
    stopping.set()
    thread.join()
    print(run("podman", "logs", "unmask_haproxy_1", check=False))  # shown where a test failed
    run(*COMPOSE, "down", "--timeout", "1", check=False)


def healthy():
    return set(run("podman", "ps", "--filter", "health=healthy", "--format", "{{.Names}}").split())


def prometheus(expression):
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"http://127.0.0.1:9090/api/v1/query?{query}", timeout=60) as answer:
        return json.load(answer)["data"]["result"]


def value(expression):
    result = prometheus(expression)
    return float(result[0]["value"][1]) if result else 0


def ready():
    """How many replicas the balancer has ready, as it tells Prometheus."""
    try:
        return value('haproxy_backend_active_servers{proxy="unmask"}')
    except OSError:
        return -1


@pytest.fixture(scope="module")
def answers(topology):
    return right_answers(URL)


def test_killed_and_drained_replicas_cost_nothing_that_had_not_begun(topology, answers):
    with Load(URL, answers, clients=6) as load:
        load.wait_for(12)
        run("podman", "kill", "--signal", "KILL", REPLICAS[0])
        load.wait_for(12)
        run("podman", "start", REPLICAS[0])  # a new address, under the same name
        wait_until(ready, lambda count: count == 2)
        cut = load.count("cut")
        load.wait_for(6)
        run("podman", "stop", "--time", "75", REPLICAS[1])
        load.wait_for(12)
        assert load.count("cut") == cut  # a drain cuts nothing
        run("podman", "start", REPLICAS[1])
        wait_until(ready, lambda count: count == 2)
        load.wait_for(6)
    assert load.count("failed") == load.count("silent") == 0, load.summary()
    assert json.loads(run("podman", "container", "inspect", REPLICAS[1]))[0]["State"]["Running"]


def test_only_the_balancer_is_reached_from_outside(topology):
    assert get(8080, "/balancer/health")[0] == 200
    assert run("podman", "port", REPLICAS[0], check=False) == ""
    stats = "exec 3<>/dev/tcp/127.0.0.1/8404 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && head -1 <&3"
    assert " 200 " in run("podman", "exec", "unmask_haproxy_1", "bash", "-c", stats)


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
    for name in (*REPLICAS, "unmask_haproxy_1"):
        container = json.loads(run("podman", "container", "inspect", name))[0]
        assert container["HostConfig"]["ReadonlyRootfs"] and not container["EffectiveCaps"]
        assert "no-new-privileges" in container["HostConfig"]["SecurityOpt"]


def test_a_stopped_balancer_lets_answers_end(topology, answers):
    """The last one: it is down afterwards. New requests are refused, begun and waiting ones are answered."""
    with Load(URL, answers, clients=6) as load:
        load.wait_for(6)
        run("podman", "stop", "--time", "75", "unmask_haproxy_1")
    state = json.loads(run("podman", "container", "inspect", "unmask_haproxy_1"))[0]["State"]
    assert not state["Running"] and state["ExitCode"] == 0, state
    assert load.count("cut") == load.count("silent") == 0, load.summary()
    refused = ("APIConnectionError", "APITimeoutError")  # nobody has the address any more
    assert all(detail.startswith(refused) for detail in load.details("failed")), load.summary()
