"""haproxy.lua cuts off what hangs, at every look, and nothing else."""
import os
import pathlib
import subprocess

from files import DOCKER
from fleet import program

STUB = pathlib.Path(__file__).resolve().with_name("haproxy_stub.lua")


def test_each_look_cuts_off_what_hangs_and_nothing_else(tmp_path):
    """HAProxy's own Lua runs it, on servers of the stub's. Most of the time a check is under way, which
    puts a mark before the last one's result."""
    config = tmp_path / "haproxy.cfg"
    config.write_text(f"global\n    lua-load {STUB}\n")
    ran = subprocess.run([program("haproxy"), "-c", "-f", config], text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, env={**os.environ, "UM_LUA": str(DOCKER / "haproxy.lua")})
    said = ran.stdout.splitlines()
    assert "looked" in said, ran.stdout
    assert [line for line in said if line.startswith("cut off: ")] == [
        "cut off: hangs", "cut off: hangs, and is being asked"]
