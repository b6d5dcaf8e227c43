"""Cells of grids so small that every number can be worked out by hand."""

from __future__ import annotations

import pytest
import torch

from hilo_core.cells import (
    cell_distance,
    cell_grid,
    cell_numbers,
    choose_cells,
    pool_latent,
    pool_tokens,
    real_tokens,
    weighted_pool,
)
from hilo_core.grid import TokenGrid
from hilo_core.plan import TokenSettings, make_plan
from hilo_core.strip import StripMap, average_tokens, compress, gather, restore

NOTHING = torch.zeros(4, 6, dtype=torch.bool)  # kept, of 4 rows and 6 columns


def numbers(rows, columns):
    """Each token's own number."""
    return torch.arange(rows * columns, dtype=torch.float).reshape(rows, columns)


def test_cells_cover_the_grid():
    assert cell_grid(4, 6, 4) == (1, 2) and cell_grid(9, 8, 4) == (3, 2) and cell_grid(4, 6, 2) == (2, 3)


def test_distance_of_a_cell_is_that_of_its_nearest_token():
    """Padding beyond the grid has none, not even where a distance is 0."""
    distance = numbers(4, 6)
    assert cell_distance(distance, 4).tolist() == [[0, 0, 0, 0, 4, 4]] * 4
    assert cell_distance(distance, 2)[:, 0].tolist() == [0, 0, 12, 12]
    assert cell_distance(torch.full((3, 3), 5.0), 2).tolist() == [[5.0] * 3] * 3


def test_a_cell_holds_what_is_dropped_of_its_own_size():
    kept, factors = NOTHING.clone(), torch.full((4, 6), 2)
    kept[0, :3], factors[:, 4:] = True, 4
    two, four = choose_cells(kept, factors)
    assert (two.factor, two.index.tolist(), two.mass.tolist()) == (2, [0, 1, 3, 4], [2, 3, 4, 4])
    assert (four.factor, four.index.tolist(), four.mass.tolist()) == (4, [1], [8])
    assert cell_numbers(kept, (two, four), factors).reshape(4, 6).tolist() == [
        [-1, -1, -1, 1, 4, 4], [0, 0, 1, 1, 4, 4], [2, 2, 3, 3, 4, 4], [2, 2, 3, 3, 4, 4],
    ]  # fmt: skip
    assert choose_cells(~NOTHING, factors) == ()


def test_real_tokens_take_turns_from_quarter_to_quarter():
    """A whole cell of 4x4: the innermost token of each quarter, diagonally opposite ones first. Of 2x2: each once."""
    whole = torch.zeros(4, 4, dtype=torch.bool)
    four = real_tokens(whole, torch.full((4, 4), 4))
    assert [turn.tolist() for turn in four] == [[5], [10], [6], [9]]
    two = real_tokens(torch.zeros(2, 2, dtype=torch.bool), torch.full((2, 2), 2))
    assert [turn.tolist() for turn in two] == [[0], [3], [1], [2]]
    assert [turn.tolist() for turn in real_tokens(whole, torch.full((4, 4), 4), turns=2)] == [[5], [10]]


def test_real_tokens_are_never_kept_ones():
    """Where the innermost is kept, the next nearest; beyond the grid there is none."""
    kept = torch.zeros(4, 4, dtype=torch.bool)
    kept[1, 1] = True
    first = real_tokens(kept, torch.full((4, 4), 4))[0].item()
    assert first in (1, 4), "as near to the quarter's centre, and nearer to the cell's than 0"
    narrow = real_tokens(torch.zeros(4, 1, dtype=torch.bool), torch.full((4, 1), 4))
    assert [turn.tolist() for turn in narrow] == [[1], [2], [1], [2]]


def test_pooled_tokens_are_means_at_the_border_too():
    pooled = pool_tokens(numbers(3, 3).reshape(1, 9, 1), 3, 3, 2)
    assert pooled[0, :, 0].tolist() == [(0 + 1 + 3 + 4) / 4, (2 + 5) / 2, (6 + 7) / 2, 8]


def test_pooled_latent_leaves_out_what_is_edited():
    latent, known = numbers(3, 4)[None, None], torch.ones(3, 4, dtype=torch.bool)
    known[0, 0] = known[2, 2] = known[2, 3] = False  # one of four; both of the last square
    assert torch.allclose(pool_latent(latent, known, 2)[0, 0], torch.tensor([[(1 + 4 + 5) / 3, 4.5], [8.5, 10.5]]))
    noise = pool_latent(torch.ones(1, 1, 3, 4), known, 2, noise=True)
    assert torch.allclose(noise[0, 0], torch.tensor([[3 / 3**0.5, 2.0], [2**0.5, 2**0.5]]))


def test_weights_are_for_the_latent_alone():
    weights, divisor = torch.tensor([[0.0, 1.0], [1.0, 2.0]])[None, None], torch.tensor([[[[2.0]]]])
    assert weighted_pool(torch.full((1, 1, 2, 2), 3.0), weights, divisor, 2).item() == 6.0


