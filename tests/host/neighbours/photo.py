"""Masked edits of photos for the demo model, and how near one result is to another."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import comfy.sample
import comfy.sd
import comfy.utils
import numpy as np
import torch
from hilo_token.demo import model as demo_model
from PIL import Image
from torch import Tensor

from lab.data import masks
from lab.quality.fills import centre
from lab.train import autoencoder as train_autoencoder
from tools import host

from ..cases import Case

PHOTOS = ("demo", "coffee", "rocket")
TEXT = demo_model.TEXT_TOKENS


@lru_cache(maxsize=1)
def _vae() -> Any:
    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(train_autoencoder.WEIGHTS)))


@lru_cache(maxsize=8)
def edit(name: str, side: int = 256, ratio: float = 0.1) -> Case:
    """One photo with a drawn mask: the source picture is the positive conditioning, a blank one the negative."""
    number = PHOTOS.index(name)
    pixels = centre(np.asarray(Image.open(host.ROOT / "lab" / "photos" / f"{name}.jpg").convert("RGB")), side)
    drawn = masks.draw(np.random.default_rng(number), side, side, ratio)
    mask = torch.from_numpy(drawn)[None].float()
    seen = _vae().encode(torch.where(mask[..., None] > 0.5, 0.5, pixels))
    conds = [
        [
            [text, {**values, "concat_latent_image": picture, "concat_mask": mask[:, None]}]
            for text, values in demo_model.empty_conditioning()
        ]
        for picture in (seen, torch.zeros_like(seen))
    ]
    clean = _vae().encode(pixels)
    return Case(clean, mask[:, None], conds[0], conds[1], comfy.sample.prepare_noise(clean, 3))


def editable(edit: Case, like: Tensor) -> Tensor:
    """Bool, in the shape of a result: the latent pixels that may change at all."""
    mask = torch.nn.functional.interpolate(edit.mask, size=like.shape[-2:], mode="bilinear")
    return (mask > 0).expand_as(like)


def psnr(result: Tensor, wanted: Tensor, where: Tensor) -> float:
    """dB of the latent inside a region, over the span of the wanted one; equal ones have 120."""
    span = wanted[where].max() - wanted[where].min()
    return float(10 * torch.log10(span**2 / (result - wanted)[where].square().mean().clamp_min(1e-12 * span**2)))
