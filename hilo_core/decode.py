"""Decoding what the edit costs: windows around the edits, and a blend that leaves every other pixel alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .errors import HiLoError


@dataclass(frozen=True)
class Window:
    """A rectangle of latent pixels to decode, and the part of it that is used."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """Latent pixels."""
        return (self.bottom - self.top) * (self.right - self.left)

    def grown(self, margin: int, height: int, width: int) -> Window:
        """With a margin, within (height, width)."""
        return Window(
            max(self.top - margin, 0),
            min(self.bottom + margin, height),
            max(self.left - margin, 0),
            min(self.right + margin, width),
        )

    def touches(self, other: Window) -> bool:
        """Whether the two overlap."""
        apart = self.bottom <= other.top or other.bottom <= self.top
        return not (apart or self.right <= other.left or other.right <= self.left)

    def union(self, other: Window) -> Window:
        """The smallest window that holds both."""
        return Window(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )


def latent_offset(image: int, latent: int, ratio: int) -> int:
    """Where, along one axis, the latent's picture starts in the image: the host's VAE encode crops the centre.

    image: pixels; latent: latent pixels; ratio: pixels per latent pixel. HiLoError if they cannot belong together.
    """
    rest = image - latent * ratio
    if not 0 <= rest < ratio:
        raise HiLoError(
            f"The latent decodes to {latent * ratio} px along one side, the original image has {image} px. "
            "Connect the image that was encoded, at its size."
        )
    return rest // 2


def edit_windows(used: Tensor, margin: int, full_from: float = 0.7) -> list[Window]:
    """Windows that cover all used latent pixels, with context around each.

    used: (h, w) bool. margin: latent pixels of context. Overlapping windows are joined; when together they are more
    than `full_from` of the latent, one window covers it all, which costs less. Empty if nothing is used.
    """
    height, width = used.shape
    boxes = ndimage.find_objects(ndimage.label(used.cpu().numpy(), np.ones((3, 3)))[0])
    windows = [Window(y.start, y.stop, x.start, x.stop).grown(margin, height, width) for y, x in boxes]
    joined = True
    while joined:
        joined = False
        for first in range(len(windows)):
            partner = next((k for k in range(first + 1, len(windows)) if windows[first].touches(windows[k])), None)
            if partner is not None:
                windows[first] = windows[first].union(windows.pop(partner))
                joined = True
                break
    if sum(w.area for w in windows) > full_from * height * width:
        return [Window(0, height, 0, width)]
    return windows


def feathered(mask: Tensor, feather: int) -> Tensor:
    """Blend weight: 1 where the mask is above 0, falling to 0 over `feather` pixels outside it.

    (B, H, W) in 0..1 -> the same shape. A smooth step, so that the seam has no edge of its own.
    """
    inside = mask > 0
    if feather <= 0:
        return inside.float()
    weights = []
    for item in inside.cpu().numpy():
        if not item.any():
            weights.append(torch.zeros(item.shape))
            continue
        far = torch.from_numpy(ndimage.distance_transform_edt(~item)).float()
        ramp = (1 - far / (feather + 1)).clamp(0, 1)
        weights.append(ramp * ramp * (3 - 2 * ramp))
    return torch.stack(weights).to(mask.device)


def blend(original: Tensor, decoded: Tensor, weight: Tensor) -> Tensor:
    """decoded over original, (B, H, W, 3) each, weight (B, H, W). Where the weight is 0 the original's bits stay."""
    w = weight[..., None]
    return torch.where(w > 0, original + (decoded - original) * w, original)


def match_ring(decoded: Tensor, original: Tensor, weight: Tensor, ring: Tensor) -> Tensor:
    """Shift the decoded colours so that they agree with the original on a ring around the edit.

    decoded, original: (B, H, W, 3); ring: (B, H, W) bool, pixels outside the mask. The shift is the ring's median
    difference, one number for each channel and picture; without ring pixels nothing is shifted.
    """
    shifted = decoded.clone()
    for item in range(decoded.shape[0]):
        if bool(ring[item].any()):
            difference = original[item][ring[item]] - decoded[item][ring[item]]
            shifted[item] += difference.median(dim=0).values
    return torch.where(weight[..., None] > 0, shifted.clamp(0, 1), decoded)
