"""The image that docker/Dockerfile makes, run as strictly as one can: no root, no capabilities, nothing
to write to. Runs inside scripts/container_ns."""
import json
import os
import pathlib
import signal
import subprocess
import threading

import openai
import pytest

from child import wait_until
from fleet import free_ports

IMAGE, BASE = "localhost/unmask:latest", "docker.io/library/debian:bookworm-slim"
BYTES_MAX = 150_000_000
BYTES_OVER_BASE_MAX = 16_000_000  # measured: 9 MB, of which the model is 6
STRICT = ("--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def podman(*arguments, check=True):
    result = subprocess.run(["podman", *map(str, arguments)], capture_output=True, text=True, timeout=240,
                            stdin=subprocess.DEVNULL)
    assert not check or result.returncode == 0, (arguments, result.stdout, result.stderr)
    return result.stdout.strip() if check else result


def inspect(name, kind="container"):
    return json.loads(podman(kind, "inspect", name))[0]


@pytest.fixture
def run():
    """Starts a container that is ready; whatever is left is killed."""
    names = []

    def start(*options, port=None, inside=8080):
        port = port or free_ports(1)[0]
        name = f"unmask-{len(names)}-{port}"
        names.append(name)
        podman("run", "--detach", "--name", name, *STRICT, "-p", f"127.0.0.1:{port}:{inside}", *options, IMAGE)
        wait_until(lambda: healthy(name), bool)
        return name, openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)

    yield start
    for name in names:
        podman("rm", "--force", "--time", "0", name, check=False)


def healthy(name):
    """The image's own HEALTHCHECK, once."""
    state = inspect(name)["State"]
    assert state["Running"], podman("logs", name, check=False).stderr
    return podman("healthcheck", "run", name, check=False).returncode == 0


def pid_of(name):
    return inspect(name)["State"]["Pid"]


def status_of(name):
    lines = pathlib.Path(f"/proc/{pid_of(name)}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def ask(client, **more):
    return client.chat.completions.create(
        model="pocket", messages=[{"role": "user", "content": "What is the capital of France?"}],
        max_tokens=32, seed=1, **more)


def test_size_is_bounded():
    size, base = inspect(IMAGE, "image")["Size"], inspect(BASE, "image")["Size"]
    print(f"image: {size / 1e6:.1f} MB, {(size - base) / 1e6:.1f} MB over its base")
    assert size < BYTES_MAX and size - base < BYTES_OVER_BASE_MAX, (size, base)


def test_what_the_image_says_of_itself():
    image = inspect(IMAGE, "image")
    config = image["Config"]
    assert config["User"] == "10001:10001" and config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["/opt/unmask/unmask"] and config["Cmd"] == ["serve"]
    assert image["Healthcheck"]["Test"] == ["CMD", "/opt/unmask/unmask", "health"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    version = podman("run", "--rm", *STRICT, IMAGE, "--version")
    assert version == f"unmask 0.1.0 ({labels['org.opencontainers.image.revision']})"


def test_it_serves_without_root_capabilities_or_a_place_to_write(run):
    name, client = run()
    assert ask(client).choices[0].message.content == "The capital of France is Paris."
    status = status_of(name)
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    root = next(line.split() for line in pathlib.Path(f"/proc/{pid_of(name)}/mounts").read_text().splitlines()
                if line.split()[1] == "/")
    assert "ro" in root[3].split(",")


def test_health_follows_the_port_and_the_truth(run):
    name, client = run("-e", "UNMASK_PORT=9001", inside=9001)
    assert ask(client).choices
    os.kill(pid_of(name), signal.SIGSTOP)
    result = podman("healthcheck", "run", name, check=False)
    os.kill(pid_of(name), signal.SIGCONT)
    assert result.returncode != 0
    assert healthy(name)


@pytest.mark.parametrize("options", [(), ("--init",)])
def test_stop_lets_a_stream_end_and_ends_with_0(run, options):
    """The server is the first process, or an init's child: it must handle SIGTERM as both."""
    name, client = run(*options, "-e", "UNMASK_BACKEND=ref", "-e", "UNMASK_DRAIN_TIMEOUT=200")
    stream = ask(client, stream=True)
    text = next(iter(stream)).choices[0].delta.content or ""
    stopping = threading.Thread(target=podman, args=("stop", "--time", "200", name))
    stopping.start()
    text += "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    stopping.join()
    assert text == "The capital of France is Paris."
    assert inspect(name)["State"]["ExitCode"] == 0


def test_a_model_that_is_not_there_ends_with_a_reason():
    result = podman("run", "--rm", *STRICT, "-e", "UNMASK_MODEL=/models/none", IMAGE, check=False)
    assert result.returncode == 1 and "/models/none" in result.stderr.splitlines()[-1]
