"""How far an edited picture is from another, before any compositing: inside the mask, at its border, where it is worst.

Takes pictures in 0..1 and a mask, gives plain numbers. The lab's tables and the node HiLo Compare take their figures
from here, so that both mean the same by a word. HiLoError where the sizes differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import HiLoError

RING = 32  # pixels around the mask that count where a window looks beyond it
PLACE = 8  # the worst place has about this part of the edit's longer side ...
SMALLEST_PLACE = 16  # ... and at least so many pixels
_NOTHING = 1e-3  # of the range: a quarter of a step of 8 bits


@dataclass(frozen=True)
class Likeness:
    """One picture against another, inside the edit."""

    psnr: float  # dB, capped at 99
    ssim: float
    sharpness: float  # mean absolute Laplacian of the brightness
    sharpness_other: float
    border: float  # mean step across the mask's border, of 1
    border_other: float
    worst: tuple[int, int, int, int]  # top, left, bottom, right of the place that differs most, in pixels
    worst_psnr: float  # dB, there

    @property
    def sharper(self) -> float:
        """Sharpness as a multiple of the other's; what neither shows is no difference."""
        return (self.sharpness + _NOTHING) / (self.sharpness_other + _NOTHING)

    @property
    def rougher(self) -> float:
        """The step across the border as a multiple of the other's; what neither shows is no difference."""
        return (self.border + _NOTHING) / (self.border_other + _NOTHING)


def psnr(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
    """dB over the chosen pixels; a, b: (1, 3, H, W) in 0..1; where: (H, W) bool; capped at 99."""
    error = ((a - b).square().mean(1)[0] * where).sum() / where.sum().clamp(min=1)
    return -10 * error.clamp(min=10**-9.9).log10()


def ssim(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
    """Mean of the SSIM map over the chosen pixels (Wang et al. 2004: Gaussian window of 11, sigma 1.5)."""
    x = torch.arange(-5, 6, device=a.device, dtype=a.dtype)
    line = (-x.square() / 4.5).exp()
    line = line / line.sum()
    kernel = (line[:, None] * line[None]).expand(3, 1, 11, 11)
    edge = "reflect" if min(a.shape[-2:]) > 5 else "replicate"

    def blur(t: Tensor) -> Tensor:
        return F.conv2d(F.pad(t, (5, 5, 5, 5), mode=edge), kernel, groups=3)

    ma, mb = blur(a), blur(b)
    va, vb, ab = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * ma * mb + c1) * (2 * ab + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return (values.mean(1)[0] * where).sum() / where.sum().clamp(min=1)


def sharpness(a: Tensor, where: Tensor) -> Tensor:
    """Mean absolute Laplacian of the brightness inside."""
    grey = a.mean(1, keepdim=True)
    kernel = grey.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    edges = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernel).abs()[0, 0]
    return (edges * where).sum() / where.sum().clamp(min=1)


def border_jump(a: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of neighbours across the mask's border."""
    total, count = a.new_zeros(()), a.new_zeros(())
    for axis in (-1, -2):
        across = mask.float().diff(dim=axis) != 0
        total = total + (a.diff(dim=axis).abs().mean(1)[0] * across).sum()
        count = count + across.sum()
    return total / count.clamp(min=1)


def bounds(mask: Tensor, margin: int = 0) -> tuple[int, int, int, int]:
    """(H, W) bool, not empty -> top, left, bottom, right of its bounding box, grown by so many pixels."""
    y, x = torch.where(mask)
    height, width = mask.shape
    return (
        max(int(y.min()) - margin, 0),
        max(int(x.min()) - margin, 0),
        min(int(y.max()) + 1 + margin, height),
        min(int(x.max()) + 1 + margin, width),
    )


def worst_place(error: Tensor, mask: Tensor) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the square in which the edit differs most.

    error: (H, W), not negative. mask: (H, W) bool. Pixels outside the mask count as equal. Of equal squares the first.
    """
    top, left, bottom, right = bounds(mask)
    side = max(SMALLEST_PLACE, max(bottom - top, right - left) // PLACE)
    down, across = min(side, bottom - top), min(side, right - left)
    part = (error * mask)[None, None, top:bottom, left:right].float()
    means = F.avg_pool2d(part, (down, across), 1)[0, 0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    return top + row, left + column, top + row + down, left + column + across


def likeness(picture: Tensor, other: Tensor, mask: Tensor) -> Likeness:
    """How a picture differs from another inside the edit.

    picture, other: (H, W, 3) in 0..1. mask: (H, W) bool, not empty. HiLoError where sizes differ or nothing is painted.
    """
    if picture.shape != other.shape or picture.shape[:2] != mask.shape:
        sizes = ", ".join(f"{one.shape[1]}x{one.shape[0]}" for one in (picture, other, mask))
        raise HiLoError(f"Two pictures and their mask must have one size; these are {sizes} px.")
    if not bool(mask.any()):
        raise HiLoError("Nothing is painted, so there is no edit to compare.")
    mask = mask.to(picture.device)
    top, left, bottom, right = bounds(mask, RING)
    inside = mask[top:bottom, left:right]
    a, b = (one[top:bottom, left:right].movedim(-1, 0)[None].float().contiguous() for one in (picture, other))
    place = worst_place((a - b).square().mean(1)[0], inside)
    y, x = slice(place[0], place[2]), slice(place[1], place[3])
    return Likeness(
        psnr=float(psnr(a, b, inside)),
        ssim=float(ssim(a, b, inside)),
        sharpness=float(sharpness(a, inside)),
        sharpness_other=float(sharpness(b, inside)),
        border=float(border_jump(a, inside)),
        border_other=float(border_jump(b, inside)),
        worst=(place[0] + top, place[1] + left, place[2] + top, place[3] + left),
        worst_psnr=float(psnr(a[..., y, x], b[..., y, x], inside[y, x])),
    )


def mean_likeness(found: list[Likeness]) -> Likeness:
    """Of the pictures of a batch: means, and the worst place of the worst."""
    worst = min(found, key=lambda one: one.worst_psnr)
    names = ("psnr", "ssim", "sharpness", "sharpness_other", "border", "border_other")
    mean = {name: sum(getattr(one, name) for one in found) / len(found) for name in names}
    return Likeness(**mean, worst=worst.worst, worst_psnr=worst.worst_psnr)
