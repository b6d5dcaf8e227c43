"""Resampling of pictures by a windowed sinc, any part of the result by itself.

A part is exactly what the whole resampled picture holds there, so that only the box around an edit needs computing.
Pixels are squares: the first one's centre lies half a pixel from the border, in either size.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOBES = 3  # of the sinc on each side
BLOCK = 256  # rows or columns of the result that one product computes


def windowed_sinc(at: Tensor) -> Tensor:
    """Lanczos' kernel of `LOBES` lobes, at distances in pixels; not normalised."""
    return torch.where(at.abs() < LOBES, torch.sinc(at) * torch.sinc(at / LOBES), torch.zeros_like(at))


def reach(length: int, size: int) -> int:
    """Pixels on either side that a pixel of the result depends on; length: of the axis, size: of the result's."""
    return 0 if length == size else int(LOBES * max(length / size, 1.0)) + 1


def _taps(length: int, size: int, start: int, stop: int) -> tuple[int, int, Tensor]:
    """(first, last, weights (stop - start, last - first)) of the pixels start..stop of an axis of `size` pixels that is
    made from one of `length`; each row sums to 1, also where the filter reaches beyond the picture."""
    ratio = length / size
    wide = max(ratio, 1.0)
    centre = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * ratio - 0.5
    first = max(int(centre[0].item() - LOBES * wide), 0)
    last = min(int(centre[-1].item() + LOBES * wide) + 2, length)
    at = (torch.arange(first, last, dtype=torch.float64) - centre[:, None]) / wide
    weights = windowed_sinc(at)
    return first, last, weights / weights.sum(1, keepdim=True)


def _along(x: Tensor, axis: int, size: int, part: slice) -> Tensor:
    """x (B, C, H, W) along axis 2 or 3: the pixels `part` of the resampled axis."""
    length = x.shape[axis]
    if length == size:
        return x.narrow(axis, part.start, part.stop - part.start)
    blocks = []
    for start in range(part.start, part.stop, BLOCK):
        first, last, weights = _taps(length, size, start, min(start + BLOCK, part.stop))
        near, weights = x.narrow(axis, first, last - first), weights.to(x)
        blocks.append(weights @ near if axis == 2 else near @ weights.T)
    return torch.cat(blocks, axis)


def resample(picture: Tensor, size: tuple[int, int], part: tuple[slice, slice] | None = None) -> Tensor:
    """`picture` (B, H, W, C) in 0..1 at another size (height, width), or the rows and columns `part` of it.

    Float32, clamped to 0..1, on the picture's device. At its own size the picture is given back bit for bit.
    """
    rows, columns = part or (slice(0, size[0]), slice(0, size[1]))
    if picture.shape[1:3] == size:
        return picture[:, rows, columns]
    x = picture.float().movedim(-1, 1)
    return _along(_along(x, 2, size[0], rows), 3, size[1], columns).clamp(0, 1).movedim(1, -1).contiguous()
