"""Masked training batches: every row of a batch has the same length, filled with end tokens.

A row is head + canvas + suffix.  The canvas holds the text to learn and end tokens behind it; only
the canvas is masked.  Rows need no attention mask, since what fills them is part of their canvas.
"""

import random
from dataclasses import dataclass

import torch

import facts
import tasks
import vocabulary as v

END_WEIGHT = 0.1       # in the loss: end tokens are many and easy
BLOCK = 32             # the block that the server decodes


@dataclass
class Row:
    head: list
    text: list
    suffix: list
    canvas: int          # the least canvas this row wants
    blockwise: bool      # mask as block-by-block decoding does

    def length(self):
        return len(self.head) + self.canvas + len(self.suffix)


class Source:
    """Pool i of rows is a function of (seed, i) alone, so that training resumes where it was cut."""

    def __init__(self, encoder, seed, tokens_per_batch, weights, long_share):
        self.encoder, self.seed = encoder, seed
        self.tokens_per_batch = tokens_per_batch
        self.kinds, self.weights = list(weights), list(weights.values())
        self.long_share = long_share

    def _messages(self, sample, rng):
        messages = [("user", sample.prompt)]
        if rng.random() < 0.03:      # a turn before it
            before = tasks.draw(rng.choice(self.kinds), rng)
            messages = [("user", before.prompt), ("assistant", before.answer)] + messages
        if rng.random() < 0.03:
            messages.insert(0, ("system", rng.choice(facts.SYSTEM_PROMPTS)))
        return messages

    def _canvas(self, text, rng):
        """Just fitting (cheap, most of them) or one that is served: one, two or rarely more blocks."""
        if rng.random() >= self.long_share:
            return len(text) + rng.randint(0, 8), False
        blocks = rng.choices((1, 2, 3, 4), (6, 12, 1, 1))[0]
        return max(BLOCK * blocks, len(text)), rng.random() < 0.6

    def _plain(self, text, rng):
        """Text without a prompt: from nothing, behind a beginning, or between two pieces."""
        ids = self.encoder.text(text)
        start, stop = sorted(rng.sample(range(len(ids) + 1), 2))
        shape = rng.random()
        if shape < 0.3:
            start, stop = 0, len(ids)
        elif shape < 0.7:
            stop = len(ids)
        middle = ids[start:stop]
        return Row(ids[:start], middle, ids[stop:], *self._canvas(middle, rng))

    def row(self, rng):
        sample = tasks.draw(rng.choices(self.kinds, self.weights)[0], rng)
        if sample.kind in ("story", "python") and rng.random() < 0.25:
            return self._plain(sample.answer, rng)
        head = self.encoder.chat(self._messages(sample, rng))
        text = self.encoder.text(sample.answer) + [v.EOT]
        return Row(head, text, [], *self._canvas(text, rng))

    def pool(self, index, batches=8):
        """About `batches` batches of rows of similar length, in random order."""
        rng = random.Random(f"{self.seed}/{index}")
        rows, tokens = [], 0
        while tokens < batches * self.tokens_per_batch:
            rows.append(self.row(rng))
            tokens += rows[-1].length()
        rows.sort(key=Row.length)
        out = []
        while rows:
            count = max(1, self.tokens_per_batch // rows[-1].length())
            out.append(rows[-count:])
            del rows[-count:]
        rng.shuffle(out)
        return [mask(batch, rng) for batch in out]


def _masked_positions(row, canvas, t, rng):
    """Canvas positions to mask and, of those, the ones to learn: at least one."""
    start, stop = 0, canvas
    if row.blockwise and canvas > BLOCK:
        start = BLOCK * rng.randrange((len(row.text) - 1) // BLOCK + 1)
        stop = min(start + BLOCK, canvas)
    chosen = [i for i in range(start, stop) if rng.random() < t] or [rng.randrange(start, stop)]
    return chosen + list(range(stop, canvas)), chosen


def mask(rows, rng):
    """ids [rows, length] and, flat, the masked positions to learn: index, target, weight."""
    length = max(row.length() for row in rows)
    ids, index, target, weight = [], [], [], []
    order = list(range(len(rows)))
    rng.shuffle(order)
    offset = rng.random()
    for number, row in enumerate(rows):
        t = (offset + order[number] / len(rows)) % 1          # stratified over the batch
        t = 1.0 if rng.random() < 0.15 else max(t, 0.03)      # often all masked: the first step
        canvas = length - len(row.head) - len(row.suffix)
        line = row.head + row.text + [v.END] * (canvas - len(row.text)) + row.suffix
        hidden, learned = _masked_positions(row, canvas, t, rng)
        for i in learned:
            index.append(number * length + len(row.head) + i)
            target.append(line[len(row.head) + i])
            weight.append(END_WEIGHT if target[-1] == v.END else 1.0)
        for i in hidden:
            line[len(row.head) + i] = v.MASK
        ids.append(line)
    return torch.tensor(ids), torch.tensor(index), torch.tensor(target), torch.tensor(weight)
