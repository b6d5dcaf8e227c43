"""Plans whose low-frequency tokens are real ones take other tokens of the same cells in each step."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilo_core.cells import choose_cells, real_tokens
from hilo_core.plan import NATIVE, TokenSettings, make_plan


def plan_of(rows, columns, seed, native=True):
    generator = torch.Generator().manual_seed(seed)
    edit = torch.zeros(rows, columns, dtype=torch.bool)
    edit[rows // 3 : rows // 3 + 2, columns // 3 : columns // 3 + 2] = True
    chosen = TokenSettings(levels=((2, 0.0), (4, 2.0), (8, 8.0)), native=native, max_high=0.05)
    return make_plan(edit, torch.rand(rows, columns, generator=generator), chosen)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(4, 40), st.integers(0, 99))
def test_turns_are_alike_but_for_the_real_tokens(rows, columns, seed):
    plan = plan_of(rows, columns, seed)
    others = set(plan.kept[plan.kind != NATIVE].tolist())
    for turn in plan.later_turns:
        assert turn.count == plan.count and turn.counts() == plan.counts()
        assert float(turn.mass.sum()) == rows * columns
        assert set(turn.kept[turn.kind != NATIVE].tolist()) == others
        assert torch.equal(turn.kept[turn.kind != NATIVE], plan.kept[plan.kind != NATIVE])
        assert torch.equal(turn.kind, plan.kind) and torch.equal(turn.owner, plan.owner)
        assert torch.equal(turn.mass, plan.mass)
        assert torch.equal(turn.owner[turn.kept], torch.arange(turn.count))
        assert not turn.later_turns


def test_four_turns_show_the_model_all_tokens_of_2x2_cells_and_four_of_larger_ones():
    kept, factors = torch.zeros(16, 16, dtype=torch.bool), torch.full((16, 16), 2)
    factors[:8] = 8
    turns = [set(index.tolist()) for index in real_tokens(kept, factors)]
    seen = set().union(*turns)
    assert len(seen) == sum(len(turn) for turn in turns)  # no token twice
    assert {n for n in range(128, 256)} <= seen
    assert len(seen & set(range(128))) == 4 * 2


def test_a_turn_takes_only_dropped_tokens_one_for_each_cell():
    kept = torch.rand(24, 24, generator=torch.Generator().manual_seed(0)) < 0.7
    factors = torch.full((24, 24), 4)
    for index in real_tokens(kept, factors):
        assert not kept.flatten()[index].any()
        assert len(index) == sum(len(c.index) for c in choose_cells(kept, factors))


def test_averages_and_whole_pictures_have_no_turns():
    assert plan_of(16, 16, 0, native=False).later_turns == ()
    everything = make_plan(torch.ones(8, 8, dtype=torch.bool), torch.rand(8, 8), TokenSettings(native=True))
    assert everything.later_turns == () and everything.complete
