"""Mixed load on three replicas behind the balancer, with faults, for as long as one likes. Nothing may be
lost that had not begun to stream, memory and descriptors must stay flat, and in the end the books must
balance, as must those of a replica that drains, which are read before it ends; those of a killed one are lost
with it. A run of five minutes and more must also have seen all that it is for.

    scripts/soak [--minutes 30] [--seed 1]

One replica is never harmed: its memory and descriptors tell of leaks. The others are killed, drained and
stopped in turn.
"""
import argparse
import http.client
import json
import pathlib
import random
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "server"))

from child import ROOT, wait_until  # noqa: E402
from fleet import Fleet, balances  # noqa: E402
from load import Clients, right_answers  # noqa: E402
from mix import KINDS, Mix, right_answers_of_kinds  # noqa: E402

MODEL = ROOT / "models/pocket"
CLIENTS, RUDE_CLIENTS = 6, 3
FAULT_PAUSE_SECONDS = (5, 15)
HANG_SECONDS = 12  # longer than the balancer takes to notice
WARM_UP_SHARE = 0.25  # stacks, arenas and caches fill
LONG = {"prompt": "Once", "max_tokens": 400, "seed": 1, "ignore_eos": True,
        "diffusion": {"block_length": 400, "steps": 400}}
SAMPLES = 20
COMPARED = 3  # samples whose median is compared, after the warm-up and at the end
# Seen in half an hour: 0.4 MiB and 1.7 MiB up and down.
GROWTH_MAX = {"replica, KiB": 1024, "balancer, KiB": 4096, "replica, descriptors": CLIENTS + RUDE_CLIENTS}
COMPLETE_SECONDS = 300  # a run that is long enough for every fault and kind of request
SMALL_BUFFER_BYTES = 512 * 1024


class Rude(Clients):
    """Clients that leave in the middle, read slowly or send nonsense; what they get is not checked."""

    def __init__(self, port):
        super().__init__(RUDE_CLIENTS)
        self.port, self.count = port, 0

    def work(self, seed):
        rng = random.Random(1000 + seed)
        while not self.stopping.wait(rng.random()):
            try:
                rng.choices((self.leave, self.send_nonsense, self.read_slowly), (5, 5, 1))[0](rng)
            except OSError:  # cut off, as it may be
                pass
            self.count += 1

    def send(self, payload):
        client = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(payload), payload))
        return client

    def leave(self, rng):
        body = {"prompt": "Once", "max_tokens": rng.choice((16, 64, 200)), "seed": rng.randrange(99),
                "temperature": rng.choice((0, 1)), "stream": rng.random() < 0.5}
        with self.send(json.dumps(body).encode()):
            time.sleep(rng.random() * 0.3)

    def read_slowly(self, rng):
        """A stream of two megabytes, of which the last part is not read at all."""
        draft = {"interval_ms": 0, "frames": "full", "confidence": True, "guess": True, "token_ids": True}
        body = {**LONG, "stream": True, "diffusion": {**LONG["diffusion"], "stream": "draft", "draft": draft}}
        end = time.monotonic() + rng.uniform(30, 90)
        with self.send(json.dumps(body).encode()) as client:
            while client.recv(64) and not self.stopping.wait(0.02) and time.monotonic() < end:
                pass

    def send_nonsense(self, rng):
        with self.send(rng.choice((b"{", b"[]", b'{"max_tokens":-1}', bytes(rng.randbytes(200))))) as client:
            client.recv(4096)


class Faults:
    """Harms one replica after the other; each is whole again before the next."""

    def __init__(self, fleet, seed):
        self.fleet, self.rng, self.stopping = fleet, random.Random(seed), threading.Event()
        self.counts = {self.kill: 0, self.drain: 0, self.hang: 0}
        self.books_read = self.frames_dropped = 0
        self.failure = None
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def work(self):
        left = []
        try:
            while not self.stopping.wait(self.rng.uniform(*FAULT_PAUSE_SECONDS)):
                left = left or self.rng.sample(list(self.counts), len(self.counts))
                fault = left.pop()
                fault(self.rng.choice(self.fleet.replicas[1:]))
                self.counts[fault] += 1
                self.fleet.balancer.wait_for_states("UP", "UP", "UP")
        except BaseException as failure:  # shown in the end, by the main thread
            self.failure = failure

    def kill(self, replica):
        replica.server.kill()
        replica.start()

    def drain(self, replica):
        """Its books are read when all its requests have ended but one of ours, which keeps it for so long."""
        server = replica.server
        with server.send("/v1/completions", json.dumps(LONG).encode()):
            server.wait_for_metric("num_requests_running", lambda n: n > 0)
            server.signal(signal.SIGTERM)
            try:
                self.read_books(server)
            except (OSError, http.client.HTTPException):  # ours was not the last
                pass
        assert server.wait() == 0, server.errors()[-4000:]
        replica.start()

    def read_books(self, server):
        server.wait_for_metric("num_requests_running", lambda n: n <= 1)
        # refusals that are on their way count among what came
        metrics = wait_until(server.metrics, lambda found: balances(found, running=1))
        self.frames_dropped += dropped(metrics)
        self.books_read += 1

    def hang(self, replica):
        replica.signal(signal.SIGSTOP)
        self.stopping.wait(HANG_SECONDS)
        replica.signal(signal.SIGCONT)


