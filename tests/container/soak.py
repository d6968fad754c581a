"""Mixed load on three replicas behind the balancer, with faults, for as long as one likes. Nothing may be
lost that had not begun to stream, memory must stay flat, and in the end the books must balance.

    scripts/soak [--minutes 30] [--seed 1]

One replica is never harmed: its memory and descriptors tell of leaks. The others are killed, drained and
stopped in turn.
"""
import argparse
import json
import pathlib
import random
import signal
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "server"))

from child import ROOT, wait_until  # noqa: E402
from fleet import Fleet  # noqa: E402
from load import Clients, Load, right_answers  # noqa: E402

MODEL = ROOT / "models/pocket"
CLIENTS, RUDE_CLIENTS = 6, 3
FAULT_PAUSE_SECONDS = (5, 15)
HANG_SECONDS = 12  # longer than the balancer takes to notice
WARM_UP_SHARE = 0.25  # stacks, arenas and caches fill
GROWTH_MAX_KIB = 8 * 1024
SAMPLES = 20


class Rude(Clients):
    """Clients that leave in the middle, read slowly or send nonsense; what they get is not checked."""

    def __init__(self, port):
        super().__init__(RUDE_CLIENTS)
        self.port, self.count = port, 0

    def work(self, seed):
        rng = random.Random(1000 + seed)
        while not self.stopping.wait(rng.random()):
            try:
                rng.choice((self.leave, self.read_slowly, self.send_nonsense))(rng)
            except OSError:  # cut off, as it may be
                pass
            self.count += 1

    def send(self, payload):
        client = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(payload), payload))
        return client

    def body(self, rng):
        return json.dumps({"prompt": "Once", "max_tokens": rng.choice((16, 64, 200)), "seed": rng.randrange(99),
                           "temperature": rng.choice((0, 1)), "stream": rng.random() < 0.5}).encode()

    def leave(self, rng):
        with self.send(self.body(rng)):
            time.sleep(rng.random() * 0.3)

    def read_slowly(self, rng):
        with self.send(self.body(rng)) as client:
            for _ in range(60):
                if not client.recv(128):
                    break
                time.sleep(0.02)

    def send_nonsense(self, rng):
        with self.send(rng.choice((b"{", b"[]", b'{"max_tokens":-1}', bytes(rng.randbytes(200))))) as client:
            client.recv(4096)


def kill(replica, _):
    replica.server.kill()


def drain(replica, _):
    replica.drain()


def hang(replica, stopping):
    replica.signal(signal.SIGSTOP)
    stopping.wait(HANG_SECONDS)
    replica.signal(signal.SIGCONT)


class Faults:
    """Harms one replica after the other; each is whole again before the next."""

    def __init__(self, fleet, seed):
        self.fleet, self.rng, self.stopping = fleet, random.Random(seed), threading.Event()
        self.counts = {kill: 0, drain: 0, hang: 0}
        self.failure = None
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def work(self):
        try:
            while not self.stopping.wait(self.rng.uniform(*FAULT_PAUSE_SECONDS)):
                fault, replica = self.rng.choice(list(self.counts)), self.rng.choice(self.fleet.replicas[1:])
                fault(replica, self.stopping)
                self.counts[fault] += 1
                if fault is not hang:
                    replica.start()
                self.fleet.balancer.wait_for_states("UP", "UP", "UP")
        except BaseException as failure:  # shown in the end, by the main thread
            self.failure = failure


def sample(fleet, load, start):
    server, balancer = fleet.replicas[0].server, fleet.balancer
    figures = (server.resident_kib(), balancer.resident_kib(), server.descriptors())
    print(f"{time.monotonic() - start:6.0f} s  right {load.count('right'):>6}  cut {load.count('cut'):>4}  "
          f"replica {figures[0]:>7} KiB {figures[2]:>3} files  balancer {figures[1]:>7} KiB", flush=True)
    return figures


def run(seconds, seed, folder):
    """The problems found, as texts."""
    with Fleet(3, MODEL, folder, "--drain-timeout", "60") as fleet:
        answers = right_answers(fleet.url)
        start, samples = time.monotonic(), []
        with Load(fleet.url, answers, clients=CLIENTS, pause=0.2) as load, Rude(fleet.balancer.port) as rude, \
                Faults(fleet, seed) as faults:
            for i in range(1, SAMPLES + 1):
                time.sleep(max(0, start + seconds * i / SAMPLES - time.monotonic()))
                samples.append(sample(fleet, load, start))
        wait_until(lambda: sum(s.metrics()["num_requests_running"] for s in fleet.live()), lambda n: n == 0)
        problems = judge(load, samples, faults)
        try:
            fleet.balanced_books()
        except AssertionError as failure:
            problems.append(f"the books do not balance: {failure}")
    print(f"faults: {', '.join(f'{f.__name__} {n}' for f, n in faults.counts.items())}; rude clients: {rude.count}")
    print(f"outcomes: {load.summary()}")
    return problems


def judge(load, samples, faults):
    problems = [f"{kind}: {dict(load.details(kind))}" for kind in ("failed", "silent") if load.count(kind)]
    if faults.failure:
        problems.append(f"a replica did not come back: {faults.failure!r}")
    warm = samples[int(SAMPLES * WARM_UP_SHARE) - 1]
    for name, index in (("replica", 0), ("balancer", 1)):
        growth = samples[-1][index] - warm[index]
        if growth > GROWTH_MAX_KIB:
            problems.append(f"the {name} grew by {growth} KiB after its warm-up")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems = run(options.minutes * 60, options.seed, folder)
    for problem in problems:
        print(problem)
    print("soak: " + (f"{len(problems)} problems" if problems else "nothing lost, flat, balanced"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
