"""Figures of two pictures against numbers worked out by hand, and the sentence that they become."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hilo_core import HiLoError
from hilo_core.likeness import Likeness, likeness, mean_likeness
from hilo_core.verdict import Tried, judge, place_in

BOX = (8, 16, 72, 112)
GOOD = Likeness(41.0, 0.99, 0.02, 0.02, 0.1, 0.1, (8, 16, 24, 32), 35.0)
SOFT = replace(GOOD, psnr=33.0, worst_psnr=24.0, sharpness=0.012)


@pytest.fixture
def pair():
    """A smooth picture, the same again, and the mask of a box."""
    ramp = torch.linspace(0.2, 0.8, 128)[None, :, None].expand(80, 128, 3)
    mask = torch.zeros(80, 128, dtype=torch.bool)
    mask[8:72, 16:112] = True
    return ramp.clone(), ramp.clone(), mask


def test_equal_pictures(pair):
    found = likeness(*pair)
    assert found.psnr == 99 and found.ssim == pytest.approx(1, abs=1e-6)
    assert found.sharper == 1 and found.rougher == 1


def test_one_constant_step(pair):
    """0.1 everywhere is 20 dB; the box's border then has steps of 0.1 more on its sides."""
    picture, other, mask = pair
    picture[mask] += 0.1
    found = likeness(picture, other, mask)
    assert found.psnr == pytest.approx(20, abs=1e-3) and found.worst_psnr == pytest.approx(20, abs=1e-3)
    ramp, top, side = 0.6 / 127, 96, 64  # step of the ramp; pairs across the upper or lower and a left or right side
    before = 2 * side * ramp / (2 * top + 2 * side)
    after = (2 * top * 0.1 + side * (0.1 + ramp) + side * (0.1 - ramp)) / (2 * top + 2 * side)
    assert found.border_other == pytest.approx(before, abs=1e-5) and found.border == pytest.approx(after, abs=1e-5)


def test_what_lies_outside_the_edit_does_not_count(pair):
    picture, other, mask = pair
    picture[:4] = torch.rand(4, 128, 3)  # further from the edit than SSIM's window looks
    picture[:, :8] = 0
    assert likeness(picture, other, mask).psnr == 99


@pytest.mark.parametrize(("y", "x"), [(10, 18), (40, 90), (56, 60)])
def test_worst_place_is_where_it_was_made(pair, y, x):
    picture, other, mask = pair
    picture += 0.01
    picture[y : y + 12, x : x + 12] += 0.3
    found = likeness(picture, other, mask)
    top, left, bottom, right = found.worst
    assert top <= y and left <= x and y + 12 <= bottom and x + 12 <= right
    assert found.worst_psnr < found.psnr and bottom - top == 16 == right - left


@pytest.mark.parametrize("shape", [(80, 120, 3), (72, 128, 3)])
def test_unequal_sizes_are_one_sentence(pair, shape):
    with pytest.raises(HiLoError, match="must have one size; these are 1"):
        likeness(torch.zeros(shape), pair[1], pair[2])
    with pytest.raises(HiLoError, match="Nothing is painted"):
        likeness(pair[0], pair[1], torch.zeros_like(pair[2]))


def test_a_batch_is_as_bad_as_its_worst_place():
    found = mean_likeness([GOOD, SOFT])
    assert found.psnr == 37 and found.worst_psnr == 24 and found.sharpness == pytest.approx(0.016)


@pytest.mark.parametrize(
    ("worst", "words"),
    [
        ((8, 16, 24, 32), "the upper left of the edit"),
        ((60, 60, 70, 70), "the lower part of the edit"),
        ((32, 100, 48, 112), "the right of the edit"),
        ((32, 56, 48, 72), "the middle of the edit"),
    ],
)
def test_places_have_names(worst, words):
    assert place_in(BOX, worst) == words


@pytest.mark.parametrize(
    ("tried", "sentence", "best"),
    [
        ([("fast", GOOD, 2.9)], "'fast' cannot be told from dense here (one seed): 41 dB, 2.9x faster.", "fast"),
        (
            [("balanced", GOOD, 2.0), ("fast", SOFT, 2.9)],
            "'fast' softens the upper left of the edit here (one seed): 33 dB, 2.9x faster; 'balanced' does not: "
            "41 dB, 2.0x faster.",
            "balanced",
        ),
        (
            [("fast", replace(SOFT, sharpness=0.02), 2.9)],
            "'fast' is close to dense here (one seed), least in the upper left of the edit: 33 dB, 2.9x faster.",
            "fast",
        ),
        (
            [("fast", SOFT, 2.9), ("balanced", SOFT, 2.0)],
            "'fast' softens the upper left of the edit here (one seed): 33 dB, 2.9x faster, and the other does not "
            "avoid it; stay with dense.",
            None,
        ),
        (
            [("fast", replace(GOOD, border=0.2), 2.9)],
            "'fast' shows a seam at the border of the edit here (one seed): 41 dB, 2.9x faster; stay with dense.",
            None,
        ),
        ([("fast", GOOD, 0.9)], "No preset is faster than dense here (one seed): 'fast' takes as long.", None),
        ([("fast", None, None)], "Every preset runs at normal speed here: too large.", None),
    ],
)
def test_verdicts(tried, sentence, best):
    found = judge([Tried(name, one, speedup, reason="too large") for name, one, speedup in tried], BOX)
    assert (found.sentence, found.best) == (sentence, best)


def test_a_slower_preset_is_never_recommended():
    found = judge([Tried("fast", SOFT, 1.4), Tried("quality", GOOD, 0.95)], BOX)
    assert found.best is None and "quality" not in found.sentence
