#!/usr/bin/env python3
"""Measures what the HTTP API adds to the engine's work.

    scripts/bench_api.py [--model DIR] [--only NAME ...]

  first     time from admission to the first draft frame, in denoising steps
  frame     CPU time of the HTTP thread for each draft frame, 64 streams at once
  overhead  time of a whole streamed answer over an engine whose steps cost nothing, while 64 other
            streams are open: what HTTP, JSON, queue and wake-ups take together, the client's own
            share included
  idle      memory of 10,000 streams that wait for a stalled engine

Starts build/release/server/unmask for each. Compare figures of one run on a quiet machine. Only the
standard library.
"""
import argparse
import asyncio
import contextlib
import json
import multiprocessing
import pathlib
import resource
import socket
import statistics
import time

import bench_server as base

ROOT = base.ROOT
HEAD = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def request(**fields):
    body = json.dumps({"messages": [{"role": "user", "content": "What is 27 + 45?"}], "stream": True,
                       "seed": 1, **fields})
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode()


@contextlib.contextmanager
def serving(model, *extra):
    server, port = base.start(model, ["--threads", "1", *extra])
    try:
        yield server.pid, port
    finally:
        server.kill()
        server.wait()


def line(name, text):
    print(f"{name:<34} {text}", flush=True)


# ---- first draft -------------------------------------------------------------------------------


def stamps(stream, wanted):
    """Times at which lines beginning with one of the words came, until [DONE]."""
    found = {word: [] for word in wanted}
    for text in stream:
        for word in wanted:
            if word in text:
                found[word].append(time.perf_counter())
        if text.startswith(b"data: [DONE]"):
            return found
    raise RuntimeError("the stream broke")


def measure_first(model):
    """The reference backend: its steps are long beside everything else."""
    ratios = []
    ask = request(max_tokens=16, diffusion={"stream": "draft", "block_length": 16, "steps": 16,
                                            "early_stop": False, "draft": {"interval_ms": 0}})
    with serving(model, "--backend", "ref") as (_, port):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(ask)
                found = stamps(connection.makefile("rb"), (b": accepted", b'"frame":'))
                frames = found[b'"frame":'][:-1]  # the last one is the end's
                step = (frames[-1] - frames[0]) / (len(frames) - 1)
                ratios.append((frames[0] - found[b": accepted"][0]) / step)
    line("first draft after admission", f"{statistics.median(ratios):.3f} steps median, "
         f"{max(ratios):.3f} at most, of {len(ratios)} ({step * 1000:.1f} ms a step)")


# ---- frames ------------------------------------------------------------------------------------


async def count_frames(port, ask, answers):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    frames = 0
    for _ in range(answers):
        writer.write(ask)
        while not (text := await reader.readline()).startswith(b"data: [DONE]"):
            frames += b'"frame":' in text
        await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    return frames


async def drive_frames(port, asks, answers):
    return sum(await asyncio.gather(*(count_frames(port, ask, answers) for ask in asks)))


def measure_frame(model):
    for name, draft in (("patches", {}), ("with guesses and confidence", {"guess": True, "confidence": True}),
                        ("full frames", {"frames": "full"})):
        ask = request(max_tokens=64, diffusion={"stream": "draft", "block_length": 32,
                                                 "steps_per_block": 32, "early_stop": False,
                                                 "draft": {"interval_ms": 0, **draft}})
        with serving(model) as (pid, port):
            before = base.cpu_seconds(pid, pid)
            frames = asyncio.run(drive_frames(port, [ask] * 64, 1))
            spent = base.cpu_seconds(pid, pid) - before
        line(f"HTTP thread a frame, {name}", f"{1e6 * spent / frames:.1f} us of CPU, {frames} frames")


# ---- overhead ----------------------------------------------------------------------------------


async def pace(port, ask, pause):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        writer.write(ask)
        await reader.readuntil(b"\r\n0\r\n\r\n")
        await asyncio.sleep(pause)


def background(port, streams, pause, ask):
    async def run():
        await asyncio.gather(*(pace(port, ask, pause) for _ in range(streams)))

    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        asyncio.run(run())


def time_answers(port, ask, count):
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            begun, got = time.perf_counter(), b""
            connection.sendall(ask)
            while not got.endswith(b"\r\n0\r\n\r\n"):
                got += connection.recv(1 << 16)
            times.append(time.perf_counter() - begun)
    return times


def measure_overhead(model):
    ask = request(max_tokens=8, diffusion={"block_length": 8, "steps": 2})
    with serving(model, "--test-step", "instant") as (_, port):
        alone = time_answers(port, ask, 2000)
        load = multiprocessing.Process(target=background, args=(port, 64, 0.5, ask), daemon=True)
        load.start()
        time.sleep(2)
        beside = time_answers(port, ask, 5000)
        load.terminate()
    for name, times in (("alone", alone), ("beside 64 streams", beside)):
        line(f"an answer, {name}", f"median {1e3 * statistics.median(times):.3f} ms, "
             f"p99 {1e3 * base.percentile(times, .99):.3f} ms")


# ---- idle streams ------------------------------------------------------------------------------


def measure_idle(model, streams=10000):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ask = request(max_tokens=16)
    with serving(model, "--test-step", "slow:600000", "--max-connections", str(streams + 16), "--max-queue",
                 str(streams), "--sse-ping-interval", "0") as (pid, port):
        before, open_streams = base.resident_mib(pid), []
        for _ in range(streams):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(ask)
            open_streams.append(connection)
        for connection in open_streams:
            assert connection.recv(1 << 12).startswith(b"HTTP/1.1 200")
        after = base.resident_mib(pid)
        for connection in open_streams:
            connection.close()
    line(f"resident, {streams} idle streams", f"{after:.1f} MiB ({before:.1f} MiB without), "
         f"{(after - before) * 1048576 / streams:.0f} bytes a stream")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


MEASURES = {"first": measure_first, "frame": measure_frame, "overhead": measure_overhead,
            "idle": measure_idle}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/pocket")
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    options = parser.parse_args()
    for name in options.only:
        MEASURES[name](options.model)


if __name__ == "__main__":
    main()
