"""Properties of every plan: nothing that may change is lost, mass is conserved, indices are sound."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hilo_core.cost import ModelShape
from hilo_core.errors import HiLoError
from hilo_core.frequency import SCORES, detail
from hilo_core.grid import TokenGrid, to_tokens
from hilo_core.mask import check_mask, clean_mask, dilate_tokens, distance_to, mask_to_tokens
from hilo_core.plan import EDIT, NATIVE, RULES, TokenSettings, make_plan, rounded
from hilo_core.presets import LEVELS, PRESETS, preset
from hilo_core.render import describe, kind_map, token_map
from hilo_core.strip import average_tokens, compress, gather, restore

sides = st.tuples(st.integers(1, 40), st.integers(1, 40))
token_settings = st.builds(
    TokenSettings,
    dilation=st.sampled_from([0.0, 1.0, 2.0, 3.5]),
    dilation_relative=st.booleans(),
    score=st.sampled_from(SCORES),
    rule=st.sampled_from(RULES),
    amount=st.floats(0, 1),
    max_high=st.floats(0, 1),
    nearness=st.floats(0, 1),
    levels=st.sampled_from(list(LEVELS.values())),
    native=st.booleans(),
    budget=st.sampled_from([0, 1, 50, 300]),
    multiple=st.sampled_from([1, 8, 32]),
)


def scene(rows: int, columns: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(edit, detail) of a random box and random detail."""
    generator = torch.Generator().manual_seed(seed)
    edit = torch.zeros(rows, columns, dtype=torch.bool)
    top, left = (int(torch.randint(n, (1,), generator=generator)) for n in (rows, columns))
    edit[top : top + 1 + rows // 5, left : left + 1 + columns // 5] = True
    return edit, torch.rand(rows, columns, generator=generator)


@settings(deadline=None, max_examples=200)
@given(sides, token_settings, st.integers(0, 10**6))
def test_every_plan(size, chosen, seed):
    edit, found = scene(*size, seed)
    plan = make_plan(edit, found, chosen)
    total = size[0] * size[1]
    kept = plan.kept
    assert len(kept.unique()) == len(kept), "no token twice"
    assert len(kept) == 0 or (int(kept.min()) >= 0 and int(kept.max()) < total)
    own = kept[plan.kind != NATIVE]
    assert bool((own[1:] > own[:-1]).all()) and bool((plan.kind[: len(own)] != NATIVE).all()), "cells come last"
    if plan.cells or NATIVE in plan.kind or plan.complete:
        assert torch.equal(plan.owner.bincount(minlength=plan.count).float(), plan.mass), "each token has its owner"
    assert torch.equal(plan.owner[kept], torch.arange(len(kept)))
    assert bool(torch.isin(edit.flatten().nonzero()[:, 0], kept[plan.kind == EDIT]).all()), (
        "no token of the edit is lost"
    )
    assert plan.count == len(kept) + sum(len(c.index) for c in plan.cells) <= total
    assert bool((plan.mass >= 1).all())
    if chosen.levels:
        assert plan.mass.sum().item() == total, "mass is conserved"
    again = make_plan(edit, found, chosen)
    assert torch.equal(plan.kept, again.kept) and torch.equal(plan.mass, again.mass)
    if chosen.budget and not plan.note:
        assert plan.count <= chosen.budget or plan.count - chosen.budget < chosen.multiple
    kinds, names = kind_map(plan)
    drawn = {name: int((kinds == i).sum()) for i, name in enumerate(names)}
    assert drawn["edit"] == int((plan.kind == EDIT).sum())
    if chosen.levels and not chosen.native:
        assert drawn["dropped"] == 0
    assert str(plan.count) in describe(plan, ModelShape())


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(1, 5), token_settings, st.integers(0, 10**6))
@example(5, 4, TokenSettings(dilation=0.0, nearness=1.0, levels=LEVELS["pyramid"], budget=300), 1333)
def test_flip(rows, columns, chosen, seed):
    """On grids that whole cells tile, a mirrored scene gives the mirrored plan."""
    chosen = replace(chosen, native=False, multiple=1, dilation_relative=False)
    edit, found = scene(rows * 8, columns * 8, seed)
    plan, mirrored = make_plan(edit, found, chosen), make_plan(edit.flip(1), found.flip(1), chosen)
    assert plan.counts() == mirrored.counts()
    map_a, _ = kind_map(plan)
    map_b, _ = kind_map(mirrored)
    assert torch.equal(map_a, map_b.flip(1))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 2), st.integers(0, 10**6))
