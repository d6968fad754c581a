"""Load of every kind that the API has: drafts, several answers, guidance, gaps, /v1/responses, and plain chat.
No test lives here."""
import collections

import openai
from openai.types import Completion

from load import BEGUN, QUESTIONS, Answer, Load, chat, client_of, outcome_of, question

PLAIN_SHARE = 0.5


def drafts(client, number, streamed):
    """The text of a stream with drafts is that of the answer without."""
    extra = {"diffusion": {"stream": "draft", "draft": {"interval_ms": 0}}} if streamed else {}
    return chat(client, {**question(number), "extra_body": extra}, streamed)


def two_answers(client, number, streamed):
    return chat(client, {**question(number), "n": 2, "temperature": 1}, streamed)


def guidance(client, number, streamed):
    return chat(client, {**question(number), "extra_body": {"diffusion": {"cfg_scale": 1.5}}}, streamed)


def gap(client, number, streamed):
    body = {"prompt": "The capital of ", "suffix": " is old.", "max_tokens": 8 + number, "seed": number}
    if not streamed:
        answers = [client.post("/fim/completions", cast_to=Completion, body=body)]
    else:
        answers = client.post("/fim/completions", cast_to=Completion, body={**body, "stream": True}, stream=True,
                              stream_cls=openai.Stream[Completion])
        yield BEGUN
    for answer in answers:
        for choice in answer.choices:
            yield choice.index, choice.text, choice.finish_reason


def responses(client, number, streamed):
    asked = question(number)
    fields = {"model": asked["model"], "input": asked["messages"][0]["content"], "temperature": 0,
              "max_output_tokens": asked["max_tokens"], "extra_body": {"seed": asked["seed"]}}
    if not streamed:
        answer = client.responses.create(**fields)
        yield 0, answer.output_text, answer.status
        return
    stream = client.responses.create(**fields, stream=True)
    yield BEGUN
    for event in stream:
        if event.type in ("error", "response.failed"):
            raise RuntimeError(event.type)
        delta = event.delta if event.type == "response.output_text.delta" else ""
        yield 0, delta, event.type in ("response.completed", "response.incomplete")


KINDS = (drafts, two_answers, guidance, gap, responses)


def right_answers_of_kinds(url):
    client = client_of(url)
    return {kind: [Answer().take(kind(client, number, False)).text() for number in range(QUESTIONS)] for kind in KINDS}


class Mix(Load):
    """Half of it plain chat, half the other kinds."""

    def __init__(self, url, answers, answers_of_kinds, **how):
        super().__init__(url, answers, **how)
        self.answers_of_kinds, self.right_of_kinds = answers_of_kinds, collections.Counter()

    def ask(self, client, rng):
        if rng.random() < PLAIN_SHARE:
            return super().ask(client, rng)
        kind, number = rng.choice(KINDS), rng.randrange(QUESTIONS)
        outcome = outcome_of(kind(client, number, rng.random() < self.streamed), self.answers_of_kinds[kind][number])
        with self.lock:
            self.right_of_kinds[kind.__name__] += outcome.kind == "right"
        return outcome
