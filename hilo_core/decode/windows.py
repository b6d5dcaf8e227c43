"""Decoding what the edit costs: windows around the edits, and how they are blended into one picture.

Takes the latent pixels that are used, gives rectangles of the latent with the context that the decoder needs, and
sums their decoded pixels with weights that taper towards each window's border. It knows nothing of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import HiLoError, all_finite

CUTS = 6  # places along each side of the edits where a window may be cut in two
CALL_PIXELS = 512  # latent pixels that one more call of the decoder is worth, 2 ms of a fast card


@dataclass(frozen=True)
class Window:
    """A rectangle of latent pixels to decode."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """Latent pixels."""
        return (self.bottom - self.top) * (self.right - self.left)

    def of(self, latent: Tensor) -> Tensor:
        """Its part of a latent (..., h, w)."""
        return latent[..., self.top : self.bottom, self.left : self.right]

    def scaled(self, factor: int) -> Window:
        """In pixels of a grid that is `factor` times as fine."""
        return Window(factor * self.top, factor * self.bottom, factor * self.left, factor * self.right)

    def grown(self, margin: int, height: int, width: int) -> Window:
        """With a margin, within (height, width)."""
        return Window(
            max(self.top - margin, 0),
            min(self.bottom + margin, height),
            max(self.left - margin, 0),
            min(self.right + margin, width),
        )


@dataclass(frozen=True)
class Canvas:
    """Where a latent's picture lies in an image: the host's VAE encode crops the image's centre.

    rows, columns: latent pixels; ratio: pixels per latent pixel; top, left: pixels of the image before the latent's.
    """

    rows: int
    columns: int
    ratio: int
    top: int
    left: int

    @classmethod
    def of(cls, image: tuple[int, int], latent: tuple[int, int], ratio: int) -> Canvas:
        """image: (height, width) in pixels; latent: (rows, columns). HiLoError if they cannot belong together."""
        top, left = (latent_offset(i, n, ratio) for i, n in zip(image, latent, strict=True))
        return cls(*latent, ratio, top, left)

    def pixels(self, window: Window) -> tuple[slice, slice]:
        """The window's rows and columns in the image."""
        y, x = self.top, self.left
        return (
            slice(y + window.top * self.ratio, y + window.bottom * self.ratio),
            slice(x + window.left * self.ratio, x + window.right * self.ratio),
        )

    def used(self, mask: Tensor, feather: int) -> Tensor:
        """(rows, columns) bool: latent pixels with a pixel of the blend. mask: (B, H, W), an edit where above 0."""
        r, (height, width) = self.ratio, mask.shape[1:]
        across = r - self.left, (self.columns + 1) * r + self.left - width
        down = r - self.top, (self.rows + 1) * r + self.top - height
        on = F.pad((mask > 0 if mask.dtype != torch.bool else mask).any(0), (*across, *down))
        rows = on.reshape(-1, r, on.shape[1]).any(1)  # rows first: the larger part, in order of memory
        cells = rows.reshape(len(rows), -1, r).any(2).float()[None]
        reach = ceil(feather / r)
        return F.max_pool2d(cells, 2 * reach + 1, 1, reach)[0, 1:-1, 1:-1] > 0


def latent_offset(image: int, latent: int, ratio: int) -> int:
    """Where, along one axis, the latent's picture starts in the image.

    image: pixels; latent: latent pixels; ratio: pixels per latent pixel. HiLoError if they cannot belong together.
    """
    rest = image - latent * ratio
    if not 0 <= rest < ratio:
        raise HiLoError(
            f"The latent decodes to {latent * ratio} px along one side, the original image has {image} px. "
            "Connect the image that was encoded, at its size."
        )
    return rest // 2