def test_restore_compress(height, width, patch, seed):
    torch.manual_seed(seed)
    grid = TokenGrid(height, width, patch)
    latent, background = torch.randn(2, 3, height, width), torch.randn(2, 3, height, width)
    everything = make_plan(
        torch.ones(grid.height, grid.width, dtype=torch.bool), torch.rand(grid.height, grid.width), TokenSettings()
    )
    assert everything.complete
    known = torch.ones(height, width, dtype=torch.bool)
    strip = compress(latent, average_tokens(latent, known, grid, everything), grid, everything)
    assert torch.equal(restore(strip, background, grid, everything), latent)
    edit, found = scene(grid.height, grid.width, seed)
    some = make_plan(edit, found, replace(preset("balanced").tokens, multiple=1))
    low = average_tokens(latent, known, grid, some)
    strip = compress(latent, low, grid, some)
    assert strip.shape == (2, 3, patch, patch * some.count)
    indicator = torch.zeros(grid.count, dtype=torch.bool)
    indicator[some.kept] = True
    kept = grid.pixels(indicator.reshape(grid.height, grid.width))
    assert torch.equal(restore(strip, background, grid, some), torch.where(kept, latent, background))
    tokens = strip.reshape(2, 3, patch, -1, patch).permute(0, 3, 1, 2, 4)
    assert torch.equal(tokens[:, : len(some.kept)], to_tokens(latent, grid)[:, some.kept])


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 20), st.integers(0, 10**6))
def test_no_denoisable_pixel_is_lost(height, width, size, seed):
    torch.manual_seed(seed)
    mask = (torch.rand(2, height, width) > 0.999).float() * torch.rand(2, height, width)
    rows, columns = -(-height // size), -(-width // size)
    y, x = (mask > 0).any(0).nonzero().T
    assert mask_to_tokens(mask, rows, columns, size)[y // size, x // size].all()
    spread = mask_to_tokens(mask, rows, columns)
    assert spread[y * rows // height, x * columns // width].all()
    assert bool(spread.any()) == bool(mask.any())


@pytest.mark.parametrize(("rows", "columns"), [(300, 500), (1, 500), (300, 1)])
def test_large_and_thin_grids(rows, columns):
    edit, found = scene(rows, columns, 0)
    plan = make_plan(edit, found, preset("balanced").tokens)
    assert plan.mass.sum().item() == rows * columns


def test_dilation_is_euclidean():
    tokens = torch.zeros(21, 21, dtype=torch.bool)
    tokens[10, 10] = True
    y, x = torch.meshgrid(torch.arange(21), torch.arange(21), indexing="ij")
    for radius in (1.0, 2.0, 2.5, 4.0):
        assert torch.equal(dilate_tokens(tokens, radius), (y - 10) ** 2 + (x - 10) ** 2 <= radius**2 + 1e-3)
    assert torch.isinf(distance_to(torch.zeros(3, 3, dtype=torch.bool))).all()


def test_relative_dilation_follows_each_edit():
    tokens = torch.zeros(60, 60, dtype=torch.bool)
    tokens[5:7, 5:7] = True  # equivalent radius 1.1
    tokens[25:45, 25:45] = True  # equivalent radius 11.3
    grown = dilate_tokens(tokens, 0.5, relative=True)
    assert not grown[6, 9] and grown[6, 7]
    assert grown[35, 20] and not grown[35, 17]


def test_mask_hygiene():
    mask = torch.zeros(1, 40, 40)
    mask[0, 5:20, 5:20] = 0.97
    mask[0, 10:12, 10:12] = 0
    mask[0, 5:20, 20] = 0.5
    mask[0, 30, 30] = 1
    mask[0, 35:, :] = 0.02
    clean = clean_mask(mask, drop_specks=4)
    assert clean[0, 10, 10] == 1 and clean[0, 6, 6] == 1, "holes filled, near-white is white"
    assert clean[0, 6, 20] == 0.5, "the feather stays"
    assert clean[0, 30, 30] == 0 and clean[0, 36, 3] == 0, "specks and near-black go"


@pytest.mark.parametrize("mask", [torch.zeros(0, 3, 3), torch.full((1, 4, 4), float("nan")), torch.zeros(1, 2, 3, 5)])
def test_bad_masks(mask):
    with pytest.raises(HiLoError):
        check_mask(mask)


def test_bad_settings():
    edit, found = scene(8, 8, 0)
    with pytest.raises(HiLoError, match="rule"):
        make_plan(edit, found, TokenSettings(rule="best"))
    with pytest.raises(HiLoError, match="tokens"):
        make_plan(edit, found[:4], TokenSettings())
    with pytest.raises(HiLoError, match="score"):
        detail(torch.rand(1, 3, 8, 8), 2, 2, "fourier")
    with pytest.raises(HiLoError, match="NaN"):
        detail(torch.full((1, 3, 8, 8), float("nan")), 2, 2)
    with pytest.raises(HiLoError, match="preset"):
        preset("best")
    with pytest.raises(HiLoError, match="no token"):
        TokenGrid(0, 4, 2)


def test_budget_that_the_edit_exceeds_is_said():
    edit = torch.ones(20, 20, dtype=torch.bool)
    plan = make_plan(edit, torch.rand(20, 20), TokenSettings(budget=10))
    assert plan.complete and "budget of 10" in plan.note


def test_few_lengths_of_strips():
    """None shorter than asked for, none much longer, 8 for a doubling."""
    for multiple in (8, 32, 40):
        lengths = [rounded(count, multiple) for count in range(1, 6000)]
        assert all(0 <= length - count < multiple for count, length in enumerate(lengths, 1) if count <= 16 * multiple)
        assert all(n <= length <= 1.125 * n for n, length in enumerate(lengths, 1) if n > 8 * multiple)
        assert len({n for n in lengths if 16 * multiple < n <= 32 * multiple}) == 8
        assert all(n % multiple == 0 for n in lengths) and lengths == sorted(lengths)
    assert [rounded(count, 1) for count in (1, 17, 1000)] == [1, 17, 1000]


def test_energy_adapts_to_the_picture():
    edit = torch.zeros(40, 40, dtype=torch.bool)
    edit[:4, :4] = True
    settings_ = TokenSettings(rule="energy", amount=0.5, max_high=1.0, nearness=0.0, multiple=1, levels=LEVELS["4x4"])
    few, many = torch.full((40, 40), 0.01), torch.rand(40, 40) + 1
    few[20, 10:20] = 5
    assert (
        make_plan(edit, few, settings_).counts().get("high", 0)
        <= 10
        < make_plan(edit, many, settings_).counts()["high"]
    )


@pytest.mark.parametrize("name", PRESETS)
def test_token_map_is_a_picture(name):
    edit, found = scene(10, 14, 3)
    plan = make_plan(edit, found, PRESETS[name].tokens)
    picture = token_map(torch.rand(157, 221, 3), plan)
    assert picture.shape == (157, 221, 3) and picture.min() >= 0 and picture.max() <= 1


def test_gather_gives_cell_centres():
    edit = torch.zeros(8, 8, dtype=torch.bool)
    edit[0, 0] = True
    plan = make_plan(edit, torch.rand(8, 8), TokenSettings(dilation=0, max_high=0, multiple=1, levels=LEVELS["4x4"]))
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    ids = torch.stack([y.flatten(), x.flatten()], -1)[None]
    assert gather(ids, plan)[0].tolist() == [[0, 0], [1.5, 1.5], [1.5, 5.5], [5.5, 1.5], [5.5, 5.5]]
    assert plan.mass.tolist() == [1, 15, 16, 16, 16]
    assert math.isclose(plan.mass.sum().item(), 64)
