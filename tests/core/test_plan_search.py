"""The search for a budget gives the plans of the plain way, which looks at every cell anew for every amount."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilo_core import plan as planning
from hilo_core.cells import choose_cells
from hilo_core.mask import dilate_tokens, distance_to
from hilo_core.plan import EDIT, TokenSettings, make_plan, rounded

from .test_plan import scene, sides


def plain_factors(distance, levels):
    """Cell sizes, block by block."""
    rows, columns = distance.shape
    (smallest, _), *coarser = sorted(levels)
    factors = torch.full((rows, columns), smallest)
    for factor, least in coarser:
        for y in range(0, rows, factor):
            for x in range(0, columns, factor):
                block = slice(y, y + factor), slice(x, x + factor)
                if float((distance[block] + 1).min() - 1) >= least:
                    factors[block] = factor
    return factors


def plain_choice(edit, detail, chosen, levels, amount):
    """(kept, factors, length): the cells are listed again after every token that is added."""
    core = dilate_tokens(edit, chosen.dilation, chosen.dilation_relative)
    distance = distance_to(core)
    priority = planning._priority(detail, distance, chosen.nearness).masked_fill(core, -1.0)
    order = priority.flatten().argsort(descending=True, stable=True)[: int((~core).sum())]
    kept = core.clone()
    kept.view(-1)[order[: round(amount * detail.numel())]] = True
    factors = plain_factors(distance, levels) if levels else torch.ones_like(kept, dtype=torch.long)

    def length():
        return int(kept.sum()) + sum(len(c.index) for c in (choose_cells(kept, factors) if levels else ()))

    wanted = rounded(length(), chosen.multiple)
    for _ in range(16):
        spare = order[~kept.view(-1)[order]]
        missing = wanted - length()
        if not missing or not len(spare):
            break
        kept.view(-1)[spare[:missing]] = True
    return kept, factors, length()


def plain_search(edit, detail, chosen):
    """The best choice within the budget, or that for the smallest amount."""
    extent = float(torch.tensor(edit.shape, dtype=torch.float).norm())

    def rich(amount):
        reach = amount * amount * extent
        levels = ((2, 0.0), (4, reach / 2), (8, reach * 2)) if chosen.levels else ()
        return plain_choice(edit, detail, chosen, levels, amount**3)

    low, high, best = 0.0, 1.0, rich(0.0)
    if best[2] <= chosen.budget:
        for _ in range(12):
            middle = (low + high) / 2
            found = rich(middle)
            if found[2] <= chosen.budget:
                low, best = middle, found
            else:
                high = middle
    return best


@settings(deadline=None, max_examples=60)
@given(
    sides,
    st.integers(0, 10**6),
    st.sampled_from([1, 40, 120, 300, 900]),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([1, 8, 32]),
    st.booleans(),
    st.booleans(),
)
def test_same_plans_as_the_plain_way(size, seed, budget, dilation, nearness, multiple, coarse, native):
    edit, detail = scene(*size, seed)
    levels = ((4, 0.0),) if coarse else ()
    chosen = TokenSettings(
        budget=budget, dilation=dilation, nearness=nearness, multiple=multiple, levels=levels, native=native
    )
    kept, factors, length = plain_search(edit, detail, chosen)
    plan = make_plan(edit, detail, chosen)
    assert plan.count == length
    own = plan.kept[plan.kind != planning.NATIVE]
    assert torch.equal(own, kept.flatten().nonzero()[:, 0])
    if coarse and not native:
        expected = choose_cells(kept, factors)
        assert [c.factor for c in plan.cells] == [c.factor for c in expected]
        for mine, theirs in zip(plan.cells, expected, strict=True):
            assert torch.equal(mine.index, theirs.index) and torch.equal(mine.mass, theirs.mass)


@pytest.mark.parametrize("levels", [(), ((4, 0.0),), ((2, 0.0), (4, 3.0)), ((2, 0.0), (4, 3.0), (8, 9.0))])
@settings(deadline=None, max_examples=25)
@given(size=sides, seed=st.integers(0, 10**6), amount=st.sampled_from([0.0, 0.05, 0.4]))
def test_same_plans_without_a_budget(levels, size, seed, amount):
    edit, detail = scene(*size, seed)
    chosen = TokenSettings(rule="ratio", amount=amount, levels=levels)
    kept, factors, length = plain_choice(edit, detail, chosen, levels, amount)
    plan = make_plan(edit, detail, chosen)
    assert plan.count == length and torch.equal(plan.kept, kept.flatten().nonzero()[:, 0])
    expected = choose_cells(kept, factors) if levels else ()
    assert [(c.factor, c.index.tolist()) for c in plan.cells] == [(c.factor, c.index.tolist()) for c in expected]


def test_the_search_measures_the_picture_once(monkeypatch):
    """What does not depend on the amount is computed once: distances, order, cells."""
    calls = {"distance_to": 0, "cell_distance": 0}
    for name in calls:
        whole = getattr(planning, name)

        def counted(*given, name=name, whole=whole):
            calls[name] += 1
            return whole(*given)

        monkeypatch.setattr(planning, name, counted)
    edit, detail = scene(64, 64, 3)
    plan = make_plan(edit, detail, replace(TokenSettings(), budget=900))
    assert plan.count <= 900 and int((plan.kind == EDIT).sum()) >= int(edit.sum())
    assert calls == {"distance_to": 1, "cell_distance": 3}
