"""LLaDA's decoding rule at temperature 0, for evaluation and as a reference for the engine.

Blocks from left to right; at every step the network sees prompt and whole canvas, every masked
position of the block gets its best token (never MASK), and some of these are committed for good: a
fixed number by confidence or by lot, or with a threshold all that are sure enough.  A row ends when
an end token is committed and nothing in front of it is masked: its text cannot change any more.
"""

import random
from dataclasses import dataclass

import torch

from vocabulary import END, EOT, MASK


@dataclass(frozen=True)
class Policy:
    canvas: int = 64
    block: int = 32
    per_step: int = 1               # tokens that each step commits
    order: str = "low_confidence"   # or "random"
    threshold: float | None = None  # commit all that reach it, at least one; per_step is ignored
    seed: int = 0


def _ended(row, prompt):
    """True when the first end token of the canvas stands behind committed tokens only."""
    for token in row[prompt:]:
        if token in (END, EOT):
            return True
        if token == MASK:
            return False
    return False


def _chosen(confidence, policy, rng):
    """Columns of one row to commit; confidence is -inf where nothing may be committed."""
    eligible = [i for i, value in enumerate(confidence) if value > float("-inf")]
    if policy.order == "random":
        rng.shuffle(eligible)
    else:
        eligible.sort(key=lambda i: (-confidence[i], i))
    if policy.threshold is None:
        return eligible[:policy.per_step]
    return [i for n, i in enumerate(eligible) if n == 0 or confidence[i] >= policy.threshold]


@torch.inference_mode()
def _step(model, rows, prompt, block_end, policy, rngs):
    """One network pass over rows of equal length; commits in place and returns the tokens committed."""
    ids = torch.tensor(rows)
    logits = model(ids)[:, prompt:block_end]
    logits[..., MASK] = float("-inf")
    best, token = logits.softmax(-1).max(-1)
    best[ids[:, prompt:block_end] != MASK] = float("-inf")
    committed = 0
    for row, confidence, tokens, rng in zip(rows, best.tolist(), token.tolist(), rngs):
        for column in _chosen(confidence, policy, rng):
            row[prompt + column] = tokens[column]
            committed += 1
    return committed


def _generate_group(model, prompts, policy, seeds, counts):
    """Prompts of equal length; returns their canvases."""
    prompt = len(prompts[0])
    rows = [list(p) + [MASK] * policy.canvas for p in prompts]
    rngs = [random.Random(f"{policy.seed}/{seed}") for seed in seeds]
    for start in range(prompt, prompt + policy.canvas, policy.block):
        stop = min(start + policy.block, prompt + policy.canvas)
        while True:
            live = [i for i, row in enumerate(rows)
                    if MASK in row[start:stop] and not _ended(row, prompt)]
            if not live:
                break
            counts["row steps"] += len(live)
            counts["tokens"] += _step(model, [rows[i] for i in live], prompt, stop, policy,
                                      [rngs[i] for i in live])
    return [row[prompt:] for row in rows]


def cut(canvas):
    """The answer: what stands before the first end token."""
    ends = [i for i, token in enumerate(canvas) if token in (END, EOT)]
    return canvas[:ends[0]] if ends else canvas


def generate(model, prompts, policy, rows_at_once=32):
    """Canvases of all prompts, in their order, and counts of row steps and committed tokens."""
    counts = {"row steps": 0, "tokens": 0}
    by_length = {}
    for number, ids in enumerate(prompts):
        by_length.setdefault(len(ids), []).append(number)
    canvases = [None] * len(prompts)
    for numbers in by_length.values():
        for first in range(0, len(numbers), rows_at_once):
            part = numbers[first:first + rows_at_once]
            made = _generate_group(model, [prompts[i] for i in part], policy, part, counts)
            for number, canvas in zip(part, made):
                canvases[number] = canvas
    return canvases, counts
