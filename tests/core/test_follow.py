"""A plan carried over to a grid of almost the same size."""

from __future__ import annotations

import pytest
import torch

from hilo_core.follow import follow
from hilo_core.plan import EDIT, NATIVE, make_plan
from hilo_core.presets import preset


def plan_of(rows, columns, name="balanced"):
    edit = torch.zeros(rows, columns, dtype=torch.bool)
    edit[5:9, 6:11] = True
    detail = torch.rand(rows, columns, generator=torch.Generator().manual_seed(1))
    return make_plan(edit, detail, preset(name).tokens)


@pytest.mark.parametrize("size", [(24, 32), (25, 32), (24, 34), (23, 31)])
def test_every_token_is_itself_or_stood_for(size):
    plan = plan_of(24, 32)
    found = follow(plan, *size)
    for turn, of in zip((found, *found.later_turns), (plan, *plan.later_turns), strict=True):
        assert (turn.rows, turn.columns, turn.cells) == (*size, ())
        assert turn.mass.sum() == size[0] * size[1] and (turn.mass >= 1).all()
        assert len(turn.kept.unique()) == len(turn.kept) == len(turn.mass) == len(turn.kind)
        assert torch.equal(turn.owner[turn.kept], torch.arange(turn.count)), "a kept token stands for itself"
        assert (turn.mass[turn.kind != NATIVE] == 1).all()
        assert turn.count == found.count, "turns have as many tokens"
        if size == (24, 32):
            assert set(turn.kept.tolist()) == set(of.kept.tolist())
            assert torch.equal(turn.mass.sort().values, of.mass.sort().values)


def test_edit_is_where_it_was():
    """Whatever lies over an edit token of the plan is kept whole."""
    plan, found = plan_of(24, 32), follow(plan_of(24, 32), 25, 34)
    edit = torch.zeros(24 * 32, dtype=torch.bool)
    edit[plan.kept[plan.kind == EDIT]] = True
    over = torch.nn.functional.interpolate(edit.reshape(1, 1, 24, 32).float(), size=(25, 34), mode="nearest-exact")
    assert set(found.kept[found.kind == EDIT].tolist()) == set(over.flatten().nonzero()[:, 0].tolist())


def test_averages_stay_in_their_own_grid():
    assert follow(plan_of(24, 32, "paper"), 25, 32) is None
