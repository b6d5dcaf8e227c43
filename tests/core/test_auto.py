"""What is taken by a run that chooses: by pictures that are like it, and never by too few of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hilo_core.auto import Setting, Trial, choose, slow
from hilo_core.cost import ModelShape

HERE = Setting(0.08, 4096, 20, "sample_euler")


def trials(preset, *faults, speedup=2.0, **setting):
    """One for each fault, on as many pictures; empty: nothing looked wrong."""
    where = replace(HERE, **setting)
    return [Trial(preset, f"picture {n}", where, 41.0, fault, speedup) for n, fault in enumerate(faults)]


GOOD, SOFT = ("",) * 3, ("softens the edit",) * 3


@pytest.mark.parametrize(
    ("known", "preset", "words"),
    [
        ([], "balanced", "has not been compared"),
        (trials("fast", *GOOD[:2]), "balanced", "compared on 0 of the 3 pictures"),
        (trials("fast", *GOOD), "fast", "close to dense in 3 of 3 comparisons like this run, 41 dB"),
        (trials("fast", *GOOD) + trials("balanced", *GOOD), "fast", "auto took fast"),
        (trials("fast", *SOFT), "balanced", "fast softens the edit in 3 of 3"),
        (trials("fast", *SOFT) + trials("balanced", *GOOD), "balanced", "balanced: fast softens"),
        (trials("balanced", *SOFT), "quality", "balanced softens the edit in 3 of 3"),
        ([t for n in ("fast", "balanced", "quality") for t in trials(n, *SOFT)], None, "stays with dense: fast soft"),
        (trials("fast", *GOOD, speedup=0.9), "balanced", "fast was no faster than dense"),
        (trials("fast", *GOOD, speedup=None), "fast", "close to dense"),
        (trials("paper", *GOOD), "balanced", "compared on 0 of the 3"),
    ],
)
def test_the_choice(known, preset, words):
    found = choose(known, HERE)
    assert found.preset == preset and words in found.reason, found.reason


def test_one_fault_in_ten_pictures_may_be_seen_and_no_more():
    assert choose(trials("fast", *[""] * 9, "softens the edit"), HERE).preset == "fast"
    assert choose(trials("fast", *[""] * 8, "softens the edit"), HERE).preset == "balanced"


def test_one_picture_in_many_settings_is_one_picture():
    known = [replace(one, picture="the same") for one in trials("fast", *[""] * 9)]
    assert choose(known, HERE).preset == "balanced"


@pytest.mark.parametrize(
    ("setting", "counts"),
    [
        ({"share": 0.05}, True),
        ({"share": 0.03}, False),
        ({"share": 0.17}, False),
        ({"total": 16384}, False),
        ({"steps": 8}, False),
        ({"steps": 30}, True),
        ({"sampler": "sample_heun"}, False),
        ({"share": float("nan")}, False),
    ],
)
def test_what_was_found_holds_for_runs_that_are_alike(setting, counts):
    assert (choose(trials("fast", *GOOD, **setting), HERE).preset == "fast") is counts


def test_what_a_run_does_not_know_yet_excludes_nothing():
    assert choose(trials("fast", *GOOD), replace(HERE, steps=None, sampler=None)).preset == "fast"


@pytest.mark.parametrize(
    ("tokens", "measured", "words"),
    [
        (400, None, ""),
        (4000, None, "would be"),  # attention with a bias is slower than without
        (400, 1.4, ""),
        (400, 0.97, "was 0.97 times as fast"),
        (4000, 1.2, ""),
    ],
)
def test_never_slower(tokens, measured, words):
    found = slow(tokens, 4096, ModelShape(), measured)
    assert words in found if words else found == "", found
