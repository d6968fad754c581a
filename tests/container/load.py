"""Load by real OpenAI clients, each answer compared with the right one. No test lives here.

Answers do not depend on who else is in the batch, so one server says beforehand what each question's
answer is, to the letter: an answer that ends early without an error shows.
"""
import collections
import random
import threading
import time

import openai

WORDS = ("What is the capital of France?", "What is 27 + 45?", "Write in upper case: river",
         "Write a Python function that adds two numbers.", "On which continent is Peru?",
         "Sort these numbers: 42 7 19 3")
LONG_BODY_BYTES = 200_000  # still in the balancer's buffer


def question(number):
    """Arguments of a question; few enough that their answers are known beforehand."""
    return {"model": "pocket", "messages": [{"role": "user", "content": WORDS[number % len(WORDS)]}],
            "max_tokens": (24, 48, 96)[number // len(WORDS) % 3], "seed": 1, "temperature": 0}


QUESTIONS = 3 * len(WORDS)


def client_of(url, retries=0):
    return openai.OpenAI(base_url=url, api_key="none", max_retries=retries,
                         timeout=openai.Timeout(240, connect=20))


def right_answers(url):
    client = client_of(url)
    return [client.chat.completions.create(**question(n)).choices[0].message.content for n in range(QUESTIONS)]


class Outcome:
    """What became of a request: right; cut (its stream had begun, if only with its status 200, and the SDK
    raised an error); failed (raised before anything came); or silent (it ended without an error, but has no finish_reason or is not
    the right answer)."""

    def __init__(self, kind, seconds, detail=""):
        self.kind, self.seconds, self.detail = kind, seconds, detail
        self.client = None


def end_of(stream):
    """The finish_reason of an SDK's stream of completions, or the name of what the SDK raised."""
    try:
        return [chunk.choices[0].finish_reason for chunk in stream][-1]
    except openai.APIError as error:
        return type(error).__name__


class Clients:
    """Threads, each in work(seed) of its own, from `with` on until its end sets `stopping`."""

    def __init__(self, count):
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(seed,), daemon=True) for seed in range(count)]

    def __enter__(self):
        self.start = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.seconds = time.monotonic() - self.start


class Load(Clients):
    """Clients that ask one question after the other until they are told to stop.

        with Load(url, answers, clients=6) as load:
            load.wait_for(20)
            ...
        assert load.count("failed") == 0
    """

    def __init__(self, url, answers, clients=6, retries=0, streamed=0.6, long_bodies=0.1, pause=0):
        super().__init__(clients)
        self.url, self.answers, self.retries = url, answers, retries
        self.streamed, self.long_bodies, self.pause = streamed, long_bodies, pause
        self.outcomes, self.lock = [], threading.Lock()

    def work(self, seed):
        rng = random.Random(seed)
        with client_of(self.url, self.retries) as client:
            while not self.stopping.is_set():
                outcome = self.ask(client, rng)
                outcome.client = seed
                with self.lock:
                    self.outcomes.append(outcome)
                self.stopping.wait(rng.random() * self.pause)

    def ask(self, client, rng):
        number = rng.randrange(QUESTIONS)
        extra = {"extra_body": {"padding": "x" * LONG_BODY_BYTES}} if rng.random() < self.long_bodies else {}
        return ask(client, number, self.answers[number], rng.random() < self.streamed, extra)

    # ---- what came of it ----

    def count(self, kind):
        with self.lock:
            return sum(outcome.kind == kind for outcome in self.outcomes)

    def details(self, kind):
        with self.lock:
            return collections.Counter(outcome.detail for outcome in self.outcomes if outcome.kind == kind)

    def wait_for(self, more):
        """Until `more` further requests ended well."""
        target, end = self.count("right") + more, time.monotonic() + 240
        while self.count("right") < target:
            assert time.monotonic() < end, self.summary()
            time.sleep(0.02)

    def wait_for_everyone(self):
        """Until every client has come to the end of the request that it is at now: none is stuck."""
        with self.lock:
            before = len(self.outcomes)
        end = time.monotonic() + 240
        while len({outcome.client for outcome in self.outcomes[before:]}) < len(self.threads):
            assert time.monotonic() < end, self.summary()
            time.sleep(0.02)

    def summary(self):
        return {kind: dict(self.details(kind)) if kind != "right" else self.count(kind)
                for kind in ("right", "cut", "failed", "silent")}


def ask(client, number, answer, streamed, extra):
    return outcome_of(chat(client, {**question(number), **extra}, streamed), answer)


BEGUN = (0, "", None)  # the first piece of a stream


def chat(client, fields, streamed):
    """Pieces of an answer as they come: (index of the choice, text, finish_reason); BEGUN comes first."""
    if not streamed:
        for choice in client.chat.completions.create(**fields).choices:
            yield choice.index, choice.message.content, choice.finish_reason
        return
    stream = client.chat.completions.create(**fields, stream=True)
    yield BEGUN
    for chunk in stream:
        for choice in chunk.choices:
            yield choice.index, choice.delta.content, choice.finish_reason


class Answer:
    """Grows by pieces."""

    def __init__(self):
        self.texts, self.finished, self.began = {}, set(), False

    def take(self, pieces):
        for index, text, finish in pieces:
            self.began = True
            self.texts[index] = self.texts.get(index, "") + (text or "")
            if finish:
                self.finished.add(index)
        return self

    def text(self):
        """Of all choices."""
        return "\x1e".join(self.texts[index] for index in sorted(self.texts))


def outcome_of(pieces, right):
    start, answer = time.monotonic(), Answer()
    try:
        answer.take(pieces)
    except Exception as error:  # any: what the SDK raises is what is being counted
        detail = f"{type(error).__name__}: {str(error)[:200]} ({error.__cause__!r:.200})"
        return Outcome("cut" if answer.began else "failed", time.monotonic() - start, detail)
    if answer.text() != right or not answer.texts.keys() == answer.finished:
        detail = f"{answer.text()[:80]!r} for {right[:80]!r}, finished: {answer.finished}"
        return Outcome("silent", time.monotonic() - start, detail)
    return Outcome("right", time.monotonic() - start)
