"""The Deployment and ConfigMap of docker/k8s really started, by podman, which knows their kinds: two
pods under limits. Routing, scaling and rollouts are the cluster's and cannot be tried here. Runs inside
scripts/container_ns, with the environment that has PyYAML."""
import contextlib
import http.client
import json

import pytest
import yaml

from child import wait_until
from engine import IMAGE, engine, healthy, inspect, is_strict, state
from files import K8S, documents

PODS = ("unmask-pod-0", "unmask-pod-1")
CONTAINERS = tuple(f"{pod}-unmask" for pod in PODS)


def derived():
    """The manifests with the least changed that podman does not know: it publishes ports on the host, where
    two pods would clash, and turns HTTP probes into curl, which the image has not."""
    manifests = documents(K8S / "base")
    container = manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    manifests["Deployment"]["spec"]["replicas"] = 2  # the autoscaler's business in a cluster
    container["image"] = IMAGE
    del container["ports"], container["startupProbe"], container["readinessProbe"], container["lifecycle"]
    del container["livenessProbe"]["httpGet"]
    container["livenessProbe"]["exec"] = {"command": ["/opt/unmask/unmask", "health"]}
    container["envFrom"] = [source for source in container["envFrom"] if "configMapRef" in source]
    return "---\n".join(yaml.safe_dump(manifests[kind]) for kind in ("ConfigMap", "Deployment"))


@pytest.fixture(scope="module")
def pods(tmp_path_factory):
    file = tmp_path_factory.mktemp("kube") / "unmask.yaml"
    file.write_text(derived())
    engine("network", "create", "kube")
    engine("kube", "play", "--network", "kube", file)
    wait_until(lambda: all(healthy(name) for name in CONTAINERS), bool)
    yield file
    engine("kube", "down", file, check=False)


def address(pod):
    infra = json.loads(engine("pod", "inspect", pod).stdout)["InfraContainerID"]
    return inspect(infra)["NetworkSettings"]["Networks"]["kube"]["IPAddress"]


def test_both_pods_answer(pods):
    for pod in PODS:
        body = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 32}
        with contextlib.closing(http.client.HTTPConnection(address(pod), 8080, timeout=240)) as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps(body),
                               {"Content-Type": "application/json"})
            answer = json.load(connection.getresponse())
        assert answer["choices"][0]["message"]["content"] == "The capital of France is Paris."


def test_the_manifests_restrictions_are_in_force(pods):
    for name in CONTAINERS:
        container = inspect(name)
        assert container["Config"]["User"] == "10001:10001"
        assert is_strict(name)
        assert container["HostConfig"]["Memory"] == 2**30
        assert "UNMASK_EARLY_HEADERS=false" in container["Config"]["Env"]


def test_a_limit_of_memory_ends_the_process_and_no_pod(pods, tmp_path):
    """Too small a limit is seen as 137, as operators know it."""
    result = engine("run", "--rm", "--memory", "12m", "--memory-swap", "12m", IMAGE,
                    check=False, cwd=tmp_path)  # conmon leaves a file named oom where it runs
    assert result.returncode == 137
    assert all(state(name)["Running"] for name in CONTAINERS)


def test_down_is_a_clean_end(pods):
    engine("pod", "stop", "--time", "60", *PODS)
    assert [state(name)["ExitCode"] for name in CONTAINERS] == [0, 0]
