"""A shift of the decode, measured on a ring around the edit and undone."""

from __future__ import annotations

import pytest
import torch

from hilo_core.decode.composite import composite
from hilo_core.decode.shift import Shift, measure, undone


def texture(height, width, seed=0):
    """(H, W, 3) as a function of place, at any fraction of a pixel: sums of waves, the finest 5 pixels long."""
    generator = torch.Generator().manual_seed(seed)
    waves = torch.rand(24, 2, generator=generator, dtype=torch.float64) * 1.2
    phases = torch.rand(24, 3, generator=generator, dtype=torch.float64) * 6.3

    def at(down, right):
        y, x = (torch.arange(n, dtype=torch.float64) for n in (height, width))
        angles = (y[:, None] - down)[..., None] * waves[:, 0] + (x - right)[..., None] * waves[:, 1]
        picture = torch.stack([torch.sin(angles + phases[:, c]).mean(-1) for c in range(3)], -1)
        return (0.5 + 0.6 * picture).float()

    return at


def halves(height, width):
    y, x = (torch.arange(n) // 32 for n in (height, width))
    return (y[:, None] + x) % 2 == 0


def ring(height, width):
    on = torch.ones(height, width, dtype=torch.bool)
    on[40:-40, 40:-40] = False
    return on


def seen(new, old):
    return measure([new], [old], [ring(*old.shape[:2])], [halves(*old.shape[:2])])


@pytest.mark.parametrize("down", [0.0, 0.3, -1.5, 4.0, 6.7])
@pytest.mark.parametrize("right", [0.0, -0.2, 0.5, -3.4])
def test_a_known_shift_is_found_to_a_tenth(down, right):
    """Beside a drift of the colours and the noise of a VAE."""
    at = texture(160, 200)
    noise = 0.01 * torch.randn(160, 200, 3, generator=torch.Generator().manual_seed(1))
    found = seen(at(down, right) * 0.95 + 0.03 + noise, at(0, 0))
    if down == right == 0:
        assert found is None
    else:
        assert abs(found.down - down) < 0.1 and abs(found.right - right) < 0.1


def test_what_cannot_be_told_is_none():
    old = texture(160, 200)(0, 0)
    flat = torch.full_like(old, 0.5) + 0.01 * torch.randn(160, 200, 3, generator=torch.Generator().manual_seed(2))
    assert seen(flat, torch.full_like(old, 0.5)) is None
    assert seen(torch.rand_like(old), old) is None  # another picture
    assert seen(texture(160, 200)(0, 30), old) is None  # more than it looks for
    nothing = torch.zeros(160, 200, dtype=torch.bool)
    assert measure([old], [old], [nothing], [nothing]) is None
    assert measure([old[:9]], [old[:9]], [~nothing[:9]], [nothing[:9]]) is None


def test_two_halves_must_agree():
    """A part that moved by more than the other is no shift of the picture."""
    at = texture(160, 200, seed=7)
    both = torch.where(halves(160, 200)[..., None], at(0.1, 0), at(0.9, 0))
    assert seen(at(0.5, 0), at(0, 0)) is not None and seen(both, at(0, 0)) is None


@pytest.mark.parametrize("shift", [(0.4, -0.6), (-3.0, 2.0), (5.25, 0.0)])
def test_undone_is_back_in_its_place(shift):
    at = texture(120, 130, seed=3)
    out = undone(at(*shift), Shift(*shift))
    assert (out - at(0, 0))[10:-10, 10:-10].abs().max().item() < 0.01


def test_the_composite_tells_a_shift_and_undoes_it_only_when_asked():
    """Two pictures, of which one is shifted; what is outside stays to the bit either way."""
    at = texture(200, 220, seed=5)
    original = torch.stack([at(0, 0), at(0, 0)])
    decoded = torch.stack([at(0, 0), at(1.3, -0.7)])
    mask = torch.zeros(2, 200, 220)
    mask[:, 70:130, 80:140] = 1
    given = original, decoded, torch.ones(200, 220), mask, [(slice(0, 200), slice(0, 220))], 4, False
    plain, told = composite(*given)
    mended, drift = composite(*given, True)
    assert str(told.moved) == "1.3 px down, 0.7 px left" and not told.undone and drift.undone
    assert "all lies 1.3 px down, 0.7 px left, moved back" in drift.line()
    inside = mask > 0
    assert (plain - original)[inside].abs().max().item() > 0.1 > 10 * (mended - original)[inside].abs().max().item()
    assert torch.equal(plain[0], original[0]) and torch.equal(mended[0], original[0])
    far = mask[0] == 0
    far[60:140, 70:150] = False
    assert torch.equal(mended[:, far], original[:, far])
