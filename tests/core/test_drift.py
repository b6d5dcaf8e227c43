"""The drift meter, against pictures whose drift is known."""

from __future__ import annotations

import pytest
import torch

from hilo_core.drift import Drift, measure

ORIGINAL = torch.rand(2, 96, 128, 3, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
MASK = torch.zeros(2, 96, 128)
MASK[:, 30:60, 40:80] = 1


def put_back(decoded):
    return torch.where(MASK[..., None] > 0, decoded, ORIGINAL)


def test_nothing_changed():
    drift = measure(ORIGINAL, ORIGINAL, ORIGINAL, MASK)
    assert drift.outside_mean == drift.outside_max == drift.ring_shift == 0
    assert drift.border == pytest.approx(1)


def test_known_shift():
    decoded = ORIGINAL + torch.tensor([2.0, -1.0, 0.0]) / 255
    decoded[0, 0, 0] += 9 / 255
    drift = measure(decoded, put_back(decoded), ORIGINAL, MASK)
    assert drift.outside_mean == pytest.approx(1, abs=0.01)
    assert drift.outside_max == pytest.approx(11, abs=0.01)
    assert drift.ring_shift == pytest.approx(2, abs=0.01)


def test_a_seam_shows():
    decoded = ORIGINAL + 0.3
    assert measure(decoded, put_back(decoded), ORIGINAL, MASK).border > 1.5


def test_windows_add_up():
    decoded = ORIGINAL + torch.randn(ORIGINAL.shape, generator=torch.Generator().manual_seed(1)) / 50
    whole = measure(decoded, put_back(decoded), ORIGINAL, MASK)
    items = [measure(*(t[i : i + 1] for t in (decoded, put_back(decoded), ORIGINAL, MASK))) for i in range(2)]
    parts = sum(items, Drift())
    assert parts.outside_mean == pytest.approx(whole.outside_mean) and parts.border == pytest.approx(whole.border)
    assert "of 255" in parts.line()


def test_no_edit_has_no_border():
    assert measure(ORIGINAL, ORIGINAL, ORIGINAL, torch.zeros_like(MASK)).border is None
