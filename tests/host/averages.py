"""The reference for averaged tokens: a dense picture in which one token of each cell is its average, at its centre.

What a token of a strip stands for is found by its value: the mean of the latent over its cell, without what is being
edited, with the noise of the step at unit variance, as the model itself mixes the two (`scale_latent_inpaint`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch as patched_attribute

import torch
from torch import Tensor

FACTORS = (2, 4, 8)  # tokens per side of a cell
TABLES = ("cropped_pos_embed", "_image_position_ids")  # methods that give a table of positions
RADII = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)  # tokens from the mask that may belong to the edit


@dataclass(frozen=True)
class Average:
    """One averaged token."""

    at: int  # in the strip
    holder: int  # the dense token that takes its place: one that was dropped
    cell: Tensor  # (1 or 2, factor, factor) its dense tokens
    value: Tensor  # (B, C, p, p)
    known: Tensor  # (T, H, W) bool, pixels that count for what lies on the picture's grid


def cells(numbers: Tensor, factor: int) -> Iterator[Tensor]:
    """Dense token numbers of each whole cell, (1 or 2, factor, factor): in a clip, cells of 4 and more hold two frames.

    numbers: (T, rows, columns) of the dense tokens.
    """
    frames, rows, columns = numbers.shape
    depth = 2 if frames > 1 and factor > 2 else 1
    for first in range(0, frames - depth + 1, depth):
        for top in range(0, rows - factor + 1, factor):
            for left in range(0, columns - factor + 1, factor):
                yield numbers[first : first + depth, top : top + factor, left : left + factor]


def place(token: int, grid: tuple[int, int, int], patch: int) -> tuple[int, int, int]:
    """Frame, and top and left latent pixel of a dense token. grid: frames, rows and columns."""
    frame, inside = divmod(token, grid[1] * grid[2])
    return frame, inside // grid[2] * patch, inside % grid[2] * patch


def average(
    value: Tensor, known: Tensor, cell: Tensor, grid: tuple[int, int, int], patch: int, noise: bool = False
) -> Tensor:
    """(B, C, T, H, W) -> (B, C, patch, patch): a mean for each pixel of the token; of noise, a sum of unit variance.

    known: (T, H, W) bool, pixels that count; a square without one counts as a whole.
    """
    factor, (frame, y, x) = cell.shape[1], place(int(cell[0, 0, 0]), grid, patch)
    frames = slice(frame, frame + cell.shape[0])
    out = value.new_zeros(*value.shape[:2], patch, patch)
    for a in range(patch):
        for b in range(patch):
            top, left = y + a * factor, x + b * factor
            part = known[frames, top : top + factor, left : left + factor]
            part = part if bool(part.any()) else torch.ones_like(part)
            pixels = value[:, :, frames, top : top + factor, left : left + factor][..., part]
            out[:, :, a, b] = pixels.sum(-1) / pixels.shape[-1] ** (0.5 if noise else 1.0)
    return out


def away_from(mask: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """How far each token is, in tokens, from those with a painted pixel: of its own frame; of the frames beside it too.

    mask: (T, H, W) -> 2 x (T * rows * columns,).
    """
    touched = torch.nn.functional.max_pool2d(mask[:, None].float(), patch)[:, 0]
    grid = torch.cartesian_prod(*(torch.arange(n) for n in touched.shape[1:])).double()
    far = torch.full((1, len(grid)), math.inf).double()
    found = [torch.cdist(grid, t.nonzero().double()).amin(1) if bool(t.any()) else far[0] for t in touched]
    own = torch.stack(found)
    beside = torch.minimum(torch.cat([own[1:], far]), torch.cat([far, own[:-1]]))
    return own.flatten(), torch.minimum(own, beside).flatten()


def grid_of(latent: Tensor, patch: int) -> tuple[int, int, int]:
    """Frames, rows and columns of tokens."""
    return latent.shape[2] if latent.ndim == 5 else 1, latent.shape[-2] // patch, latent.shape[-1] // patch


def find(base: Any, tokens: Tensor, kept: Tensor, mask: Tensor, dense: Any, inpaint: Any, patch: int) -> list[Average]:
    """What the tokens of a strip are that are no tokens of the picture.

    tokens: (B, n, D) of the strip. kept: (n,) their dense token, -1: none. mask: ([T,] H, W), 1 where the picture
    changes. dense: the dense call. inpaint: noise and source of the run. An empty list if one of them is nothing known.
    """
    grid = grid_of(dense.x, patch)
    own, near = away_from(mask.reshape(-1, *mask.shape[-2:]), patch)
    numbers = torch.arange(math.prod(grid)).reshape(grid)
    taken = torch.zeros(numbers.numel(), dtype=torch.bool)
    taken[kept[kept >= 0]] = True
    wanted = (kept < 0).nonzero()[:, 0].tolist()
    noise, source = (v if v.ndim == 5 else v[:, :, None] for v in inpaint)
    for radius in RADII:
        edited = ((near if radius else own) <= radius) & taken
        pixels = edited.reshape(grid).repeat_interleave(patch, 1).repeat_interleave(patch, 2)
        found = []
        for factor in FACTORS:
            for cell in cells(numbers, factor):
                left = cell.flatten()[~taken[cell.flatten()]]
                clean = average(source, ~pixels, cell, grid, patch)
                noisy = average(noise, torch.ones_like(pixels), cell, grid, patch, noise=True)
                value = base.scale_latent_inpaint(sigma=dense.t, noise=noisy, latent_image=clean, x=clean)
                row = value.flatten(1)[:, None]
                same = [i for i in wanted if bool((tokens[:, i : i + 1] - row).abs().max() < 1e-4)]
                if same and len(left):
                    found.append(Average(same[0], int(left[0]), cell, value, ~pixels))
        if sorted(a.at for a in found) == wanted:
            return found
    return []


def put(latent: Tensor, averages: list[Average], patch: int) -> Tensor:
    """The picture with each average in its holder's place."""
    out = latent.clone()
    for a in averages:
        frame, y, x = place(a.holder, grid_of(latent, patch), patch)
        _frames(out, latent)[:, :, frame, y : y + patch, x : x + patch] = a.value
    return out