@pytest.fixture
def small():
    """4x4 tokens of 2x2 latent pixels; the first is edited, cells of 2x2 as averages: (latent, grid, plan)."""
    edit = torch.zeros(4, 4, dtype=torch.bool)
    edit[0, 0] = True
    chosen = TokenSettings(dilation=0, amount=0, levels=((2, 0.0),), multiple=1)
    return numbers(8, 8).repeat(1, 2, 1, 1), TokenGrid(8, 8, 2), make_plan(edit, torch.ones(4, 4), chosen)


def test_a_strip_holds_the_edit_then_the_cells(small):
    latent, grid, plan = small
    known = torch.ones(8, 8, dtype=torch.bool)
    averages = average_tokens(latent, known, grid, plan)
    assert averages.shape == (1, 2, 2, 8)
    # a cell of 2x2 tokens is 4x4 pixels, its token the 2x2 means of it: of the first, rows and columns 0 to 3
    assert averages[0, 0, :, :2].tolist() == [[4.5, 6.5], [20.5, 22.5]]
    strip = compress(latent, averages, grid, plan)
    assert strip.shape == (1, 2, 2, 10) and strip[0, 1, :, :2].tolist() == [[0, 1], [8, 9]]
    assert torch.equal(strip[..., 2:], averages)
    assert torch.equal(StripMap(grid, plan, latent.device).compress(latent), strip)
    assert torch.equal(compress(latent, averages * 0, grid, plan)[..., 2:], averages * 0)


def test_averages_leave_out_what_is_edited(small):
    latent, grid, plan = small
    known = torch.ones(8, 8, dtype=torch.bool)
    known[:2, :2] = False  # the edited token's own pixels
    averages = average_tokens(latent, known, grid, plan)
    assert averages[0, 0, :, :2].tolist() == [[4.5, 6.5], [20.5, 22.5]], "of a square without any, all of it"
    known[0, 2] = False
    assert average_tokens(latent, known, grid, plan)[0, 0, 0, 1].item() == pytest.approx((3 + 10 + 11) / 3)
    assert torch.equal(StripMap(grid, plan, latent.device, known).compress(latent)[..., 2:],
                       average_tokens(latent, known, grid, plan))  # fmt: skip


def test_a_downsampled_picture_stands_in_where_no_edit_reaches(small):
    latent, grid, plan = small
    known = torch.ones(8, 8, dtype=torch.bool)
    known[0, 0] = False
    picture = torch.full((1, 2, 4, 4), -1.0)
    averages = average_tokens(latent, known, grid, plan, {2: picture})
    assert (averages[..., 2:] == -1).all() and (averages[..., :2] >= 0).all()
    assert (average_tokens(latent, known, grid, plan, {4: picture}) >= 0).all(), "of another factor: not asked"


def test_dropped_tokens_take_the_change_of_their_owner(small):
    """`restore` gives the latent itself for its own strip; a change of one token is that of all it represents."""
    latent, grid, plan = small
    strips = StripMap(grid, plan, latent.device)
    strip, offset = strips.compress(latent), strips.offset(latent)
    assert torch.equal(strips.restore(strip, offset), latent)
    assert not offset[..., :2, :2].any() and offset[..., 2:, :].any()
    changed = strip.clone()
    changed[..., 4:6] += 100.0  # the second cell: tokens 2, 3, 6, 7, so columns 4 to 7 of rows 0 to 3
    wanted = torch.zeros(8, 8)
    wanted[:4, 4:] = 100.0
    assert torch.equal(strips.restore(changed, offset) - latent, wanted.expand(1, 2, 8, 8))
    assert strips.kept().tolist() == [[True, True, *[False] * 6]] * 2 + [[False] * 8] * 6
    background = torch.full_like(latent, -7.0)
    put_back = restore(strip, background, grid, plan)
    assert torch.equal(put_back[..., :2, :2], latent[..., :2, :2]) and (put_back[..., 2:, :] == -7).all()


def test_gathered_values_are_own_or_the_mean(small):
    _, _, plan = small
    found = gather(numbers(4, 4).reshape(1, 16, 1), plan)[0, :, 0].tolist()
    assert found == [0, 2.5, 4.5, 10.5, 12.5]
    assert gather(numbers(4, 4).reshape(1, 16, 1).repeat(3, 1, 5), plan).shape == (3, 5, 5)


def test_a_latent_that_is_no_multiple_of_the_patch_wraps_round():
    """3x5 latent pixels are 2x3 tokens; the last row and column hold the first ones again, as the models pad."""
    latent, grid = numbers(3, 5)[None, None], TokenGrid(3, 5, 2)
    plan = make_plan(torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 3), TokenSettings(multiple=1))
    strip = StripMap(grid, plan, latent.device).compress(latent)
    assert strip[0, 0].tolist() == [
        [0, 1, 2, 3, 4, 0, 10, 11, 12, 13, 14, 10],
        [5, 6, 7, 8, 9, 5, 0, 1, 2, 3, 4, 0],
    ]
    assert torch.equal(StripMap(grid, plan, latent.device).restore(strip, torch.zeros_like(latent)), latent)
