"""The container engine under test: podman, or Docker where UM_ENGINE says so. No test lives here."""
import json
import os
import pathlib
import subprocess

from child import ROOT

ENGINE = os.environ.get("UM_ENGINE", "podman")
DOCKER = ENGINE == "docker"
IMAGE = "unmask:latest" if DOCKER else "localhost/unmask:latest"  # as compose.yaml's name ends up
BASE = "docker.io/library/debian:bookworm-slim"
# podman gives a read-only container places to write, Docker does not.
READ_ONLY = ("--read-only",) if DOCKER else ("--read-only", "--read-only-tmpfs=false")
STRICT = (*READ_ONLY, "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
COMPOSE = (("docker", "compose") if DOCKER else
           (str(pathlib.Path(os.environ["UM_OPS_PYTHON"]).parent / "podman-compose"),))


def run(*command, check=True, **how):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240,
                            stdin=subprocess.DEVNULL, **how)
    assert not check or result.returncode == 0, (command, result.stdout, result.stderr)
    return result


def engine(*arguments, **how):
    return run(ENGINE, *arguments, **how)


def compose(*arguments, **how):
    """With the repository's file and everything in it."""
    return run(*COMPOSE, "-f", ROOT / "docker/compose.yaml", "--profile", "monitoring", *arguments, **how)


def composed(service, number=1):
    """What compose calls a container of a service."""
    return ("-" if DOCKER else "_").join(("unmask", service, str(number)))


def inspect(name, kind="container"):
    return json.loads(engine(kind, "inspect", name).stdout)[0]


def state(name):
    return inspect(name)["State"]


def healthy(name):
    """What the HEALTHCHECK says. Docker asks it by itself; podman's timers are systemd's, so ask it now."""
    if DOCKER:
        return state(name)["Health"]["Status"] == "healthy"
    return engine("healthcheck", "run", name, check=False).returncode == 0


def status_of(name):
    """/proc/PID/status of a container's first process."""
    lines = pathlib.Path(f"/proc/{state(name)['Pid']}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def is_strict(name):
    """No root, no capability to be had, no way to more, nothing of its file system writable."""
    status, mounts = status_of(name), pathlib.Path(f"/proc/{state(name)['Pid']}/mounts").read_text()
    assert "0" not in status["Uid"].split() + status["Gid"].split(), status
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    root = next(line.split() for line in mounts.splitlines() if line.split()[1] == "/")
    assert "ro" in root[3].split(","), root
    return True
