"""The image that docker/Dockerfile makes, run as strictly as one can: no root, no capabilities, nothing
to write to. Runs inside scripts/container_ns."""
import os
import re
import signal
import threading

import openai
import pytest

from child import wait_until
from engine import BASE, DOCKER, IMAGE, STRICT, engine, healthy, inspect, is_strict, state
from fleet import free_ports

BYTES_MAX = 150_000_000
BYTES_OVER_BASE_MAX = 16_000_000  # measured: 9 MB, of which the model is 6
HEALTH_SOON = ("--health-interval", "1s", "--health-retries", "1")


@pytest.fixture
def run():
    """Starts a container that is ready; whatever is left is killed."""
    names = []

    def start(*options, port=None, inside=8080):
        port = port or free_ports(1)[0]
        name = f"unmask-{len(names)}-{port}"
        names.append(name)
        engine("run", "--detach", "--name", name, *STRICT, *HEALTH_SOON, "-p", f"127.0.0.1:{port}:{inside}",
               *options, IMAGE)
        wait_until(lambda: not state(name)["Running"] or healthy(name), bool)
        assert state(name)["Running"], engine("logs", name).stderr
        return name, openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)

    yield start
    for name in names:
        engine("kill", name, check=False)
        engine("rm", "--force", name, check=False)


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
    health = config["Healthcheck"] if DOCKER else image["Healthcheck"]
    assert health["Test"] == ["CMD", "/opt/unmask/unmask", "health"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    version = engine("run", "--rm", *STRICT, IMAGE, "--version").stdout.strip()
    revision = labels["org.opencontainers.image.revision"]
    assert (revision == "unknown") == DOCKER  # container_docker does not name the commit
    named = "src-[0-9a-f]{8}" if DOCKER else revision  # by its sources then, so that two builds differ
    assert re.fullmatch(rf"unmask 0\.1\.0 \({named}\)", version), version


def test_it_serves_without_root_capabilities_or_a_place_to_write(run):
    name, client = run()
    assert ask(client).choices[0].message.content == "The capital of France is Paris."
    assert is_strict(name)


def test_health_follows_the_port_and_the_truth(run):
    name, client = run("-e", "UNMASK_PORT=9001", inside=9001)
    assert ask(client).choices
    os.kill(state(name)["Pid"], signal.SIGSTOP)
    wait_until(lambda: healthy(name), lambda answer: not answer)
    os.kill(state(name)["Pid"], signal.SIGCONT)
    wait_until(lambda: healthy(name), bool)


@pytest.mark.parametrize("options", [(), ("--init",)])
def test_stop_lets_a_stream_end_and_ends_with_0(run, options):
    """The server is the first process, or an init's child: it must handle SIGTERM as both."""
    name, client = run(*options, "-e", "UNMASK_BACKEND=ref", "-e", "UNMASK_DRAIN_TIMEOUT=200")
    stream = ask(client, stream=True)
    text = next(iter(stream)).choices[0].delta.content or ""
    stopping = threading.Thread(target=engine, args=("stop", "--time", "200", name))
    stopping.start()
    text += "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    stopping.join()
    assert text == "The capital of France is Paris."
    assert state(name)["ExitCode"] == 0


def test_a_model_that_is_not_there_ends_with_a_reason():
    result = engine("run", "--rm", *STRICT, "-e", "UNMASK_MODEL=/models/none", IMAGE, check=False)
    assert result.returncode == 1 and "/models/none" in result.stderr.splitlines()[-1]
