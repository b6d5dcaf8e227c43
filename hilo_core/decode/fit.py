"""A canvas of a size that a model likes, made from a picture of any size, and the way back for what was edited on it.

The canvas shows the whole picture, or, where an edit is to be enlarged beyond what a canvas may hold, as much around
the edit as it holds. A canvas of nearly the picture's size is the picture's own pixels, with a border repeated below
and on the right up to whole tokens; any other is resampled, once each way. The mask never loses a painted pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from ..mask import is_edited
from .resample import reach, resample

SAME = 1.15  # a factor of enlargement between this and its inverse is none: pixels stay as they are
LARGEST = 4.0  # of the factors by which an edit is enlarged: there is nothing more to see in its surroundings
CONTEXT = 0.25  # of the edit's sides: picture that the canvas shows on each side of the edit, at the least
AREA = 0.1  # what a wrong area counts against a wrong ratio of the sides, in the choice of a canvas
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Fit:
    """Where a canvas lies in a picture. All in pixels, (height, width) or (top, left)."""

    size: Size  # of the picture
    corner: tuple[int, int]  # of the part of it that the canvas shows
    region: Size  # of that part
    inner: Size  # of the canvas without its repeated border
    canvas: Size

    @property
    def factor(self) -> float:
        """Canvas pixels for one of the picture's, along a side."""
        return sqrt(self.inner[0] * self.inner[1] / (self.region[0] * self.region[1]))

    @property
    def whole(self) -> bool:
        """Whether the canvas shows all of the picture."""
        return self.region == self.size

    def part(self, picture: Tensor) -> Tensor:
        """What the canvas shows of a picture (B, H, W, ...): a view."""
        (top, left), (height, width) = self.corner, self.region
        return picture[:, top : top + height, left : left + width]

    def image(self, picture: Tensor) -> Tensor:
        """(B, H, W, 3) in 0..1 to the canvas (B, h, w, 3)."""
        inner = resample(self.part(picture), self.inner)
        return (
            inner
            if self.inner == self.canvas
            else F.pad(inner.movedim(-1, 1), self._border, "replicate").movedim(1, -1)
        )

    def mask(self, mask: Tensor) -> Tensor:
        """(B, H, W) in 0..1 to the canvas (B, h, w): each pixel the largest value under it, so that nothing painted is
        lost, however thin."""
        part = self.part(mask)
        inner = part if self.inner == self.region else F.adaptive_max_pool2d(part, self.inner)
        return F.pad(inner, self._border)

    def mask_back(self, mask: Tensor) -> Tensor:
        """A mask (B, h, w) of the canvas, in 0..1, on the picture (B, H, W): 0 where the canvas shows nothing."""
        inner = mask[:, : self.inner[0], : self.inner[1]]
        part = inner if self.inner == self.region else F.adaptive_max_pool2d(inner, self.region)
        (top, left), (height, width) = self.corner, self.region
        return F.pad(part, (left, self.size[1] - left - width, top, self.size[0] - top - height))

    def need(self, feather: int) -> int:
        """Canvas pixels around the canvas's mask that a blend over `feather` pixels of the picture depends on."""
        support = max(reach(n, m) for n, m in zip(self.inner, self.region, strict=True))
        return ceil(feather * max(n / m for n, m in zip(self.inner, self.region, strict=True))) + support

    def back(
        self, picture: Tensor, share: Tensor, regions: list[tuple[slice, slice]]
    ) -> tuple[Tensor, Tensor, list[tuple[slice, slice]]]:
        """Decoded windows of the canvas at the picture's size: (picture, share, regions) as `composite` takes them, of
        the part that the canvas shows.

        picture: (B, h, w, 3) in 0..1; share: (h, w), above 0 where it holds something; regions: rows and columns of
        the canvas. A pixel of the result has a share of 1 where the filter met nothing but such pixels, else of 0.
        """
        picture, share = picture[:, : self.inner[0], : self.inner[1]], share[: self.inner[0], : self.inner[1]]
        if self.inner == self.region:
            bounds = [
                tuple(slice(p.start, min(p.stop, n)) for p, n in zip(at, self.inner, strict=True)) for at in regions
            ]
            return picture, share, [(y, x) for y, x in bounds if y.stop > y.start and x.stop > x.start]
        out = picture.new_zeros(len(picture), *self.region, picture.shape[-1])
        known, places = share.new_zeros(self.region), []
        holes = _grown(share <= 0, [reach(n, m) for n, m in zip(self.inner, self.region, strict=True)])
        rows, columns = (
            ((torch.arange(m, device=share.device) + 0.5) * n / m).long()
            for n, m in zip(self.inner, self.region, strict=True)
        )  # of the canvas, under each pixel of the picture
        for at in regions:
            y, x = (
                slice(min(floor(part.start * to / of), to), min(ceil(part.stop * to / of), to))
                for part, of, to in zip(at, self.inner, self.region, strict=True)
            )
            if y.stop > y.start and x.stop > x.start:
                places.append((y, x))
                out[:, y, x] = resample(picture, self.region, (y, x)).to(out)
                known[y, x] = (~holes[rows[y]][:, columns[x]]).to(known)
        return out, known, places

    @property
    def _border(self) -> tuple[int, int, int, int]:
        return 0, self.canvas[1] - self.inner[1], 0, self.canvas[0] - self.inner[0]