def edit_windows(used: Tensor, margin: int) -> list[Window]:
    """The windows that cover all used latent pixels, with context around each, for the least decoding.

    used: (h, w) bool. margin: latent pixels of context. Windows may overlap: a long or bent edit is cut into several.
    The cuts are the best of those that split a rectangle in two, again and again, at `CUTS` places along each side.
    Empty if nothing is used.
    """
    (height, width), on = used.shape, used.cpu().numpy()

    @cache
    def tight(window: Window) -> Window | None:
        part = on[window.top : window.bottom, window.left : window.right]
        y, x = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        if not len(y):
            return None
        return Window(
            window.top + int(y[0]), window.top + int(y[-1]) + 1, window.left + int(x[0]), window.left + int(x[-1]) + 1
        )

    def count(window: Window) -> int:
        return int(np.count_nonzero(on[window.top : window.bottom, window.left : window.right]))

    def least(pixels: int) -> float:
        """What two windows with their margins decode for so many used pixels, at the least: two squares."""
        return float(pixels + 4 * margin * pixels**0.5 + 8 * margin**2)

    whole = tight(Window(0, height, 0, width))
    if whole is None:
        return []
    rows = sorted({whole.top + (whole.bottom - whole.top) * k // CUTS for k in range(1, CUTS)})
    columns = sorted({whole.left + (whole.right - whole.left) * k // CUTS for k in range(1, CUTS)})

    @cache
    def best(window: Window) -> tuple[int, tuple[Window, ...]]:
        """(cost, windows with their margins) for what is used in a tight window."""
        kept = window.grown(margin, height, width)
        found: tuple[int, tuple[Window, ...]] = kept.area + CALL_PIXELS, (kept,)
        if kept.area < CALL_PIXELS + least(count(window)):
            return found
        halves = [
            (Window(window.top, y, window.left, window.right), Window(y, window.bottom, window.left, window.right))
            for y in rows if window.top < y < window.bottom
        ] + [
            (Window(window.top, window.bottom, window.left, x), Window(window.top, window.bottom, x, window.right))
            for x in columns if window.left < x < window.right
        ]  # fmt: skip
        for pair in halves:
            parts = [best(part) for part in map(tight, pair) if part is not None]
            cost = sum(part[0] for part in parts)
            if cost < found[0]:
                found = cost, tuple(w for part in parts for w in part[1])
        return found

    return list(best(whole)[1])


def taper(window: Window, margin: int, canvas: Canvas, spare: int | None = None) -> Tensor:
    """(h, w) of a window's pixels in 0..1: how much they count where windows overlap.

    1 where the window has its whole context, falling to 0 over `spare` pixels beyond, or half-way to its edge. The
    latent's own edges are no edges.
    """
    most = margin * canvas.ratio
    over = most / 2 if spare is None else min(spare, most)

    def axis(start: int, stop: int, end: int) -> Tensor:
        at = torch.arange((stop - start) * canvas.ratio) + 0.5
        if not margin:
            return torch.ones_like(at)
        low = at if start else torch.full_like(at, torch.inf)
        high = at.flip(0) if stop < end else torch.full_like(at, torch.inf)
        return ((torch.minimum(low, high) - most) / max(over, 1) + 1).clamp(0, 1)

    return axis(window.top, window.bottom, canvas.rows)[:, None] * axis(window.left, window.right, canvas.columns)


def decode_windows(
    decode: Callable[[Window], Tensor],
    canvas: Canvas,
    windows: list[Window],
    margin: int,
    like: Tensor,
    spare: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Decode the windows and join them: (picture (B, H, W, 3), its share (H, W)), on the device of `like`.

    decode: a window to its picture in 0..1, which reshapes to (B, h * ratio, w * ratio, channels). like: (B, H, W, 3),
    the image that the latent belongs to. spare: see `taper`. Where the share is 0 nothing was decoded with enough
    context and the picture is 0. HiLoError if a decode is not finite.
    """
    picture = torch.from_numpy(np.zeros(like.shape, np.float32)).to(like)  # NumPy's zeros cost nothing until touched
    share = like.new_zeros(like.shape[1:3])
    counts = [taper(w, margin, canvas, spare).to(share) for w in windows]
    for window, count in zip(windows, counts, strict=True):
        share[canvas.pixels(window)] += count
    for window, count in zip(windows, counts, strict=True):
        y, x = canvas.pixels(window)
        part = decode(window).reshape(like.shape[0], *count.shape, -1)[..., :3].to(picture)
        if not all_finite(part):
            raise HiLoError(
                "The VAE gave NaN or infinite values. Start ComfyUI with --bf16-vae or --fp32-vae, or check the VAE."
            )
        part_of = torch.where(share[y, x] > 0, count / share[y, x], count)
        picture[:, y, x] += part * part_of[..., None]
    return picture, share
