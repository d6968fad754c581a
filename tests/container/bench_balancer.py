"""Measures what the balancer costs: throughput of two one-thread replicas behind it against twice that
of one asked directly, in turns on the same cores, and CPU time and latency for each request. Exit status 1
where the two have less than nine tenths of it.

    scripts/bench_balancer [--rounds 5] [--seconds 10] [--clients 4]
"""
import argparse
import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "server"))

from child import ROOT  # noqa: E402
from fleet import Fleet  # noqa: E402

MODEL = ROOT / "models/pocket"
RATIO_MIN = 0.9
IDLE_SECONDS = 20
LATENCIES = 500  # CPU time is counted in hundredths of a second
BODY = {"prompt": "Once upon a time", "max_tokens": 64, "seed": 1, "temperature": 0, "ignore_eos": True}


def ask(connection, body):
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        raise RuntimeError(f"status {response.status}: {text[:300]}")
    return json.loads(text)["usage"]["completion_tokens"]


def throughput(port, clients, seconds, body):
    """Tokens a second of clients that ask one after the other on kept connections."""
    encoded, start = json.dumps(body).encode(), time.monotonic()

    def work(_):
        tokens = 0
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            while time.monotonic() < start + seconds:
                tokens += ask(connection, encoded)
        return tokens

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(work, range(clients))) / (time.monotonic() - start)  # raises what a client raised


def latencies(port, count):
    encoded = json.dumps(BODY).encode()
    found = []
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        for _ in range(count):
            start = time.perf_counter()
            ask(connection, encoded)
            found.append(time.perf_counter() - start)
    return found


def compare_throughput(options, folder):
    """Whether it is enough."""
    one, two = [], []
    with Fleet(2, MODEL, folder) as fleet:
        for _ in range(options.rounds):  # in turns, so that what else runs hits both alike
            one.append(throughput(fleet.replicas[0].port, options.clients, options.seconds, BODY))
            two.append(throughput(fleet.balancer.port, 2 * options.clients, options.seconds, BODY))
    ratios = [b / (2 * a) for a, b in zip(one, two)]
    print(f"one replica, asked directly:       {statistics.median(one):8.1f} tokens/s")
    print(f"two replicas, through the balancer: {statistics.median(two):7.1f} tokens/s")
    print(f"ratio to twice one: median {statistics.median(ratios):.3f}, "
          f"of {', '.join(f'{r:.3f}' for r in sorted(ratios))}")
    return statistics.median(ratios) >= RATIO_MIN


def measure_cost(options, folder):
    """On replicas that compute nothing, so that only HTTP is left."""
    with Fleet(1, MODEL, folder, "--test-step", "instant") as fleet:
        direct, through, used, busy = [], [], 0, 0
        before, start = fleet.balancer.cpu_seconds(), time.monotonic()
        time.sleep(IDLE_SECONDS)  # checks and haproxy.lua go on
        idle = (fleet.balancer.cpu_seconds() - before) / (time.monotonic() - start)
        for _ in range(options.rounds):
            direct += latencies(fleet.replicas[0].port, LATENCIES)
            before, start = fleet.balancer.cpu_seconds(), time.monotonic()
            through += latencies(fleet.balancer.port, LATENCIES)
            used, busy = used + fleet.balancer.cpu_seconds() - before, busy + time.monotonic() - start
    print(f"CPU time of the balancer when idle, with one replica to check: {idle * 1e6:.0f} us a second")
    print(f"CPU time of the balancer for a request, without that: {(used - idle * busy) / len(through) * 1e6:.0f} us")
    print(f"latency added, median: {(statistics.median(through) - statistics.median(direct)) * 1e6:.0f} us "
          f"(direct {statistics.median(direct) * 1e6:.0f}, through {statistics.median(through) * 1e6:.0f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=4, help="for each replica")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        enough = compare_throughput(options, folder)
    with tempfile.TemporaryDirectory() as folder:
        measure_cost(options, folder)
    if not enough:
        print(f"too slow: less than {RATIO_MIN} of twice one")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
