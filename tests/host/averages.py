"""The reference for averaged tokens: a dense picture in which one token of each cell is its average, at its centre.

What a token of a strip stands for is found by its value: the mean of the latent over its cell, without what is being
edited, with the noise of the step at unit variance, as the model itself mixes the two (`scale_latent_inpaint`).
"""

from __future__ import annotations

import contextlib
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
    members: Tensor  # (k,) dense tokens of its cell
    value: Tensor  # (B, C, p, p)


def cells(rows: int, columns: int, factor: int) -> Iterator[Tensor]:
    """Dense token numbers of each whole cell, (factor, factor)."""
    numbers = torch.arange(rows * columns).reshape(rows, columns)
    for top in range(0, rows - factor + 1, factor):
        for left in range(0, columns - factor + 1, factor):
            yield numbers[top : top + factor, left : left + factor]


def average(value: Tensor, known: Tensor, cell: Tensor, columns: int, patch: int, noise: bool = False) -> Tensor:
    """(B, C, H, W) -> (B, C, patch, patch): a mean for each pixel of the token; of noise, a sum of unit variance.

    known: (H, W) bool, pixels that count; a square without one counts as a whole.
    """
    factor, first = cell.shape[0], int(cell[0, 0])
    y, x = first // columns * patch, first % columns * patch
    out = value.new_zeros(*value.shape[:2], patch, patch)
    for a in range(patch):
        for b in range(patch):
            top, left = y + a * factor, x + b * factor
            part = known[top : top + factor, left : left + factor]
            part = part if bool(part.any()) else torch.ones_like(part)
            pixels = value[:, :, top : top + factor, left : left + factor][..., part]
            out[:, :, a, b] = pixels.sum(-1) / pixels.shape[-1] ** (0.5 if noise else 1.0)
    return out


def find(base: Any, tokens: Tensor, kept: Tensor, mask: Tensor, dense: Any, inpaint: Any, patch: int) -> list[Average]:
    """What the tokens of a strip are that are no tokens of the picture.

    tokens: (B, n, D) of the strip. kept: (n,) their dense token, -1: none. mask: (H, W), 1 where the picture changes.
    dense: the dense call. inpaint: noise and source of the run. An empty list if one of them is nothing known.
    """
    rows, columns = dense.x.shape[-2] // patch, dense.x.shape[-1] // patch
    touched = torch.nn.functional.max_pool2d(mask[None, None].float(), patch)[0, 0].nonzero().double()
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double()
    away = torch.cdist(grid, touched).amin(1)
    taken = torch.zeros(rows * columns, dtype=torch.bool)
    taken[kept[kept >= 0]] = True
    wanted = (kept < 0).nonzero()[:, 0].tolist()
    noise, source = (v.flatten(1, v.ndim - 3) if v.ndim == 5 else v for v in inpaint)
    for radius in RADII:
        edited = (away <= radius) & taken
        pixels = edited.reshape(rows, columns).repeat_interleave(patch, 0).repeat_interleave(patch, 1)
        found = []
        for factor in FACTORS:
            for cell in cells(rows, columns, factor):
                left = cell.flatten()[~taken[cell.flatten()]]
                clean = average(source, ~pixels, cell, columns, patch)
                noisy = average(noise, torch.ones_like(pixels), cell, columns, patch, noise=True)
                value = base.scale_latent_inpaint(sigma=dense.t, noise=noisy, latent_image=clean, x=clean)
                row = value.flatten(1)[:, None]
                same = [i for i in wanted if bool((tokens[:, i : i + 1] - row).abs().max() < 1e-4)]
                if same and len(left):
                    found.append(Average(same[0], int(left[0]), cell.flatten(), value))
        if sorted(a.at for a in found) == wanted:
            return found
    return []


def put(latent: Tensor, averages: list[Average], patch: int) -> Tensor:
    """The picture with each average in its holder's place."""
    out, columns = latent.clone(), latent.shape[-1] // patch
    for a in averages:
        y, x = a.holder // columns * patch, a.holder % columns * patch
        block = a.value[:, :, None] if latent.ndim == 5 else a.value
        out[..., y : y + patch, x : x + patch] = block
    return out


@contextlib.contextmanager
def moved(network: Any, averages: list[Average], rows: int, columns: int) -> Iterator[list[str]]:
    """While open, holders are at the centres of their cells, whatever computes positions: a module that is asked for
    a grid of them, or a method that gives a table. Gives the names of those that were moved."""
    found: list[str] = []
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double()

    def place(table: Tensor, first: int) -> Tensor:
        changed = table.clone()
        for a in averages:
            changed[:, first + a.holder] = table[:, first + a.members.to(table.device)].mean(1)
        return changed

    def start(ids: Tensor) -> int | None:
        """Where the picture's grid begins, in two axes side by side."""
        for axis in range(ids.shape[-1] - 1):
            for first in range(ids.shape[1] - len(grid) + 1):
                part = ids[0, first : first + len(grid), axis : axis + 2].double()
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
            return (place(ids.float(), first), *args[1:])

        return move

    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in network.named_modules()]
    method = next((name for name in TABLES if hasattr(network, name)), None)
    made: Any = getattr(network, method) if method else None

    def table(*args: Any, **kw: Any) -> Tensor:
        found.append(str(method))
        rows = made(*args, **kw)
        return place(rows, 0) if rows.ndim > 2 else place(rows[None].float(), 0)[0]

    try:
        with patched_attribute.object(network, method, table) if method else contextlib.nullcontext():
            yield found
    finally:
        for each in hooks:
            each.remove()
