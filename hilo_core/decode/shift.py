"""Pixel shift: how far a model or a VAE moved what it should have left alone, measured around the edit, and undone.

The best whole number of pixels comes first, then the rest by least squares on the picture's slopes, together with a
gain and an offset, so that a colour drift is not taken for a shift (B. Lucas, T. Kanade, "An iterative image
registration technique", 1981). It counts only if it explains the difference and two halves of the pixels agree on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

import torch
import torch.nn.functional as F
from torch import Tensor

from ..words import Said
from .resample import LOBES, windowed_sinc

MOST = 8  # pixels along each axis
LEAST = 0.1  # pixels; less is none
GAIN, LARGE_GAIN = 0.1, 0.5  # share of the squared difference that must go; where it is a whole pixel or more
AGREE = 0.25  # pixels by which each half's own answer may differ
ROUNDS = 3  # of least squares
PATCHES = 24  # places on the ring that are looked at, in all
RADIUS = 12  # of a place, in pixels
FEWEST = 32  # pixels to measure on, of each half
SEARCHED = 2048  # pixels for the whole number
LUMA = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Shift:
    """Pixels by which the decoded picture lies below and to the right of the original."""

    down: float
    right: float

    def said(self) -> Said:
        """In words: "1.3 px down, 0.7 px left"."""
        y, x = "down" if self.down > 0 else "up", "right" if self.right > 0 else "left"
        return Said(f"{{}} px {y}, {{}} px {x}", f"{abs(self.down):.1f}", f"{abs(self.right):.1f}")

    def __str__(self) -> str:
        return self.said()


def measure(decoded: list[Tensor], original: list[Tensor], rings: list[Tensor], halves: list[Tensor]) -> Shift | None:
    """The shift of parts of one picture, (h, w, 3) in 0..1 each; None if there is none, or if it cannot be told.

    rings: (h, w) bool, the pixels that should be equal; halves: (h, w) bool, a division of them into two.
    """
    ring = _Ring.of(decoded, original, rings, halves)
    if ring is None or min(int(ring.half.sum()), int((~ring.half).sum())) < FEWEST:
        return None
    start = ring.whole()
    if max(map(abs, start)) == MOST:
        return None  # it may be more
    found = Shift(*map(float, start))
    for number in range(ROUNDS):
        rows, gap = ring.equations(found)
        down, right, *_ = _solve(rows, gap).tolist()
        if number == 0 and start == (0, 0) and max(abs(down), abs(right)) < LEAST / 2:
            return None  # next to none already: as most often
        found = Shift(found.down - down, found.right - right)
        if max(abs(down), abs(right)) > 1:
            return None  # the slopes lead away from the best whole number
    rows, gap = ring.equations(found)
    apart = torch.stack([_solve(rows[part], gap[part])[:2] for part in (ring.half, ~ring.half)]).abs().max().item()
    before, after = (_residue(*ring.equations(at)) for at in (Shift(0.0, 0.0), found))
    size = max(abs(found.down), abs(found.right))
    left = 1 - (LARGE_GAIN if size >= 1 else GAIN)
    return found if size >= LEAST and apart < AGREE and bool(after < left * before) else None


def undone(picture: Tensor, shift: Shift) -> Tensor:
    """(h, w, C) moved back by a shift, at its size; what comes in at the border is the border repeated."""
    return _moved(_moved(picture, 0, shift.down), 1, shift.right).clamp(0, 1)


def _moved(x: Tensor, axis: int, by: float) -> Tensor:
    """x at `by` pixels farther along an axis, by a windowed sinc."""
    first = floor(by)
    taps = torch.arange(1 - LOBES, LOBES + 1)
    at = taps.double() - (by - first)
    weights = windowed_sinc(at)
    places, length = torch.arange(x.shape[axis], device=x.device), x.shape[axis]
    moved = torch.zeros_like(x)
    for tap, weight in zip(taps.tolist(), (weights / weights.sum()).tolist(), strict=True):
        if weight:
            moved.add_(x.index_select(axis, (places + first + tap).clamp(0, length - 1)), alpha=weight)
    return moved


@dataclass(frozen=True)
class _Ring:
    """Places around the edit, as luma without its finest grain, and the pixels in them to measure on."""

    decoded: Tensor  # (n, s, s)
    original: Tensor  # (n, s, s)
    at: tuple[Tensor, Tensor, Tensor]  # place, row, column of each pixel
    half: Tensor  # (pixels,) bool

    @classmethod
    def of(
        cls, decoded: list[Tensor], original: list[Tensor], rings: list[Tensor], halves: list[Tensor]
    ) -> _Ring | None:
        """From the windows of one picture; None if no place has enough around it."""
        edge = RADIUS + MOST + LOBES
        crops: list[tuple[Tensor, ...]] = []
        for parts in zip(decoded, original, rings, halves, strict=True):
            ring = parts[2]
            if min(ring.shape) <= 2 * edge:
                continue
            y, x = ring[edge:-edge, edge:-edge].nonzero(as_tuple=True)
            step = -(-len(y) * len(decoded) // PATCHES) or 1
            for top, left in zip(y[::step].tolist(), x[::step].tolist(), strict=True):
                crops.append(tuple(p[top : top + 2 * edge + 1, left : left + 2 * edge + 1] for p in parts))
        if not crops:
            return None
        new, old, on, half = (torch.stack(part) for part in zip(*crops, strict=True))
        at = on[:, edge - RADIUS : edge + RADIUS + 1, edge - RADIUS : edge + RADIUS + 1].nonzero().T
        place, row, column = at[0], at[1] + edge - RADIUS, at[2] + edge - RADIUS
        return cls(
            _smooth(new), _smooth(old), (place, row, column),
            half[place, row, column],
        )  # fmt: skip

    def equations(self, shift: Shift) -> tuple[Tensor, Tensor]:
        """(n, 4) factors of what is left of the shift (down, right), of gain and offset; (n,) differences."""
        near = _moved(_moved(self.decoded, 1, shift.down), 2, shift.right)
        middle, (k, y, x) = (near + self.original) / 2, self.at
        own = self.original[self.at]
        slopes = (middle[k, y + 1, x] - middle[k, y - 1, x]) / 2, (middle[k, y, x + 1] - middle[k, y, x - 1]) / 2
        return torch.stack([*slopes, own, torch.ones_like(own)], 1), near[self.at] - own

    def whole(self) -> tuple[int, int]:
        """The shift in whole pixels with the least variance of the difference."""
        steps = torch.arange(-MOST, MOST + 1, device=self.half.device)
        down, right = (grid.flatten()[:, None] for grid in torch.meshgrid(steps, steps, indexing="ij"))
        k, y, x = (part[:: -(-len(part) // SEARCHED)] for part in self.at)
        best = int((self.decoded[k, y + down, x + right] - self.original[k, y, x]).var(1).argmin())
        return int(down[best]), int(right[best])


def _smooth(picture: Tensor) -> Tensor:
    """(n, h, w, 3) to its luma, with pixels averaged over about two."""
    luma = picture.float() @ picture.new_tensor(LUMA, dtype=torch.float32)
    kernel = luma.new_tensor([1, 4, 6, 4, 1]) / 16
    padded = F.pad(luma[:, None], (2, 2, 2, 2), "replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 5, 1)), kernel.view(1, 1, 1, 5))[:, 0]


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
