"""Plans of grids so small that every number can be worked out by hand."""

from __future__ import annotations

import pytest
import torch

from hilo_core.plan import EDIT, HIGH, NATIVE, TokenPlan, TokenSettings, _high_count, _priority, make_plan


def edit_at(rows, columns, *places):
    """A grid with some edited tokens."""
    edit = torch.zeros(rows, columns, dtype=torch.bool)
    for row, column in places:
        edit[row, column] = True
    return edit


def settings(**changes):
    """Nothing but the edit, unless asked for."""
    return TokenSettings(**{"dilation": 0.0, "amount": 0.0, "levels": (), "multiple": 1, "nearness": 0.0, **changes})


@pytest.mark.parametrize("nearness", [0.0, 0.25, 1.0])
def test_priority_is_the_weighted_geometric_mean(nearness):
    detail, distance = torch.tensor([0.5, 2.0, 4.0, 1.0]), torch.tensor([8.0, 0.0, 24.0, 8.0])
    relative, near = detail / 4, torch.tensor([1 / 2, 1.0, 1 / 4, 1 / 2])  # halves at 8 tokens
    wanted = relative ** (1 - nearness) * near**nearness
    found = _priority(detail, distance, nearness)
    assert torch.allclose(found, wanted.double(), atol=2e-6)
    assert found[3] > found[0], "detail tells equals apart"
    assert _priority(torch.zeros(4), distance, 1.0).isfinite().all()


@pytest.mark.parametrize(
    ("rule", "amount", "most", "wanted"),
    [
        ("ratio", 0.25, 1.0, 4),
        ("ratio", 1.0, 0.1, 15),  # all there are, whatever max_high says
        ("energy", 0.0, 1.0, 0),
        ("energy", 0.5, 1.0, 1),  # 16 of 28 by the first alone
        ("energy", 0.58, 1.0, 2),
        ("energy", 1.0, 1.0, 4),  # all energy is in four tokens
        ("energy", 1.0, 0.125, 2),
        ("threshold", 2.0, 1.0, 1),  # above, not at
        ("threshold", 1.9, 1.0, 4),
        ("threshold", 1.9, 0.125, 2),
    ],
)
def test_how_many_detail_tokens(rule, amount, most, wanted):
    """16 tokens, one of them the edit with the most detail of all; outside it 4, 2, 2, 2 and nothing."""
    detail, core = torch.zeros(4, 4), edit_at(4, 4, (0, 0))
    detail[0] = torch.tensor([9.0, 4.0, 2.0, 2.0])
    detail[1, 0] = 2.0
    order = detail.masked_fill(core, -1.0).flatten().argsort(descending=True, stable=True)[:15]
    chosen = settings(rule=rule, amount=amount, max_high=most)
    assert _high_count(detail, core, order, chosen) == wanted
    plan = make_plan(core, detail, chosen)
    assert plan.counts() == {"edit": 1, **({"high": wanted} if wanted else {})}
    assert plan.kept.tolist()[:2] == ([0, 1] if wanted else [0])


def test_no_energy_no_detail_tokens():
    """A flat picture has nothing to choose by."""
    core = edit_at(4, 4, (0, 0))
    assert make_plan(core, torch.zeros(4, 4), settings(amount=0.5, max_high=1.0)).counts() == {"edit": 1}
    everything = torch.ones(4, 4, dtype=torch.bool)
    assert make_plan(everything, torch.ones(4, 4), settings(amount=0.5, max_high=1.0)).complete


def test_cells_alone():
    """A picture seen from afar: 4x6 tokens in cells of 4, the second column of cells half a cell."""
    plan = TokenPlan.of_cells(4, 6, 4)
    assert (plan.rows, plan.columns, plan.total, plan.count, len(plan.kept)) == (4, 6, 24, 2, 0)
    assert plan.mass.tolist() == [16, 8]
    assert plan.owner.reshape(4, 6).tolist() == [[0, 0, 0, 0, 1, 1]] * 4
    (cells,) = plan.cells
    assert cells.factor == 4 and cells.index.tolist() == [0, 1] and not plan.complete


