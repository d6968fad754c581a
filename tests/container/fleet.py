"""Real replicas behind a real HAProxy with the settings of docker/haproxy.cfg, on loopback. No test
lives here."""
import contextlib
import http.client
import os
import pathlib
import re
import shutil
import socket
import subprocess

from child import ROOT, TIMEOUT, Child, wait_until
from unmask_server import Server, ended

CONFIG = ROOT / "docker/haproxy.cfg"
# The last group is what holds for each server wherever its address comes from.
TEMPLATE = re.compile(r"^    server-template replica 1-16 unmask:8080 resolvers runtime init-addr none "
                      r"resolve-prefer ipv4(.*)\n", re.M)


def free_ports(count):
    """Ports that nobody has now; a replica comes back on its own, as a container's name does."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]


def get(port, path):
    """Status and body of a GET on a connection of its own."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


class Replica:
    """One place in the fleet: a port, and the server that has it for now."""

    def __init__(self, port, model, options):
        self.port, self.model, self.options = port, model, options
        self.server = None

    def start(self, *options, model=None, wait=True, **how):
        self.server = Server(model or self.model, "--port", self.port, "--early-headers=false", *self.options,
                             *options, wait=wait, **how)
        return self.server

    def signal(self, number):
        self.server.signal(number)

    def drain(self):
        """SIGTERM, and a clean end."""
        self.server.stop()


class Balancer(Child):
    """HAProxy with the repository's settings but for ports and where the replicas are: ADDRESS:PORT each."""

    def __init__(self, replicas, folder, address="127.0.0.1"):
        self.port, self.stats_port, self.metrics_port = free_ports(3)
        self.socket = pathlib.Path(folder) / "haproxy.sock"
        text, count = TEMPLATE.subn(
            lambda found: "".join(f"    server replica{i} {where}{found[1]}\n" for i, where in enumerate(replicas)),
            CONFIG.read_text())
        assert count == 1
        for old, new in (("bind *:8080", f"bind {address}:{self.port}"),
                         ("bind 127.0.0.1:8404", f"bind 127.0.0.1:{self.stats_port}"),
                         ("bind *:8405", f"bind 127.0.0.1:{self.metrics_port}"),
                         ("log stdout ", "log stderr "),
                         ("default-path config", f"default-path origin {CONFIG.parent}"),
                         ("/tmp/haproxy.sock", str(self.socket))):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        config = pathlib.Path(folder) / "haproxy.cfg"
        config.write_text(text)
        super().__init__([program("haproxy"), "-db", "-f", config])
        wait_until(lambda: self.process.poll() is not None or self.socket.exists(), bool)
        assert self.process.poll() is None, self.errors()

    def ask(self, command):
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(TIMEOUT)
            admin.connect(str(self.socket))
            admin.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()

    def states(self):
        """Of each replica: UP, NOLB (answers, but not ready), DOWN; a change under way adds how far it is."""
        return [row["status"] for row in self.rows() if row["svname"].startswith("replica")]

    def rows(self):
        lines = self.ask("show stat").lstrip("# ").splitlines()
        names = lines[0].split(",")
        return [dict(zip(names, line.split(","))) for line in lines[1:] if line.startswith("unmask,")]

    def total(self, name):
        """A count of the whole backend, e.g. wretr (attempts again) or wredis (on another replica)."""
        return int(next(row[name] for row in self.rows() if row["svname"] == "BACKEND"))

    def wait_for_states(self, *wanted):
        wait_until(self.states, lambda states: states == list(wanted))

    def stop(self):
        self.process.kill()
        self.process.wait()


class Fleet:
    """N replicas and their balancer; everything is gone at its end."""

    def __init__(self, count, model, folder, *options):
        self.replicas = [Replica(port, model, options) for port in free_ports(count)]
        self.balancer = None
        self.folder = folder

    def __enter__(self):
        try:
            for replica in self.replicas:
                replica.start()
            self.balancer = Balancer([f"127.0.0.1:{replica.port}" for replica in self.replicas], self.folder)
            self.balancer.wait_for_states(*["UP"] * len(self.replicas))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for replica in self.replicas:
            if replica.server:
                replica.server.kill()
        if self.balancer:
            self.balancer.stop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.balancer.port}/v1"

    def live(self):
        return [r.server for r in self.replicas if r.server and r.server.process.poll() is None]

    def balanced_books(self):
        """When idle, what every living replica started it also ended or refused, and nothing is left."""
        for server in self.live():
            server.wait_idle()
            metrics = server.metrics()
            assert balances(metrics), metrics
            assert metrics["canvas_tokens"] == 0
            assert metrics["num_requests_running"] == metrics["num_requests_waiting"] == 0


def balances(metrics, running=0):
    """Of a replica that is idle but for so many requests: what it started it also ended or refused."""
    return metrics["requests_started_total"] == ended(metrics) + running


def repeats_what_stands_still():
    """Whether the balancer asks another replica in place of one that stands still; newer ones close the
    client's connection instead (docker/haproxy.cfg)."""
    said = subprocess.run([program("haproxy"), "-v"], capture_output=True, text=True, check=True).stdout
    major, minor = map(int, re.search(r"version (\d+)\.(\d+)", said).groups())
    return (major, minor) < (3, 0)


def program(name):
    """A Debian program that scripts/setup put beside the system's, or the system's own."""
    folder = os.environ.get("UM_OPS_PROGRAMS", "")
    path = shutil.which(name, path=f"{folder}/usr/sbin:{folder}/usr/bin:{os.environ['PATH']}:/usr/sbin")
    assert path, f"{name} is not here: scripts/setup test"
    return path
