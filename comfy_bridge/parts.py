"""Where the pictures of a model call lie in a sequence: its parts, and a sequence of positions taken apart.

Takes sizes in tokens and positions, gives parts in their order. It calls no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .reasons import DenseRun

TARGET, CONST, PAD = -1, -2, -3  # kinds of a part; 0, 1, ...: a reference by its number

Part = tuple[int, int]  # (kind, length in the tiny picture)
Size = tuple[int, int, int]  # frames, rows and columns of tokens


def filled(found: list[tuple[int, int, int]], length: int, pads: Callable[[int], int]) -> tuple[Part, ...] | None:
    """The parts with what lies between: pads behind the target, else tokens that no picture changes."""
    parts: list[Part] = []
    at = 0
    for start, kind, count in [*found, (length, CONST, 0)]:
        if start < at:
            return None
        gap = start - at
        if parts and parts[-1][0] == TARGET and (pad := pads(parts[-1][1])):
            if pad > gap:
                return None
            parts.append((PAD, pad))
            gap -= pad
        parts += [(CONST, gap)] if gap else []
        parts += [(kind, count)] if count else []
        at = start + count
    return tuple(parts)


def grids(ids: Tensor, sizes: Sequence[Size], pads: Callable[[int], int]) -> tuple[Part, ...]:
    """Parts of one sequence of positions (B or 1, L, axes): where they form a grid of the picture's, or of a
    reference's, size."""
    found: list[list[tuple[int, int, int]]] = [[]]  # ways to lay the pictures side by side
    for kind, size in enumerate(sizes, start=TARGET):
        count = math.prod(size)
        places = _grid_places(ids[0].double().cpu(), size)
        if places:
            found = [[*way, (p, kind, count)] for way in found for p in places if _apart(p, count, way)]
    if len(found) != 1 or (parts := filled(sorted(found[0]), ids.shape[1], pads)) is None:
        raise DenseRun("this model's positions cannot be told apart")
    return parts


def _apart(start: int, count: int, others: list[tuple[int, int, int]]) -> bool:
    return all(start + count <= other or other + length <= start for other, _, length in others)


def _grid_places(ids: Tensor, size: Size) -> list[int]:
    """Where (L, axes) holds frames x rows x columns positions with one step to the right and another, not parallel one,
    down; and in a clip one from frame to frame."""
    (frames, rows, columns), count = size, math.prod(size)
    if len(ids) < count:
        return []
    windows = ids.unfold(0, count, 1).transpose(1, 2)  # (places, tokens, axes)
    start, right, down = windows[:, 0], windows[:, 1] - windows[:, 0], windows[:, columns] - windows[:, 0]
    later = windows[:, rows * columns % count] - windows[:, 0]
    t, y, x = (n[None, :, None] for n in torch.cartesian_prod(*map(torch.arange, size)).unbind(1))
    wanted = start[:, None] + y * down[:, None] + x * right[:, None] + t * later[:, None]
    regular = (windows - wanted).abs().amax((1, 2)) < 1e-2
    lengths, dot = right.norm(dim=1) * down.norm(dim=1), (right * down).sum(1).abs()
    apart = (lengths - dot > 1e-3 * lengths) & (lengths > 0) & ((later.norm(dim=1) > 0) | (frames == 1))
    places: list[int] = (regular & apart).nonzero()[:, 0].tolist()
    return places
