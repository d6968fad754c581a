"""What scripts/soak finds fault with, on figures made up."""
import collections
import types

import pytest

import soak

FLAT = [(24_000, 19_000, 17)] * soak.SAMPLES


def grown_by(*figures):
    """The last samples, against all before."""
    last = tuple(a + b for a, b in zip(FLAT[0], figures))
    return list(soak.grown(FLAT[:-soak.COMPARED] + [last] * soak.COMPARED))


def test_growth_counts_from_its_limits_on():
    assert grown_by(1024, 4096, 9) == []
    assert [text.split(":")[0] for text in grown_by(1025, 4097, 10)] == list(soak.GROWTH_MAX)


def test_one_odd_sample_is_no_growth():
    assert not list(soak.grown(FLAT[:-1] + [(90_000, 90_000, 900)]))


@pytest.mark.parametrize("lack", [None, "fault drain", "right gap", "cut", "a frame left out for a slow reader",
                                  "books of a drained replica read"])
def test_what_did_not_happen_is_a_problem(lack):
    def work(name):
        return 0 if lack == name else 3

    def fault(name):
        def harm():
            pass

        harm.__name__ = name
        return harm

    load = types.SimpleNamespace(
        right_of_kinds=collections.Counter({kind.__name__: work(f"right {kind.__name__}") for kind in soak.KINDS}),
        count=work)
    faults = types.SimpleNamespace(counts={fault(name): work(f"fault {name}") for name in ("kill", "drain", "hang")},
                                   frames_dropped=work("a frame left out for a slow reader"),
                                   books_read=work("books of a drained replica read"))
    assert soak.missing(load, faults, small=True) == ([f"did not happen: {lack}"] if lack else [])