def test_real_tokens_for_cells():
    """8x8 tokens, one edited: a quadtree of 2x2 cells, of 4x4 from a distance of 2; one real token for each, four
    turns of as many."""
    chosen = settings(levels=((2, 0.0), (4, 2.0)), native=True, turns=4)
    plan = make_plan(edit_at(8, 8, (0, 0)), torch.ones(8, 8), chosen)
    # the cell of 4x4 around the edit is too near: four of 2x2, the first without the edit; three of 4x4
    assert plan.mass.tolist() == [1, 3, 4, 4, 4, 16, 16, 16]
    assert plan.kind.tolist() == [EDIT] + [NATIVE] * 7
    assert len(plan.later_turns) == 3 and not any(turn.later_turns for turn in plan.later_turns)
    owners = plan.owner.reshape(8, 8)
    assert owners[0, 0] == 0 and set(owners[:2, :2].flatten().tolist()) == {0, 1}
    assert set(owners[4:, 4:].flatten().tolist()) == {7}
    for turn in (plan, *plan.later_turns):
        assert torch.equal(turn.mass, plan.mass) and torch.equal(turn.owner, plan.owner)
        assert turn.owner[turn.kept].tolist() == list(range(8)), "each real token lies in its own cell"
    assert len({tuple(turn.kept.tolist()) for turn in (plan, *plan.later_turns)}) == 4


def test_averages_for_cells():
    """The same cells as averages: the real tokens are the edit and the detail."""
    detail = torch.zeros(8, 8)
    detail[6, 6] = 1.0
    plan = make_plan(edit_at(8, 8, (0, 0)), detail, settings(levels=((4, 0.0),), amount=1.0, max_high=1.0))
    assert plan.kept.tolist() == [0, 54] and plan.kind.tolist() == [EDIT, HIGH]
    assert plan.mass.tolist() == [1, 1, 15, 16, 16, 15]
    assert plan.counts() == {"edit": 1, "high": 1, "low 4x4": 4}
    assert not plan.later_turns


def test_a_cell_at_its_least_distance_is_coarse():
    """The edit ends in column 3; a cell of 4x4 whose nearest token is 1 away is coarse from 1, not from 1.5."""
    edit = torch.zeros(4, 8, dtype=torch.bool)
    edit[:, :4] = True
    for least, factor in ((1.0, 4), (1.5, 2)):
        plan = make_plan(edit, torch.ones(4, 8), settings(levels=((2, 0.0), (4, least))))
        assert {c.factor for c in plan.cells if len(c.index)} == {factor}


def test_rounding_takes_the_best_of_the_rest():
    """16 tokens, one edited, rounded up to a multiple of four with the tokens of most detail."""
    detail = torch.arange(16.0).reshape(4, 4)
    plan = make_plan(edit_at(4, 4, (0, 0)), detail, settings(multiple=4))
    assert plan.kept.tolist() == [0, 13, 14, 15]
    plan = make_plan(edit_at(4, 4, (0, 0)), detail, settings(multiple=4, levels=((2, 0.0),)))
    assert plan.count == 8 and plan.kept.tolist() == [0, 13, 14, 15]  # beside four cells
    last = make_plan(edit_at(2, 2, (0, 0)), torch.ones(2, 2), settings(multiple=32, levels=((2, 0.0),)))
    assert last.complete and last.count == 4, "no more than all"


def test_a_budget_that_the_edit_alone_exceeds_is_said():
    edit = torch.ones(4, 4, dtype=torch.bool)
    edit[3, 3] = False
    plan = make_plan(edit, torch.ones(4, 4), settings(levels=((4, 0.0),), budget=8, multiple=1))
    assert plan.count == 16 and "needs 16 tokens (15 in the edit), more than the budget of 8" in plan.note


def test_a_budget_is_used_up():
    """The richest plan of at most so many tokens: within a rounding of the budget, never over it."""
    generator = torch.Generator().manual_seed(3)
    detail = torch.rand(32, 32, generator=generator)
    for budget in (200, 400, 800):
        plan = make_plan(edit_at(32, 32, (16, 16)), detail, settings(levels=((4, 0.0),), budget=budget, multiple=8))
        assert 0.95 * budget <= plan.count <= budget and not plan.note