def dropped(metrics):
    return metrics['stream_frames_total{kind="dropped"}']


def small_buffers(port):
    """Whether the systems hold little of a stream. Over loopback it is several megabytes by default, more than
    a slow reader leaves there, and no frame is left out."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        return client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < SMALL_BUFFER_BYTES


def sample(fleet, load, start):
    server, balancer = fleet.replicas[0].server, fleet.balancer
    figures = (server.resident_kib(), balancer.resident_kib(), server.descriptors())  # as GROWTH_MAX has them
    print(f"{time.monotonic() - start:6.0f} s  right {load.count('right'):>6}  cut {load.count('cut'):>4}  "
          f"replica {figures[0]:>7} KiB {figures[2]:>3} files  balancer {figures[1]:>7} KiB", flush=True)
    return figures


def run(seconds, seed, folder):
    """The problems found, as texts."""
    with Fleet(3, MODEL, folder, "--drain-timeout", "60") as fleet:
        load = Mix(fleet.url, right_answers(fleet.url), right_answers_of_kinds(fleet.url), clients=CLIENTS, pause=0.2)
        start, samples = time.monotonic(), []
        with load, Rude(fleet.balancer.port) as rude, Faults(fleet, seed) as faults:
            for i in range(1, SAMPLES + 1):
                time.sleep(max(0, start + seconds * i / SAMPLES - time.monotonic()))
                samples.append(sample(fleet, load, start))
        wait_until(lambda: sum(s.metrics()["num_requests_running"] for s in fleet.live()), lambda n: n == 0)
        faults.frames_dropped += sum(dropped(server.metrics()) for server in fleet.live())
        problems = [*judge(load, faults), *grown(samples)]
        if seconds >= COMPLETE_SECONDS:
            problems += missing(load, faults, small_buffers(fleet.balancer.port))
        try:
            fleet.balanced_books()
        except AssertionError as failure:
            problems.append(f"the books do not balance: {failure}")
    print(f"faults: {', '.join(f'{f.__name__} {n}' for f, n in faults.counts.items())}; rude clients: {rude.count}; "
          f"books of drained replicas read: {faults.books_read}; frames left out: {faults.frames_dropped:.0f}")
    print(f"right of each kind: {dict(load.right_of_kinds)}")
    print(f"outcomes: {load.summary()}")
    return problems


def judge(load, faults):
    problems = [f"{kind}: {dict(load.details(kind))}" for kind in ("failed", "silent") if load.count(kind)]
    if not load.count("right"):
        problems.append("no right answer")
    if faults.failure:
        problems.append(f"a replica did not come back, or its books did not balance: {faults.failure!r}")
    return problems


def grown(samples):
    warm = int(SAMPLES * WARM_UP_SHARE)
    for what, before, after in zip(GROWTH_MAX, zip(*samples[warm:warm + COMPARED]), zip(*samples[-COMPARED:])):
        growth = statistics.median(after) - statistics.median(before)
        if growth > GROWTH_MAX[what]:
            yield f"{what}: grew by {growth} after the warm-up"


def missing(load, faults, small):
    """What did not happen at all, so that nothing was shown about it."""
    seen = {**{f"fault {fault.__name__}": count for fault, count in faults.counts.items()},
            **{f"right {kind.__name__}": load.right_of_kinds[kind.__name__] for kind in KINDS},
            "cut": load.count("cut"), "books of a drained replica read": faults.books_read}
    if small:
        seen["a frame left out for a slow reader"] = faults.frames_dropped
    return [f"did not happen: {what}" for what, count in seen.items() if not count]


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
