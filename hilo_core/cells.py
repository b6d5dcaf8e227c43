"""Low-frequency tokens: which square of the token grid each one represents, and its average.

Takes boolean grids and cell sizes, gives indices and masses: a cell is a square of 2x2, 4x4 or 8x8 tokens, in a clip
those of 4x4 and 8x8 of two frames, and holds those of its tokens that are not kept. It knows nothing of why a token is
kept. Grids are ((T,) rows, columns), see `grid`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .grid import grid_shape

# of a cell, (later, down, across) from its centre, diagonally opposite first
QUARTERS = ((-1, -1, -1), (1, 1, 1), (1, -1, 1), (-1, 1, -1))

Levels = tuple[tuple[int, float], ...]  # (tokens per side of a cell, least distance to the edit in tokens)


@dataclass(frozen=True)
class Cells:
    """The cells of one size that hold at least one dropped token."""

    factor: int  # tokens per side; see `cell_size`
    index: Tensor  # (k,) long: row-major index in the grid of cells, sorted
    mass: Tensor  # (k,) float: dropped tokens in the cell


def cell_size(factor: int, axes: int) -> tuple[int, ...]:
    """Tokens of a cell along each axis of a grid of 2 or 3: coarse cells of a clip hold two frames."""
    return (1 if factor < 4 else 2, factor, factor)[-axes:]


def cell_grid(rows: int, columns: int, factor: int) -> tuple[int, int]:
    """Rows and columns of cells that cover the token grid; the last ones may reach over its edge."""
    return -(-rows // factor), -(-columns // factor)


def _counts(shape: torch.Size, size: tuple[int, ...]) -> list[int]:
    """Cells along each axis that cover the grid; the last ones may reach over its edge."""
    return [-(-n // s) for n, s in zip(shape, size, strict=True)]


def _per_cell(tokens: Tensor, factor: int) -> Tensor:
    """((T,) rows, columns) -> (cells along each axis, tokens of a cell), padded with zeros."""
    size = cell_size(factor, tokens.ndim)
    counts = _counts(tokens.shape, size)
    over = [c * s - n for c, s, n in zip(counts, size, tokens.shape, strict=True)]
    padded = F.pad(tokens, [n for more in reversed(over) for n in (0, more)])
    cut = padded.reshape([n for pair in zip(counts, size, strict=True) for n in pair])
    return cut.permute(*range(0, cut.ndim, 2), *range(1, cut.ndim, 2)).reshape(*counts, -1)


def _spread(cells: Tensor, factor: int, shape: torch.Size) -> Tensor:
    """The value of its cell for each token: cells along each axis -> ((T,) rows, columns)."""
    for axis, size in enumerate(cell_size(factor, cells.ndim)):
        cells = cells.repeat_interleave(size, axis)
    return cells[tuple(slice(n) for n in shape)]


def first_tokens(shape: torch.Size, factor: int) -> Tensor:
    """For each token the number of the first one of its cell: ((T,) rows, columns) long."""
    numbers = torch.arange(shape.numel()).reshape(shape)
    return _spread(_per_cell(numbers, factor)[..., 0], factor, shape)


def cell_distance(distance: Tensor, factor: int) -> Tensor:
    """The least distance in its cell for each token: ((T,) rows, columns) -> the same."""
    nearest = _per_cell(distance + 1, factor)  # zero marks the padding
    nearest = torch.where(nearest == 0, torch.inf, nearest).amin(-1) - 1
    return _spread(nearest, factor, distance.shape)


def choose_cells(kept: Tensor, factors: Tensor) -> tuple[Cells, ...]:
    """The cells that stand for the tokens which are not kept; both arguments ((T,) rows, columns)."""
    chosen = []
    for factor in sorted(set(factors.flatten().tolist())):
        dropped = _per_cell((~kept & (factors == factor)).float(), factor).sum(-1).flatten()
        index = dropped.nonzero()[:, 0]
        if len(index):
            chosen.append(Cells(factor, index, dropped[index]))
    return tuple(chosen)


def cell_numbers(kept: Tensor, cells: tuple[Cells, ...], factors: Tensor) -> Tensor:
    """For each token the number of the cell that stands for it, counted through all sizes: ((T,) rows, columns) ->
    (N,) long, -1 for kept tokens."""
    numbers, start = torch.full(kept.shape, -1), 0
    for one in cells:
        of_cell = torch.full(_counts(kept.shape, cell_size(one.factor, kept.ndim)), -1)
        of_cell.view(-1)[one.index] = torch.arange(start, start + len(one.index))
        spread = _spread(of_cell, one.factor, kept.shape)
        numbers = torch.where(~kept & (factors == one.factor), spread, numbers)
        start += len(one.index)
    return numbers.flatten()


def real_tokens(kept: Tensor, factors: Tensor, turns: int = 4) -> list[Tensor]:
    """Instead of averages: one real token for each cell, in turn the dropped one nearest to the centre of each quarter.

    A model that meets another token of each cell in each step sees more of the picture than any one step could show it
    (`lab/REPORT.md`). turns: 1 to 4. Returns, for each turn, the token's index in the dense grid, (k,), in the order of
    the cells (`choose_cells`): a cell has the same place in the strip in every turn.
    """
    numbers = torch.arange(kept.numel()).reshape(kept.shape)
    found: list[list[Tensor]] = [[numbers.new_zeros(0)] for _ in QUARTERS[:turns]]
    for cells in choose_cells(kept, factors):
        f = cells.factor
        steps = torch.arange(f) - (f - 1) / 2
        usable = _per_cell((~kept & (factors == f)).float(), f).flatten(0, -2)[cells.index] > 0
        members = _per_cell(numbers, f).flatten(0, -2)[cells.index]
        inward = 0.01 * (steps[:, None].square() + steps.square())  # of equals, the one nearest to the cell's centre
        frames = torch.arange(usable.shape[1] // (f * f))
        for turn, (later, down, across) in enumerate(QUARTERS[:turns]):
            away = (steps[:, None] - down * f / 4).square() + (steps - across * f / 4).square() + inward
            other = frames != (later > 0) * (len(frames) - 1)
            away = away + other[:, None, None]  # a token of the other frame is as far as the next one in space
            best = torch.where(usable, away.flatten(), torch.inf).argmin(-1)
            found[turn].append(members.gather(1, best[:, None])[:, 0])
    return [torch.cat(parts) for parts in found]


def pool_tokens(tokens: Tensor, rows: int, columns: int, factor: int, frames: int = 1) -> Tensor:
    """Mean over each cell of a value that every token has: (B, N, D) -> (B, cells, D). Exact at the border.

    For positions this is the centre of the cell, in the model's own coordinates.
    """
    full = tokens.transpose(1, 2).unflatten(2, grid_shape(frames, rows, columns))
    size = cell_size(factor, full.ndim - 2)
    return _pool(full)(full, size, ceil_mode=True, count_include_pad=False).flatten(2).transpose(1, 2)


def pool_latent(latent: Tensor, known: Tensor, factor: int, noise: bool = False) -> Tensor:
    """Downsample a latent by `factor`: (B, C, (T,) H, W) -> (B, C, (T / 2,) ceil(H / f), ceil(W / f)).

    known: ((T,) H, W) bool, latent pixels that count (what is being edited must not leak into its surroundings); where
    a square has none, all of it counts. noise: sum / sqrt(count) instead of the mean, so that white noise keeps unit
    variance and the low-frequency token sits at the true signal-to-noise ratio of the step.
    """
    weights, divisor = pool_weights(known, factor, noise)
    return weighted_pool(latent, weights.to(latent), divisor.to(latent), factor)


def pool_weights(known: Tensor, factor: int, noise: bool = False) -> tuple[Tensor, Tensor]:
    """What `pool_latent` weighs and divides by: (1, 1, (T,) H, W) and (1, 1, (T / 2,) ceil(H / f), ceil(W / f))."""
    weights, size = known.float()[None, None], cell_size(factor, known.ndim)
    none_known = (_per_cell(known.float(), factor).amax(-1) == 0).to(weights)
    weights = torch.maximum(weights, _spread(none_known, factor, known.shape))
    count = _pool(weights)(_pad(weights, factor), size, divisor_override=1).clamp_min(1e-6)
    return weights, count.sqrt() if noise else count


def weighted_pool(latent: Tensor, weights: Tensor, divisor: Tensor, factor: int) -> Tensor:
    """Weighted sum over `factor` squares, divided: (B, C, (T,) H, W) -> (B, C, (T / 2,) ceil(H / f), ceil(W / f))."""
    size = cell_size(factor, latent.ndim - 2)
    return _pool(latent)(_pad(latent * weights, factor), size, divisor_override=1) / divisor


def _pool(latent: Tensor) -> Callable[..., Tensor]:
    return F.avg_pool3d if latent.ndim == 5 else F.avg_pool2d


def _pad(x: Tensor, factor: int) -> Tensor:
    over = [-n % s for n, s in zip(x.shape[2:], cell_size(factor, x.ndim - 2), strict=True)]
    return F.pad(x, [n for more in reversed(over) for n in (0, more)]) if any(over) else x
