"""Another machine, as far as TCP can tell: a network namespace that can fall silent. No test lives here."""
import contextlib
import ctypes
import os
import shutil
import socket
import subprocess

import pytest

from child import Child
from unmask_server import BINARY, Server

CLONE_NEWNET = 0x40000000
PORT = 8080


class Elsewhere:
    """`near` is this machine's address as seen from there, `far` the other one's."""

    def __init__(self):
        if os.geteuid() != 0 or not shutil.which("ip"):
            pytest.skip("a network namespace needs root and the program `ip`")
        self.name, number = f"unmask{os.getpid()}", os.getpid() % 64 * 4
        self.near, self.far = f"198.18.0.{number + 1}", f"198.18.0.{number + 2}"  # a range kept for measurements
        self.line, there = f"um{os.getpid()}a", f"um{os.getpid()}b"
        try:
            self.ip("netns", "add", self.name)
        except subprocess.CalledProcessError as refused:
            pytest.skip(f"no network namespace can be made here: {refused.stderr.strip()}")
        try:
            self.connect(there)
        except subprocess.CalledProcessError as refused:
            self.ip("netns", "del", self.name)
            pytest.skip(f"no network namespace can be connected here: {refused.stderr.strip()}")

    def connect(self, there):
        self.ip("link", "add", self.line, "type", "veth", "peer", "name", there, "netns", self.name)
        self.ip("addr", "add", f"{self.near}/30", "dev", self.line)
        self.ip("link", "set", self.line, "up")
        self.ip("-n", self.name, "addr", "add", f"{self.far}/30", "dev", there)
        self.ip("-n", self.name, "link", "set", there, "up")

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)

    def fall_silent(self):
        """Nothing comes from there any more, no acknowledgement, no goodbye and no refusal."""
        self.ip("-n", self.name, "route", "add", "blackhole", f"{self.near}/32")

    def socket(self):
        """A TCP socket of there."""
        with open("/proc/self/ns/net") as back, open(f"/run/netns/{self.name}") as there:
            enter(there)
            try:
                return socket.socket()
            finally:
                enter(back)

    def remove(self):
        self.ip("link", "del", self.line)  # the namespace may outlive its name, for what its TCP still tries
        self.ip("netns", "del", self.name)


def enter(namespace):
    """Of this thread."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class FarServer(Server):
    """A replica over there."""

    def __init__(self, elsewhere, checkpoint, *options):
        self.host, self.port = elsewhere.far, PORT
        Child.__init__(self, ["ip", "netns", "exec", elsewhere.name, BINARY, "serve", "--model", checkpoint, "--host",
                              self.host, "--port", PORT, "--threads", "1", "--early-headers=false", *options])
        self.wait_for_log("info ready ")

    def connect(self):
        connection = super().connect()
        connection.host = self.host
        return connection


@contextlib.contextmanager
def elsewhere():
    network = Elsewhere()
    try:
        yield network
    finally:
        network.remove()
