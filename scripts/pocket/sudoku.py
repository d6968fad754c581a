"""4x4 Sudoku: the 288 grids, puzzles with one solution, and the checker."""

import itertools

import numpy as np


def _valid(grid):
    """True for a 4x4 tuple of rows in which every row, column and 2x2 box holds 1 to 4."""
    full = {1, 2, 3, 4}
    columns = all(set(column) == full for column in zip(*grid))
    boxes = all({grid[r][c], grid[r][c + 1], grid[r + 1][c], grid[r + 1][c + 1]} == full
                for r in (0, 2) for c in (0, 2))
    return columns and boxes


def _all_grids():
    rows = list(itertools.permutations((1, 2, 3, 4)))
    pairs = [(a, b) for a in rows for b in rows if set(a[:2]) == set(b[2:])]
    return np.array([sum(top + bottom, ()) for top in pairs for bottom in pairs
                     if _valid(top + bottom)])


GRIDS = _all_grids()
assert len(GRIDS) == 288


def draw(rng):
    """A puzzle with exactly one solution: (16 digits with 0 for a hole, 16 digits)."""
    while True:
        grid = GRIDS[rng.randrange(len(GRIDS))]
        clues = sorted(rng.sample(range(16), rng.randint(7, 10)))
        if (GRIDS[:, clues] == grid[clues]).all(axis=1).sum() == 1:
            puzzle = [int(grid[i]) if i in clues else 0 for i in range(16)]
            return puzzle, [int(cell) for cell in grid]


def rows(cells, separator):
    """Sixteen digits as four rows of four."""
    return separator.join("".join(map(str, cells[i:i + 4])) for i in range(0, 16, 4))


def solves(puzzle, text):
    """Whether the digits of `text` are a valid grid that keeps every clue of `puzzle`."""
    cells = [int(character) for character in text if character in "01234"]
    if len(cells) != 16 or any(p and p != c for p, c in zip(puzzle, cells)):
        return False
    grid = tuple(tuple(cells[i:i + 4]) for i in range(0, 16, 4))
    return all(set(row) == {1, 2, 3, 4} for row in grid) and _valid(grid)
