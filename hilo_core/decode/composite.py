"""The decoded picture put into the original, which stays bit for bit as it is outside the edit.

Takes both pictures (B, H, W, 3) and the mask (B, H, W); gives the result and what was measured on the way. The blend
lies inside the mask; colours are matched where that helps.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from scipy import ndimage
from torch import Tensor

from .colour import Match, helpful
from .drift import Drift, DriftMeter

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
) -> tuple[Tensor, Drift]:
    """(result, drift): the decoded regions over the original; everywhere else the original's bits.

    original, decoded: (B, H, W, 3) in 0..1; share: (H, W), above 0 where `decoded` holds something; mask: (B, H, W),
    an edit where above 0; feather: pixels; match: whether to match the colours, picture by picture, where that helps.
    """
    out, meter = original.clone(), DriftMeter()
    far = distances(mask, regions, max(feather, RING))
    rings = [(f > 0) & (f <= RING) & (share[at] > 0) for f, at in zip(far, regions, strict=True)]
    matches: list[Match | None] = [None] * len(original)
    if match:
        matches = [_match(original[k], decoded[k], [r[k] for r in rings], regions) for k in range(len(original))]
    for (y, x), f, ring in zip(regions, far, rings, strict=True):
        old, new, weight = original[:, y, x], decoded[:, y, x], blend_weight(f, feather)
        matched = [picture if found is None else found(picture) for picture, found in zip(new, matches, strict=True)]
        out[:, y, x] = blend(old, torch.stack(matched), weight)
        meter.add(old, new, out[:, y, x], f == 0, (weight == 0) & (share[y, x] > 0), ring)
    return out, meter.result(any(found is not None for found in matches))


def _match(original: Tensor, decoded: Tensor, rings: list[Tensor], regions: list[tuple[slice, slice]]) -> Match | None:
    """The colour correction of one picture (H, W, 3) from its rings, if it holds on pixels it was not fitted on."""
    y, x = (torch.arange(n, device=original.device) // RING for n in original.shape[:2])
    blocks = (y[:, None] + x) % 2 == 0
    new, old, half = (
        torch.cat([values[at][ring] for at, ring in zip(regions, rings, strict=True)])
        for values in (decoded, original, blocks)
    )
    return helpful(new, old, half)
