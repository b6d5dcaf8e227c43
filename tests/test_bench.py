"""Benchmarks on a busy machine: no figure rather than a wrong one."""

from __future__ import annotations

import itertools

import pytest

from lab.speed import cpu


def runs(seconds):
    """A run that takes these times in turn."""
    times = itertools.cycle(seconds)
    return lambda: next(times)


def test_pairs_that_agree():
    """At least seven, dense and compressed first in turn."""
    order = []

    def one(name, seconds):
        order.append(name)
        return seconds

    ratios, agree = cpu.paired(lambda: one("dense", 3.0), lambda: one("strip", 1.0))
    assert agree and ratios == [3.0] * 7
    assert order[:4] == ["dense", "strip", "strip", "dense"]


def test_one_pair_that_was_disturbed():
    """It does not count much."""
    ratios, agree = cpu.paired(runs([3.0] * 6 + [30.0]), runs([1.0]))
    assert agree and len(ratios) == 7


@pytest.mark.parametrize("dense", [[1.0, 2.0], [3.0, 4.0, 5.0]])
def test_pairs_that_disagree(dense):
    """More are made, and in the end refused."""
    ratios, agree = cpu.paired(runs(dense), runs([1.0]))
    assert not agree and len(ratios) == cpu.MOST_PAIRS


def test_more_pairs_until_they_agree():
    """A bad start is outvoted."""
    ratios, agree = cpu.paired(runs([1.0, 2.0, 3.0] + [2.0] * 40), runs([1.0]))
    assert agree and cpu.PAIRS <= len(ratios) < cpu.MOST_PAIRS
    assert cpu.spread([2.0] * 7) == 0
