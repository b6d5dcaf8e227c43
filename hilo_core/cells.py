"""Low-frequency tokens: which square of the token grid each one represents, and its average.

Takes boolean grids and cell sizes, gives indices and masses: a cell is a square of 2x2, 4x4 or 8x8 tokens, and holds
those of its tokens that are not kept. It knows nothing of why a token is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

QUARTERS = ((-1, -1), (1, 1), (-1, 1), (1, -1))  # of a cell, (down, across) from its centre, diagonally opposite first

Levels = tuple[tuple[int, float], ...]  # (tokens per side of a cell, least distance to the edit in tokens)


@dataclass(frozen=True)
class Cells:
    """The cells of one size that hold at least one dropped token."""

    factor: int  # tokens per side
    index: Tensor  # (k,) long: row-major index in the grid of cells, sorted
    mass: Tensor  # (k,) float: dropped tokens in the cell


def cell_grid(rows: int, columns: int, factor: int) -> tuple[int, int]:
    """Rows and columns of cells that cover the token grid; the last ones may reach over its edge."""
    return -(-rows // factor), -(-columns // factor)


def _per_cell(tokens: Tensor, factor: int) -> Tensor:
    """(rows, columns) -> (cell rows, cell columns, factor * factor), padded with zeros."""
    rows, columns = tokens.shape
    down, across = cell_grid(rows, columns, factor)
    padded = F.pad(tokens, (0, across * factor - columns, 0, down * factor - rows))
    return padded.reshape(down, factor, across, factor).permute(0, 2, 1, 3).reshape(down, across, -1)


def _spread(cells: Tensor, factor: int, rows: int, columns: int) -> Tensor:
    """The value of its cell for each token: (cell rows, cell columns) -> (rows, columns)."""
    return cells.repeat_interleave(factor, 0).repeat_interleave(factor, 1)[:rows, :columns]


def cell_distance(distance: Tensor, factor: int) -> Tensor:
    """The least distance in its cell for each token: (rows, columns) -> the same."""
    rows, columns = distance.shape
    nearest = _per_cell(distance + 1, factor)  # zero marks the padding
    nearest = torch.where(nearest == 0, torch.inf, nearest).amin(-1) - 1
    return _spread(nearest, factor, rows, columns)


def choose_cells(kept: Tensor, factors: Tensor) -> tuple[Cells, ...]:
    """The cells that stand for the tokens which are not kept; both arguments (rows, columns)."""
    chosen = []
    for factor in sorted(set(factors.flatten().tolist())):
        dropped = _per_cell((~kept & (factors == factor)).float(), factor).sum(-1).flatten()
        index = dropped.nonzero()[:, 0]
        if len(index):
            chosen.append(Cells(factor, index, dropped[index]))
    return tuple(chosen)


def cell_numbers(kept: Tensor, cells: tuple[Cells, ...], factors: Tensor) -> Tensor:
    """For each token the number of the cell that stands for it, counted through all sizes: (rows, columns) -> (N,)
    long, -1 for kept tokens."""
    rows, columns = kept.shape
    numbers, start = torch.full((rows, columns), -1), 0
    for one in cells:
        down, across = cell_grid(rows, columns, one.factor)
        of_cell = torch.full((down * across,), -1)
        of_cell[one.index] = torch.arange(start, start + len(one.index))
        spread = _spread(of_cell.reshape(down, across), one.factor, rows, columns)
        numbers = torch.where(~kept & (factors == one.factor), spread, numbers)
        start += len(one.index)
    return numbers.flatten()


def real_tokens(kept: Tensor, factors: Tensor, turns: int = 4) -> list[Tensor]:
    """Instead of averages: one real token for each cell, in turn the dropped one nearest to the centre of each quarter.

    A model that meets another token of each cell in each step sees more of the picture than any one step could show it
    (`lab/REPORT.md`). turns: 1 to 4. Returns, for each turn, the token's index in the dense grid, (k,), in the order of
    the cells (`choose_cells`): a cell has the same place in the strip in every turn.
    """
    rows, columns = kept.shape
    numbers = torch.arange(rows * columns).reshape(rows, columns)
    found: list[list[Tensor]] = [[numbers.new_zeros(0)] for _ in QUARTERS[:turns]]
    for cells in choose_cells(kept, factors):
        f = cells.factor
        steps = torch.arange(f) - (f - 1) / 2
        usable = _per_cell((~kept & (factors == f)).float(), f).reshape(-1, f * f)[cells.index] > 0
        members = _per_cell(numbers, f).reshape(-1, f * f)[cells.index]
        inward = 0.01 * (steps[:, None].square() + steps.square())  # of equals, the one nearest to the cell's centre
        for turn, (down, across) in enumerate(QUARTERS[:turns]):
            away = (steps[:, None] - down * f / 4).square() + (steps - across * f / 4).square() + inward
            best = torch.where(usable, away.flatten(), torch.inf).argmin(-1)
            found[turn].append(members.gather(1, best[:, None])[:, 0])
    return [torch.cat(parts) for parts in found]


def pool_tokens(tokens: Tensor, rows: int, columns: int, factor: int) -> Tensor:
    """Mean over each cell of a value that every token has: (B, N, D) -> (B, cells, D). Exact at the border.

    For positions this is the centre of the cell, in the model's own coordinates.
    """
    b, _, d = tokens.shape
    full = tokens.reshape(b, rows, columns, d).permute(0, 3, 1, 2)
    pooled = F.avg_pool2d(full, factor, ceil_mode=True, count_include_pad=False)
    return pooled.flatten(2).transpose(1, 2)


def pool_latent(latent: Tensor, known: Tensor, factor: int, noise: bool = False) -> Tensor:
    """Downsample a latent by `factor`: (B, C, H, W) -> (B, C, ceil(H / f), ceil(W / f)).

    known: (H, W) bool, latent pixels that count (what is being edited must not leak into its surroundings); where a
    square has none, all of it counts. noise: sum / sqrt(count) instead of the mean, so that white noise keeps unit
    variance and the low-frequency token sits at the true signal-to-noise ratio of the step.
    """
    weights, divisor = pool_weights(known, factor, noise)
    return weighted_pool(latent, weights.to(latent), divisor.to(latent), factor)


def pool_weights(known: Tensor, factor: int, noise: bool = False) -> tuple[Tensor, Tensor]:
    """What `pool_latent` weighs and divides by: (1, 1, H, W) and (1, 1, ceil(H / f), ceil(W / f))."""
    weights = known.float()[None, None]
    none_known = F.max_pool2d(_pad(weights, factor), factor) == 0
    fallback = none_known.to(weights).repeat_interleave(factor, -2).repeat_interleave(factor, -1)
    weights = torch.maximum(weights, fallback[..., : known.shape[-2], : known.shape[-1]])
    count = F.avg_pool2d(_pad(weights, factor), factor, divisor_override=1).clamp_min(1e-6)
    return weights, count.sqrt() if noise else count


def weighted_pool(latent: Tensor, weights: Tensor, divisor: Tensor, factor: int) -> Tensor:
    """Weighted sum over `factor` squares, divided: (B, C, H, W) -> (B, C, ceil(H / f), ceil(W / f))."""
    return F.avg_pool2d(_pad(latent * weights, factor), factor, divisor_override=1) / divisor


def _pad(x: Tensor, factor: int) -> Tensor:
    right, bottom = -x.shape[-1] % factor, -x.shape[-2] % factor
    return F.pad(x, (0, right, 0, bottom)) if right or bottom else x
