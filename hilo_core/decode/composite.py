"""The decoded picture put into the original, which stays bit for bit as it is outside the edit.

Takes both pictures (B, H, W, 3) and the mask (B, H, W); gives the result and what was measured on the way. The blend
covers the mask and the feather around it; a shift is undone and colours are matched where that helps.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor

from .colour import Match, helpful
from .drift import Drift, DriftMeter
from .shift import Shift, measure, undone

BAND = 256  # rows of the mask that one core looks at
RING = 32  # pixels around the edit at which the colour match and the drift meter look


def distance(mask: Tensor, y: slice, x: slice, reach: int) -> Tensor:
    """(B, h, w) of the part [y, x] of a mask: pixels to the nearest edited one (mask above 0), 0 on it.

    mask: (B, H, W). Exact up to `reach`; what is farther away may be infinite. Euclidean.
    """
    top, left = max(y.start - reach, 0), max(x.start - reach, 0)
    near = (mask[:, top : y.stop + reach, left : x.stop + reach] > 0).cpu().numpy()
    far = torch.stack([
        torch.from_numpy(ndimage.distance_transform_edt(~item)).float()
        if item.any() else torch.full(item.shape, torch.inf)
        for item in near
    ])  # fmt: skip
    return far[:, y.start - top :, x.start - left :][:, : y.stop - y.start, : x.stop - x.start].to(mask.device)


def distances(mask: Tensor, regions: list[tuple[slice, slice]], reach: int) -> list[Tensor]:
    """`distance` of each region, on several cores: SciPy works on one, and lets others work beside it."""
    bands = [[(slice(top, min(top + BAND, y.stop)), x) for top in range(y.start, y.stop, BAND)] for y, x in regions]
    with ThreadPoolExecutor() as pool:
        found = [[pool.submit(distance, mask, *band, reach) for band in region] for region in bands]
    return [torch.cat([part.result() for part in region], 1) for region in found]


def blend_weight(far: Tensor, feather: int) -> Tensor:
    """Weight of the new picture, 1 on the edit, falling to 0 over `feather` pixels outside it.

    far: pixels to the edit, any shape. A smooth step, so that the seam has no edge of its own.
    """
    ramp = (1 - far / (max(feather, 0) + 1)).clamp(0, 1) if feather > 0 else (far == 0).float()
    return ramp * ramp * (3 - 2 * ramp)


def blend(original: Tensor, decoded: Tensor, weight: Tensor) -> Tensor:
    """decoded over original, (B, H, W, 3) each, weight (B, H, W). Where the weight is 0 the original's bits stay."""
    w = weight[..., None]
    return torch.where(w > 0, original + (decoded - original) * w, original)


def composite(
    original: Tensor,
    decoded: Tensor,
    share: Tensor,
    mask: Tensor,
    regions: list[tuple[slice, slice]],
    feather: int,
    match: bool,
    undo: bool = False,
) -> tuple[Tensor, Drift]:
    """(result, drift): the decoded regions over the original; everywhere else the original's bits.

    original, decoded: (B, H, W, 3) in 0..1; share: (H, W), above 0 where `decoded` holds something; mask: (B, H, W),
    an edit where above 0; feather: pixels; match: whether to match the colours, undo: whether to move the new picture
    back where it was shifted; both picture by picture, and only where that helps.
    """
    out, meter = original.clone(), DriftMeter()
    far = distances(mask, regions, max(feather, RING))
    rings = [(f > 0) & (f <= RING) & (share[at] > 0) for f, at in zip(far, regions, strict=True)]
    halves = [_halves(at, original.device) for at in regions]
    olds, news = ([pictures[:, y, x] for y, x in regions] for pictures in (original, decoded))
    mended, found = [list(new) for new in news], [_Mending()] * len(original)
    for k in range(len(original)):
        old, new, ring = ([part[k] for part in parts] for parts in (olds, news, rings))
        found[k], parts = _mend(old, new, ring, halves, match, undo)
        for items, part in zip(mended, parts, strict=True):
            items[k] = part
    for (y, x), f, ring, old, new, better in zip(regions, far, rings, olds, news, mended, strict=True):
        weight = blend_weight(f, feather)
        out[:, y, x] = blend(old, torch.stack(better), weight)
        meter.add(old, new, out[:, y, x], f == 0, (weight == 0) & (share[y, x] > 0), ring)
    moved = max((one.shift for one in found if one.shift), key=lambda s: max(abs(s.down), abs(s.right)), default=None)
    return out, meter.result(any(one.match for one in found), moved, undo and moved is not None)


@dataclass(frozen=True)
class _Mending:
    """What was found of one picture."""

    shift: Shift | None = None
    match: Match | None = None


def _mend(
    old: list[Tensor], new: list[Tensor], rings: list[Tensor], halves: list[Tensor], match: bool, undo: bool
) -> tuple[_Mending, list[Tensor]]:
    """(what was found, the mended parts) of one picture's parts (h, w, 3)."""
    shift, colours = measure(new, old, rings, halves), None
    if undo and shift is not None:
        new = [undone(part, shift) for part in new]
    if match:
        seen, wanted, half = (
            torch.cat([part[ring] for part, ring in zip(parts, rings, strict=True)]) for parts in (new, old, halves)
        )
        colours = helpful(seen, wanted, half)
    return _Mending(shift, colours), new if colours is None else [colours(part) for part in new]


def _halves(at: tuple[slice, slice], device: torch.device) -> Tensor:
    """(h, w) bool: a chequerboard over the picture, of which one half tests what was found on the other."""
    y, x = (torch.arange(part.start, part.stop, device=device) // RING for part in at)
    return (y[:, None] + x) % 2 == 0
