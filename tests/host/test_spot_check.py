"""The check of one step: it sees wrong positions and a wrong bias, leaves good runs alone, and counts its own time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hilo_token.comfy_bridge.gain import Gain
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.run_report import Stopwatch
from hilo_token.comfy_bridge.spot_check import SpotCheck
from hilo_token.hilo_core.presets import PRESETS
from hilo_token.hilo_core.schedule import Schedule

from lab.checks.agreement import SABOTAGE, checked_run

from .cases import case, patcher
from .models import SMALL, flux

SIZE = (1, 4, 8, 8)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_good_models_pass(number):
    found = checked_run(number, "balanced")
    assert not found["caught"] and 0.8 < found["agreement"] < 1 and found["shared"] < 0.75


@pytest.mark.parametrize("sabotage", SABOTAGE, ids=lambda s: s.__name__)
def test_sabotaged_models_are_caught(sabotage):
    """On the picture whose good strips are closest to dense, where a limit on agreement alone would see nothing."""
    found = checked_run(0, "balanced", sabotage)
    assert found["caught"] and found["shared"] > 1.75


def sample(steps, **more):
    """A small FLUX with the check; the reports at the end, and what was told before."""
    reports, told = [], []
    preset = replace(PRESETS["balanced"], schedule=Schedule())
    model, edit = patcher(flux()), case(SMALL[0], 24, 32)
    patch = Patch(preset, None, reports.append, spot_check=True, on_start=told.append, **more)
    return edit.sample(patch_model(model, patch), steps=steps), reports[0], told


def test_the_checked_step_is_dense_and_is_reported():
    _, report, _ = sample(6)
    assert (report.dense_steps, report.compressed_steps) == (1, 5)
    assert 0 < report.agreement <= 1 and "agreement with dense at step 4" in report.line()


def test_the_rest_is_dense_where_the_check_fails(monkeypatch):
    monkeypatch.setattr(SpotCheck, "note", lambda self, *_: setattr(self, "agreement", 0.25) or False)
    _, report, told = sample(6)
    assert (report.dense_steps, report.compressed_steps) == (3, 3)
    assert (
        "only 25% agreement with dense at step 4" in "; ".join(report.notes)
        and "rest of this run is dense" in told[-1].reason
    )


def test_without_it_nothing_is_computed_twice():
    reports, edit = [], case(SMALL[0], 24, 32)
    edit.sample(
        patch_model(patcher(flux()), Patch(replace(PRESETS["balanced"], schedule=Schedule()), None, reports.append))
    )
    assert reports[0].agreement is None and reports[0].dense_steps == 0


@pytest.mark.parametrize(("dense", "step"), [([True, False, False, False], 2), ([False] * 8, 4), ([False, False], 1)])
def test_it_is_due_in_the_middle(dense, step):
    assert SpotCheck.in_the_middle(dense).step == step


def test_one_compressed_step_is_not_worth_it():
    assert SpotCheck.in_the_middle([True, False]) is None and SpotCheck.in_the_middle([True]) is None


@pytest.mark.parametrize(
    ("first", "second", "agreement", "shared", "good"),
    [
        (0.1, -0.1, 0.9, 0.0, True),  # as far to either side
        (0.1, -0.02, 0.9, 1 / 3, True),  # a third of it is shared
        (0.1, 0.04, 0.9, 7 / 6, True),
        (0.1, 0.05, 0.9, 1.5, False),
        (0.1, 0.1 + 0.01, 0.9, 10.5, False),  # the same error twice
        (0.01, 0.01 + 0.001, 0.99, 10.5, True),  # but too small to matter
        (0.7, -0.7, 0.3, 0.0, False),  # no use at all
        (math.nan, 0.0, 0.0, 1e9, False),
    ],
)
def test_values_by_hand(first, second, agreement, shared, good):
    """A velocity of 1 in each value of the edit, and errors in parts of it; what lies outside does not count."""
    x, dense, edited = torch.ones(SIZE), torch.zeros(SIZE), torch.zeros(8, 8, dtype=torch.bool)
    edited[2:5, 2:5] = True
    strips = [torch.full(SIZE, 7.0) for _ in range(2)]
    for strip, error in zip(strips, (first, second), strict=True):
        strip[..., edited] = error
    check = SpotCheck(3)
    assert check.note(x, strips, dense, edited) is good
    assert check.agreement == pytest.approx(agreement, abs=1e-5) and check.shared == pytest.approx(
        shared, rel=1e-4, abs=1e-6
    )


def test_its_time_is_the_runs_and_saves_nothing():
    watch = Stopwatch(torch.device("cpu"))
    watch._spans[False] = [("s", 0.0, 1.0), ("s", 1.0, 2.0)]
    watch._beside = [(0.0, 0.5)]
    gain = Gain.of(watch, lambda shapes: 3.0, 3.0)
    assert (gain.seconds, gain.instead_of) == (2.5, 6.0)
