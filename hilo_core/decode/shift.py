"""Pixel shift: how far a model or a VAE moved what it should have left alone, measured around the edit, and undone.

The best whole number of pixels comes first, then the rest by least squares on the picture's slopes, together with a
gain and an offset, so that a colour drift is not taken for a shift (B. Lucas, T. Kanade, "An iterative image
registration technique", 1981). It counts only if it explains the difference and two halves of the pixels agree on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MOST = 8  # pixels along each axis
LEAST = 0.1  # pixels; less is none
GAIN, LARGE_GAIN = 0.1, 0.5  # share of the squared difference that must go; where it is a whole pixel or more
AGREE = 0.25  # pixels by which each half's own answer may differ
ROUNDS = 3  # of least squares
FEWEST, ENOUGH = 32, 16384  # pixels to measure on, of each half and in all
SEARCHED = 4096  # of them, for the whole number
LUMA = (0.2126, 0.7152, 0.0722)
LOBES = 3  # of the filter that undoes a shift


@dataclass(frozen=True)
class Shift:
    """Pixels by which the decoded picture lies below and to the right of the original."""

    down: float
    right: float

    def __str__(self) -> str:
        y = f"{abs(self.down):.1f} px {'down' if self.down > 0 else 'up'}"
        return f"{y}, {abs(self.right):.1f} px {'right' if self.right > 0 else 'left'}"


def measure(decoded: list[Tensor], original: list[Tensor], rings: list[Tensor], halves: list[Tensor]) -> Shift | None:
    """The shift of parts of one picture, (h, w, 3) in 0..1 each; None if there is none, or if it cannot be told.

    rings: (h, w) bool, the pixels that should be equal; halves: (h, w) bool, a division of them into two.
    """
    each = ENOUGH // len(decoded)
    parts = [
        part
        for given in zip(decoded, original, rings, halves, strict=True)
        if (part := _Part.of(*given, each)) is not None
    ]
    half = torch.cat([part.half for part in parts]) if parts else torch.zeros(0, dtype=torch.bool)
    if min(int(half.sum()), int((~half).sum())) < FEWEST:
        return None
    start = _whole(parts)
    if max(map(abs, start)) == MOST:
        return None  # it may be more
    found = Shift(*map(float, start))
    for _ in range(ROUNDS):
        rows, gap = _equations(parts, found)
        down, right, *_ = _solve(rows, gap).tolist()
        found = Shift(found.down - down, found.right - right)
        if max(abs(down), abs(right)) > 1:
            return None  # the slopes lead away from the best whole number
    rows, gap = _equations(parts, found)
    apart = torch.stack([_solve(rows[part], gap[part])[:2] for part in (half, ~half)]).abs().max().item()
    before, after = (_residue(*_equations(parts, at)) for at in (Shift(0.0, 0.0), found))
    size = max(abs(found.down), abs(found.right))
    left = 1 - (LARGE_GAIN if size >= 1 else GAIN)
    return found if size >= LEAST and apart < AGREE and bool(after < left * before) else None


def undone(picture: Tensor, shift: Shift) -> Tensor:
    """(h, w, C) moved back by a shift, at its size; what comes in at the border is the border repeated."""
    for axis, by in enumerate((shift.down, shift.right)):
        first = int(torch.tensor(by).floor())
        taps = torch.arange(1 - LOBES, LOBES + 1)
        at = taps.double() - (by - first)
        weights = torch.where(at.abs() < LOBES, torch.sinc(at) * torch.sinc(at / LOBES), torch.zeros_like(at))
        places, length = torch.arange(picture.shape[axis], device=picture.device), picture.shape[axis]
        moved = torch.zeros_like(picture)
        for tap, weight in zip(taps.tolist(), (weights / weights.sum()).tolist(), strict=True):
            if weight:
                moved += weight * picture.index_select(axis, (places + first + tap).clamp(0, length - 1))
        picture = moved
    return picture.clamp(0, 1)


@dataclass(frozen=True)
class _Part:
    """One window, as luma without its finest grain, and the pixels in it to measure on."""

    decoded: Tensor  # (h, w)
    original: Tensor  # (h, w)
    y: Tensor  # (n,)
    x: Tensor  # (n,)
    half: Tensor  # (n,) bool

    @classmethod
    def of(cls, decoded: Tensor, original: Tensor, ring: Tensor, half: Tensor, most: int) -> _Part | None:
        edge = MOST + 1
        inner = ring[edge:-edge, edge:-edge] if min(ring.shape) > 2 * edge else ring[:0]
        y, x = inner.nonzero(as_tuple=True)
        if not len(y):
            return None
        step = -(-len(y) // most)
        y, x = y[::step] + edge, x[::step] + edge
        return cls(_smooth(decoded), _smooth(original), y, x, half[y, x])

    def equations(self, shift: Shift) -> tuple[Tensor, Tensor]:
        """(n, 4) factors of what is left of the shift (down, right), of gain and offset; (n,) differences."""
        near = undone(self.decoded[..., None], shift)[..., 0]
        middle, y, x = (near + self.original) / 2, self.y, self.x
        own = self.original[y, x]
        slopes = (middle[y + 1, x] - middle[y - 1, x]) / 2, (middle[y, x + 1] - middle[y, x - 1]) / 2
        return torch.stack([*slopes, own, torch.ones_like(own)], 1), near[y, x] - own


def _equations(parts: list[_Part], shift: Shift) -> tuple[Tensor, Tensor]:
    rows, gaps = zip(*(part.equations(shift) for part in parts), strict=True)
    return torch.cat(rows), torch.cat(gaps)


def _smooth(picture: Tensor) -> Tensor:
    """(h, w, 3) to its luma, with pixels averaged over about two."""
    luma = picture.float() @ picture.new_tensor(LUMA, dtype=torch.float32)
    kernel = luma.new_tensor([1, 4, 6, 4, 1]) / 16
    padded = F.pad(luma[None, None], (2, 2, 2, 2), "replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 5, 1)), kernel.view(1, 1, 1, 5))[0, 0]


def _whole(parts: list[_Part]) -> tuple[int, int]:
    """The shift in whole pixels with the least variance of the difference."""
    steps = torch.arange(-MOST, MOST + 1, device=parts[0].y.device)
    down, right = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    gaps = []
    for part in parts:
        every = -(-len(part.y) * len(parts) // SEARCHED)
        y, x = part.y[::every], part.x[::every]
        moved = part.decoded.flatten()[(y + down[:, None]) * part.decoded.shape[1] + x + right[:, None]]
        gaps.append(moved - part.original[y, x])
    best = int(torch.cat(gaps, 1).var(1).argmin())
    return int(down[best]), int(right[best])


def _solve(rows: Tensor, gap: Tensor) -> Tensor:
    """Least squares, with next to no weight on what the rows do not tell."""
    rows, gap = rows.double(), gap.double()
    products = rows.T @ rows
    ridge = 1e-6 * products.diagonal().mean() * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    found: Tensor = torch.linalg.solve(products + ridge, rows.T @ gap).float()
    return found


def _residue(rows: Tensor, gap: Tensor) -> Tensor:
    """The squared difference that no gain and offset explains."""
    rest = rows[:, 2:]
    return (gap - rest @ _solve(rest, gap)).square().sum()
