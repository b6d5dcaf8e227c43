"""Colour drift: what a model or a VAE does to the colours of pixels that it should have left alone, undone.

Takes pixels (n, 3) of both pictures that should be alike, gives a gain and an offset for each channel of
Oklab, and whether applying them helps. It never looks at pixels of the edit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# sRGB (linear) to cone responses and those, cube-rooted, to lightness and two opponent colours:
# B. Ottosson, "A perceptual color space for image processing", 2020
_CONES = ((0.4122214708, 0.5363325363, 0.0514459929), (0.2119034982, 0.6806995451, 0.1073969566),
          (0.0883024619, 0.2817188376, 0.6299787005))  # fmt: skip
_OPPONENT = ((0.2104542553, 0.7936177850, -0.0040720468), (1.9779984951, -2.4285922050, 0.4505937099),
             (0.0259040371, 0.7827717662, -0.8086757660))  # fmt: skip
LEAST, MOST = 0.8, 1.25  # contrast that a drift may have had; beyond, something else is the matter


def to_oklab(rgb: Tensor) -> Tensor:
    """sRGB in 0..1, (..., 3), to Oklab: lightness 0..1, green-red and blue-yellow about -0.4..0.4."""
    rgb = rgb.clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = linear @ rgb.new_tensor(_CONES).T
    return cones.clamp_min(0) ** (1 / 3) @ rgb.new_tensor(_OPPONENT).T


def from_oklab(lab: Tensor) -> Tensor:
    """The inverse of `to_oklab`, clamped to 0..1."""
    cones = (lab @ torch.linalg.inv(lab.new_tensor(_OPPONENT)).T) ** 3
    linear = (cones @ torch.linalg.inv(lab.new_tensor(_CONES)).T).clamp(0, 1)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@dataclass(frozen=True)
class Match:
    """A gain and an offset for each channel of Oklab, (3,) each."""

    gain: Tensor
    offset: Tensor

    def __call__(self, rgb: Tensor) -> Tensor:
        """sRGB (..., 3) in 0..1, corrected."""
        return from_oklab(to_oklab(rgb) * self.gain + self.offset)


def fit(decoded: Tensor, original: Tensor) -> Match:
    """The correction that gives `decoded` the mean and the spread of `original`; sRGB pixels in 0..1, (n, 3) each.

    Spreads instead of a regression: the noise of a VAE would make a regression's slope too small.
    """
    new, old = to_oklab(decoded), to_oklab(original)
    spread_new, spread_old = new.std(0, correction=0), old.std(0, correction=0)
    gain = torch.where(spread_new > 1e-3, spread_old / spread_new.clamp_min(1e-3), torch.ones_like(spread_new))
    gain = gain.clamp(LEAST, MOST)
    return Match(gain, old.mean(0) - gain * new.mean(0))


def helpful(decoded: Tensor, original: Tensor, part: Tensor, least: float = 0.05) -> Match | None:
    """The correction if it helps, else None: fitted on one half of the pixels, it must better the other half.

    decoded, original: sRGB pixels in 0..1 that should be equal, (n, 3) each. part: (n,) bool, the halves. least: share
    of the mean difference in Oklab that must go in the held-out pixels of both halves together.
    """
    if min(int(part.sum()), int((~part).sum())) < 16:
        return None
    before = (to_oklab(decoded) - to_oklab(original)).abs().sum()
    after = torch.zeros_like(before)
    for fitted, held in ((part, ~part), (~part, part)):
        corrected = fit(decoded[fitted], original[fitted])(decoded[held])
        after += (to_oklab(corrected) - to_oklab(original[held])).abs().sum()
    return fit(decoded, original) if bool(after < (1 - least) * before) else None
