"""Tiles that stand for a whole picture where a decoder's GroupNorm asks for its statistics.

A decoder's layers see zeros beyond the picture's border, and what they make of them reaches far into it: in the outer
32 px the features are unlike those of the rest. So the border has tiles of its own, more than its area asks for; a
tile sees zeros on the picture's border and its own reflection on its other sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .windows import Window

SIDE = 4  # latent pixels of a tile along each side
SAMPLED = 0.1  # latent pixels in tiles, of all
FEWEST, MOST = 16, 160  # tiles
BORDER = 0.3  # of the tiles
RIDGE = 0.1  # of the features' mean square
PARTS = "the host decoded in parts, most likely for want of memory"


class UnfitDecoder(Exception):
    """This decoder did not do what its structure promised, or the picture is too small; says why."""


@dataclass(frozen=True)
class Sample:
    """Tiles of a picture and what each stands for."""

    tiles: list[Window]
    shares: Tensor  # (n,) of the picture's area; sum 1
    edges: Tensor  # (4, n) bool: whether a tile lies on the picture's top, bottom, left, right border


def sample(rows: int, columns: int, side: int) -> Sample:
    """Square tiles, evenly spread over the inside, along each border and in the corners.

    UnfitDecoder if the picture is too small for tiles to be worth it.
    """
    if rows * columns < 2 * FEWEST * side**2 or min(rows, columns) < 4 * side:
        raise UnfitDecoder("the picture is too small to estimate from tiles")
    wanted = min(max(SAMPLED * rows * columns / side**2, FEWEST), MOST)
    inside = (1 - BORDER) * wanted
    down = max(round((inside * rows / columns) ** 0.5), 2)
    y, x = _spread(rows, side, down), _spread(columns, side, max(round(inside / down), 2))
    along = max(round(BORDER * wanted / 4), 2)
    ends = [0, rows - side], [0, columns - side]
    tiles: list[Window] = []
    shares: list[float] = []
    for tops, lefts, height, width in (
        (y, x, rows - 2 * side, columns - 2 * side),
        (ends[0], _spread(columns, side, along), 2 * side, columns - 2 * side),
        (_spread(rows, side, along), ends[1], rows - 2 * side, 2 * side),
        (*ends, 2 * side, 2 * side),
    ):
        part = [Window(top, top + side, left, left + side) for top in tops for left in lefts]
        tiles += part
        shares += [height * width / (rows * columns) / len(part)] * len(part)
    at = torch.tensor([(t.top == 0, t.bottom == rows, t.left == 0, t.right == columns) for t in tiles])
    return Sample(tiles, torch.tensor(shares), at.T)


def _spread(length: int, side: int, count: int) -> list[int]:
    """Starts of `count` tiles evenly spread along an axis, none at its ends."""
    room = length - 3 * side + 1
    return [side + int(room * (k + 0.5) / count) for k in range(min(count, room))]


@contextmanager
def bordered(decoder: nn.Module, chosen: Sample) -> Iterator[None]:
    """While open, the decoder's 3x3 convolutions take a batch of tiles, each with its border as above.

    They do not pad meanwhile: their input comes padded.
    """
    within: dict[tuple[int, int], Tensor] = {}  # by the padded size, (n, 1, h, w): 0 on the picture's border

    def before(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if len(args[0]) != len(chosen.tiles):
            raise UnfitDecoder(PARTS)
        x = F.pad(args[0], (1, 1, 1, 1), "reflect")
        size = x.shape[-2], x.shape[-1]
        if size not in within:
            keep, (top, bottom, left, right) = x.new_ones(len(x), 1, *size), chosen.edges.to(x.device)
            for line, off in (
                (keep[..., 0, :], top),
                (keep[..., -1, :], bottom),
                (keep[..., 0], left),
                (keep[..., -1], right),
            ):
                line[off] = 0
            within[size] = keep
        x *= within[size]
        return x, *args[1:]

    layers = [m for m in decoder.modules() if isinstance(m, nn.Conv2d) and m.padding == (1, 1)]
    handles = [layer.register_forward_pre_hook(before) for layer in layers]
    try:
        for layer in layers:
            layer.padding = (0, 0)
        yield
    finally:
        for layer in layers:
            layer.padding = (1, 1)
        for handle in handles:
            handle.remove()


def moments(features: Tensor) -> Tensor:
    """(n, D, h, w) to (n, 2 D): mean and mean square of each channel."""
    values = features.float()
    return torch.cat([values.mean((2, 3)), values.square().mean((2, 3))], 1)


def tile_weights(tiles: Tensor, whole: Tensor, shares: Tensor) -> Tensor:
    """(n,) weights of sum 1, near the tiles' shares, that bring their weighted mean near to the whole picture's.

    tiles: (n, features); whole: (features,); shares: (n,) of sum 1. The ridge form of calibration weighting (J.-C.
    Deville, C.-E. Sarndal, "Calibration estimators in survey sampling", 1992).
    """
    mean = shares @ tiles
    spread = (shares @ (tiles - mean).square()).sqrt().clamp_min(1e-6)
    centred, gap = (tiles - mean) / spread, (whole - mean) / spread
    products = centred @ centred.T
    ridge = (RIDGE * products.diagonal().mean()).clamp_min(1e-6) / (len(tiles) * shares)
    weights: Tensor = shares + torch.linalg.solve(products + ridge.diag(), centred @ gap)
    return weights / weights.sum()
