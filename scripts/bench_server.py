#!/usr/bin/env python3
"""Measures a running server's front end: the HTTP thread's share of the process's CPU time under
concurrent streams, CPU time when idle, memory, time to first text and throughput.

    scripts/bench_server.py --model DIR [--streams 64] [--seconds 20] [--max-tokens 64]

Starts build/release/server/unmask on a free port, loads it from one process with plain sockets, and
prints one line for each figure. Only the standard library.
"""
import argparse
import asyncio
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
WORDS = "the canvas is refined step by step until every position is settled".split()


def start(model, extra):
    """The server and its port, once it says ready."""
    server = subprocess.Popen(
        [ROOT / "build/release/server/unmask", "serve", "--model", model, "--port", "0", *extra],
        stderr=subprocess.PIPE, text=True)
    port = None
    for line in server.stderr:
        if match := re.search(r"listening .*port=(\d+)", line):
            port = int(match.group(1))
        if " ready " in line:
            # a log that nobody reads would stop the server once the pipe is full
            threading.Thread(target=server.stderr.read, daemon=True).start()
            return server, port
    sys.exit("the server did not start")


def cpu_seconds(pid, thread):
    """User and system time of one thread of the process."""
    fields = pathlib.Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_times(pid):
    return {t: cpu_seconds(pid, t) for t in os.listdir(f"/proc/{pid}/task")}


def resident_mib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024



class Client:
    """One stream after the other until the deadline."""

    def __init__(self, port, index, max_tokens):
        self.port, self.index, self.max_tokens = port, index, max_tokens
        self.first_text, self.latency, self.tokens = [], [], 0

    def request(self, turn):
        prompt = " ".join(WORDS[(self.index + turn + i) % len(WORDS)] for i in range(4 + self.index % 9))
        body = json.dumps({"messages": [{"role": "user", "content": prompt}], "stream": True,
                           "max_tokens": self.max_tokens, "stream_options": {"include_usage": True}})
        return (f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode()

    async def run(self, deadline):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        turn = 0
        while time.monotonic() < deadline:
            begun, seen_text = time.monotonic(), False
            writer.write(self.request(turn))
            turn += 1
            while True:
                line = await reader.readline()
                if not line:
                    raise RuntimeError("the server closed the connection")
                if b'"delta":{"content":"' in line and not seen_text:
                    seen_text = True
                    self.first_text.append(time.monotonic() - begun)
                if b'"completion_tokens":' in line:
                    self.tokens += int(re.search(rb'"completion_tokens":(\d+)', line).group(1))
                if line.startswith(b"data: [DONE]"):
                    break
            while (await reader.readline()) != b"0\r\n":
                pass
            await reader.readline()
            self.latency.append(time.monotonic() - begun)
        writer.close()


async def load(port, streams, seconds, max_tokens):
    clients = [Client(port, i, max_tokens) for i in range(streams)]
    deadline = time.monotonic() + seconds
    await asyncio.gather(*(c.run(deadline) for c in clients))
    return clients


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(server, port, options):
    pid = server.pid
    print(f"resident after load             {resident_mib(pid):8.1f} MiB")
    before, begun = cpu_times(pid), time.monotonic()
    time.sleep(5)
    idle = sum(cpu_times(pid).values()) - sum(before.values())
    print(f"CPU when idle                   {100 * idle / (time.monotonic() - begun):8.2f} % of a core")

    before, begun = cpu_times(pid), time.monotonic()
    clients = asyncio.run(load(port, options.streams, options.seconds, options.max_tokens))
    elapsed, after = time.monotonic() - begun, cpu_times(pid)
    used = {t: after[t] - before.get(t, 0) for t in after}
    http = used[str(pid)]
    first = [x for c in clients for x in c.first_text]
    latency = [x for c in clients for x in c.latency]
    print(f"streams                         {options.streams:8d}")
    print(f"answers                         {len(latency):8d} in {elapsed:.1f} s")
    print(f"tokens per second               {sum(c.tokens for c in clients) / elapsed:8.1f}")
    print(f"time to first text, median, p95 {statistics.median(first):8.3f} {percentile(first, .95):8.3f} s")
    print(f"answer complete, median, p95    {statistics.median(latency):8.3f} {percentile(latency, .95):8.3f} s")
    print(f"HTTP thread's share of CPU time {100 * http / sum(used.values()):8.2f} %")
    print(f"resident after the load         {resident_mib(pid):8.1f} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("extra", nargs="*", help="options of `unmask serve`, behind --")
    options = parser.parse_args()
    server, port = start(options.model, options.extra)
    try:
        measure(server, port, options)
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
