"""Write eval.jsonl: 500 prompts that training never draws, with their checkers.

    python scripts/pocket/make_eval.py models/pocket/eval.jsonl
"""

import json
import random
import sys

import tasks

COUNTS = {"capital": 40, "country": 40, "continent": 30, "currency": 30, "language": 25, "add": 40,
          "subtract": 40, "multiply": 12, "sort": 54, "sudoku": 40, "json": 40, "copy": 20,
          "reverse": 20, "upper": 15, "story": 10, "python": 15, "chat": 10, "unknown": 19}


def samples(counts=None, seed=2026):
    """Prompts of every kind from the held-out side, no two with the same content."""
    rng = random.Random(seed)
    for kind, count in (counts or COUNTS).items():
        seen = {}
        while len(seen) < count:
            sample = tasks.draw(kind, rng, test=True)
            seen.setdefault(tasks.content_of(kind, sample.prompt), sample)
        yield from seen.values()


def main():
    assert sum(COUNTS.values()) == 500
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        for sample in samples():
            line = {"kind": sample.kind, "prompt": sample.prompt, "checker": sample.checker}
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