def _grown(on: Tensor, steps: list[int]) -> Tensor:
    """(h, w) bool, grown by so many pixels along each axis, as a box."""
    for axis, step in enumerate(steps):
        kernel, padding = ((2 * step + 1, 1), (step, 0)) if axis == 0 else ((1, 2 * step + 1), (0, step))
        on = F.max_pool2d(on.float()[None], kernel, 1, padding)[0] > 0
    return on


def edited_box(mask: Tensor) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of all that is painted in (B, H, W), which must not be nothing."""
    on = is_edited(mask).any(0)
    y, x = on.any(1).nonzero().flatten(), on.any(0).nonzero().flatten()
    return int(y[0]), int(y[-1]) + 1, int(x[0]), int(x[-1]) + 1


def fit_whole(size: Size, pixels: float, multiple: int) -> Fit:
    """The whole picture on a canvas of about `pixels` pixels, whose sides are multiples of `multiple`."""
    return _fit(size, (0, 0), size, sqrt(pixels / (size[0] * size[1])), multiple)


def fit_detail(size: Size, box: tuple[int, int, int, int], side: int, pixels: float, multiple: int) -> Fit:
    """A canvas on which the longer side of the edit's box has about `side` pixels.

    It shows the whole picture if that takes no more than about `pixels` pixels, else as much around the edit as they
    hold, and at least `CONTEXT` of the edit's sides on each side: where they cannot hold that, the edit gets fewer.
    """
    spans = box[1] - box[0], box[3] - box[2]
    needs = [min(n, (1 + 2 * CONTEXT) * span) for n, span in zip(size, spans, strict=True)]
    factor = min(side / max(spans), LARGEST, sqrt(pixels / (needs[0] * needs[1])))
    if 1 / SAME <= factor <= SAME and needs[0] * needs[1] <= pixels:
        factor = 1.0
    area = pixels / factor**2
    if size[0] * size[1] <= area:
        return _fit(size, (0, 0), size, factor, multiple)
    low, high = max(needs[0], area / size[1]), min(size[0], area / needs[1])
    height = min(max(sqrt(area * size[0] / size[1]), low), high)
    region = tuple(
        _tokens(n, span, wanted, factor, multiple)
        for n, span, wanted in zip(size, spans, (height, area / height), strict=True)
    )
    starts = [
        min(max((box[2 * k] + box[2 * k + 1] - region[k]) // 2, 0), size[k] - region[k]) for k in range(2)
    ]  # the box in the middle, the region within the picture
    return _fit(size, (starts[0], starts[1]), (region[0], region[1]), factor, multiple)


def _tokens(length: int, span: int, wanted: float, factor: float, multiple: int) -> int:
    """Pixels of an axis of `length` that make whole tokens on the canvas: about `wanted`, no fewer than `span`."""
    tokens = max(round(wanted * factor / multiple), 1)
    while (found := round(tokens * multiple / factor)) < span:
        tokens += 1
    return length if found > length - multiple / factor else found


def _fit(size: Size, corner: tuple[int, int], region: Size, factor: float, multiple: int) -> Fit:
    """The canvas for a part of a picture, enlarged by about `factor`."""
    padded = _up(region[0], multiple), _up(region[1], multiple)
    most = SAME**2 * factor**2 * region[0] * region[1]  # of a canvas that is to be smaller than the part
    if 1 / SAME <= factor <= SAME and (factor >= 1 or padded[0] * padded[1] <= most):
        return Fit(size, corner, region, region, padded)
    canvas = _canvas(region, factor, multiple)
    return Fit(size, corner, region, canvas, canvas)


def _canvas(region: Size, factor: float, multiple: int) -> Size:
    """Multiples near the enlarged sides, of nearly their ratio and area."""
    height, width = (n * factor for n in region)
    middle, found = width / multiple, []
    for tokens in range(max(floor(0.93 * middle), 1), max(ceil(1.07 * middle), 1) + 1):
        wide = tokens * multiple
        tall = max(round(wide * height / width / multiple), 1) * multiple
        found.append(
            (abs(log(tall * width / (wide * height))) + AREA * abs(log(tall * wide / (height * width))), tall, wide)
        )
    return min(found)[1:]


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


@dataclass(frozen=True)
class Fitted:
    """What *HiLo Fit* hands to *HiLo Masked Decode*: the way back, and what was given."""

    fit: Fit
    picture: Tensor  # (B, H, W, 3)
    mask: Tensor  # (B, H, W)
    canvas_mask: Tensor  # (B, h, w), the mask on the canvas

    def original(self, image: Tensor) -> Tensor | None:
        """The picture that belongs to `image` (B, ..., 3): itself if it has the picture's size, the picture that was
        fitted if it has the canvas's; None if it has neither."""
        if tuple(image.shape[1:3]) == self.fit.size:
            return image
        return self.picture if tuple(image.shape[1:3]) == self.fit.canvas else None

    def masks(self, mask: Tensor) -> tuple[Tensor, Tensor] | None:
        """(mask on the picture, mask on the canvas) that belong to a mask of either size; None if it has neither.

        The canvas's own mask stands for the one that was fitted, pixel by pixel; one that was changed on the way is
        brought to the picture's size.
        """
        if tuple(mask.shape[1:]) == self.fit.size:
            return mask, self.fit.mask(mask)
        if tuple(mask.shape[1:]) != self.fit.canvas:
            return None
        same = mask.shape == self.canvas_mask.shape and torch.equal(mask, self.canvas_mask.to(mask))
        return (self.mask if same else self.fit.mask_back(mask)), mask