def put_beside(value: Tensor, averages: list[Average], like: Tensor, patch: int) -> Tensor:
    """The same for whatever else lies on the picture's grid, one value or several: the mean over the cell."""
    axes = like.ndim - 2
    if value.ndim < like.ndim or value.shape[-axes:] != like.shape[-axes:]:
        return value
    out, grid = value.clone(), grid_of(like, patch)
    for a in averages:
        frame, y, x = place(a.holder, grid, patch)
        mean = average(_frames(value, like), a.known, a.cell, grid, patch)
        _frames(out, like)[:, :, frame, y : y + patch, x : x + patch] = mean
    return out


def _frames(value: Tensor, like: Tensor) -> Tensor:
    """A view, (B, C, T, H, W), of one value or several that lie on a latent's grid."""
    pictures = value.reshape(-1, *value.shape[1 - like.ndim :])
    return pictures if like.ndim == 5 else pictures[:, :, None]


@contextlib.contextmanager
def moved(network: Any, averages: list[Average], size: tuple[int, int, int]) -> Iterator[list[str]]:
    """While open, holders are at the centres of their cells, whatever computes positions: a module that is asked for
    a grid of them, or a method that gives a table. Gives the names of those that were moved. size: of the grid."""
    found: list[str] = []
    grid = torch.cartesian_prod(*(torch.arange(n) for n in (size if size[0] > 1 else size[1:]))).double()

    def centred(table: Tensor, first: int) -> Tensor:
        changed = table.clone()
        for a in averages:
            changed[:, first + a.holder] = table[:, first + a.cell.flatten().to(table.device)].mean(1)
        return changed

    def start(ids: Tensor) -> int | None:
        """Where the picture's grid begins, in two axes side by side, or three."""
        for axis in range(ids.shape[-1] - grid.shape[1] + 1):
            for first in range(ids.shape[1] - len(grid) + 1):
                part = ids[0, first : first + len(grid), axis : axis + grid.shape[1]].double()
                if torch.equal(part - part[0], grid.to(part)):
                    return first
        return None

    def hook(name: str) -> Any:
        def move(module: Any, args: Any) -> Any:
            ids = args[0] if args else None
            if not isinstance(ids, Tensor) or ids.ndim != 3 or not 2 <= ids.shape[-1] <= 4:
                return None
            first = start(ids)
            if first is None:
                return None
            found.append(name)
            return (centred(ids.float(), first), *args[1:])

        return move

    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in network.named_modules()]
    method = next((name for name in TABLES if hasattr(network, name)), None)
    made: Any = getattr(network, method) if method else None

    def table(*args: Any, **kw: Any) -> Tensor:
        found.append(str(method))
        rows = made(*args, **kw)
        return centred(rows, 0) if rows.ndim > 2 else centred(rows[None].float(), 0)[0]

    try:
        with patched_attribute.object(network, method, table) if method else contextlib.nullcontext():
            yield found
    finally:
        for each in hooks:
            each.remove()
