"""Whether an answer is right.  A checker is data, so that eval.jsonl can be read by any program:

    {"type": "exact", "text": T}         the answer is T
    {"type": "prefix", "text": T}        the answer begins with T
    {"type": "number", "value": N}       the last whole number in the answer is N
    {"type": "lines", "lines": [...]}    the answer's lines are these, in any order
    {"type": "json", "value": V}         the answer is JSON and equals V
    {"type": "sudoku", "puzzle": "16 digits"}   a valid 4x4 grid that keeps the clues (0 is a hole)

White space around the answer and around its lines does not count.
"""

import json
import re

import sudoku


def _number(checker, answer):
    numbers = re.findall(r"-?\d+", answer)
    return bool(numbers) and int(numbers[-1]) == checker["value"]


def _lines(text):
    return sorted(line.strip() for line in text.splitlines() if line.strip())


def _same_lines(checker, answer):
    return _lines(answer) == sorted(line.strip() for line in checker["lines"])


def _json(checker, answer):
    try:
        return json.loads(answer) == checker["value"]
    except ValueError:
        return False


_CHECKERS = {
    "exact": lambda checker, answer: answer == checker["text"].strip(),
    "prefix": lambda checker, answer: answer.startswith(checker["text"].strip()),
    "number": _number,
    "lines": _same_lines,
    "json": _json,
    "sudoku": lambda checker, answer: sudoku.solves([int(c) for c in checker["puzzle"]], answer),
}


def right(checker, answer):
    return _CHECKERS[checker["type"]](checker, answer.strip())
