"""The Deployment and ConfigMap of docker/k8s really started, by podman, which knows their kinds: two
pods under limits. Routing, scaling and rollouts are the cluster's and cannot be tried here. Runs inside
scripts/container_ns, with the environment that has PyYAML."""
import contextlib
import http.client
import json
import subprocess

import pytest
import yaml

from child import wait_until
from files import K8S, documents

PODS = ("unmask-pod-0", "unmask-pod-1")
CONTAINERS = tuple(f"{pod}-unmask" for pod in PODS)


def podman(*arguments, check=True, **how):
    result = subprocess.run(["podman", *map(str, arguments)], capture_output=True, text=True, timeout=240,
                            stdin=subprocess.DEVNULL, **how)
    assert not check or result.returncode == 0, (arguments, result.stdout, result.stderr)
    return result


def inspect(name):
    return json.loads(podman("container", "inspect", name).stdout)[0]


def derived():
    """The manifests with the least changed that podman does not know: it publishes ports on the host, where
    two pods would clash, and turns HTTP probes into curl, which the image has not."""
    manifests = documents(K8S / "base")
    container = manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    container["image"] = "localhost/unmask:latest"
    del container["ports"], container["startupProbe"], container["readinessProbe"], container["lifecycle"]
    del container["livenessProbe"]["httpGet"]
    container["livenessProbe"]["exec"] = {"command": ["/opt/unmask/unmask", "health"]}
    container["envFrom"] = [source for source in container["envFrom"] if "configMapRef" in source]
    return "---\n".join(yaml.safe_dump(manifests[kind]) for kind in ("ConfigMap", "Deployment"))


@pytest.fixture(scope="module")
def pods(tmp_path_factory):
    file = tmp_path_factory.mktemp("kube") / "unmask.yaml"
    file.write_text(derived())
    podman("network", "create", "kube")
    podman("kube", "play", "--network", "kube", file)
    wait_until(lambda: [podman("healthcheck", "run", name, check=False).returncode for name in CONTAINERS],
               lambda codes: codes == [0, 0])
    yield file
    podman("kube", "down", file, check=False)


def address(pod):
    infra = json.loads(podman("pod", "inspect", pod).stdout)["InfraContainerID"]
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
        assert container["HostConfig"]["ReadonlyRootfs"] and not container["EffectiveCaps"]
        assert container["HostConfig"]["Memory"] == 2**30
        assert "UNMASK_EARLY_HEADERS=false" in container["Config"]["Env"]


def test_a_limit_of_memory_ends_the_process_and_no_pod(pods, tmp_path):
    """Too small a limit is seen as 137, as operators know it."""
    result = podman("run", "--rm", "--memory", "12m", "--memory-swap", "12m", "localhost/unmask:latest",
                    check=False, cwd=tmp_path)  # conmon leaves a file named oom where it runs
    assert result.returncode == 137
    assert all(inspect(name)["State"]["Running"] for name in CONTAINERS)


def test_down_is_a_clean_end(pods):
    podman("pod", "stop", "--time", "60", *PODS)
    assert [inspect(name)["State"]["ExitCode"] for name in CONTAINERS] == [0, 0]
