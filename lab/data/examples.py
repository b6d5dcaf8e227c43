"""Training examples of the demo transformer: latents of pictures, of the same with grey under a mask, and the masks."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from lab.data import masks, pictures, scenes
from lab.train import autoencoder as train_autoencoder

MASKS_EACH = 3
SCENES = 120
_log = logging.getLogger("lab.data.examples")


@dataclass
class Example:
    """Latents of one picture, as the model sees them, with masks drawn over all of it."""

    clean: torch.Tensor  # (16, h, w)
    masked: torch.Tensor  # (MASKS_EACH, 16, h, w)
    mask: torch.Tensor  # (MASKS_EACH, 8 h, 8 w) bool
    coarse: np.ndarray  # (MASKS_EACH, h, w) bool, one pixel in 64 of the mask


def encode(vae: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """(1, 3, H, W) in 0..1 -> (1, 16, H / 8, W / 8), after the host's process_in."""
    from comfy.latent_formats import Flux

    with torch.inference_mode(), torch.autocast(pixels.device.type, torch.bfloat16):
        z = vae.taesd_encoder(pixels.contiguous(memory_format=torch.channels_last)).float()
    return Flux().process_in(z / vae.vae_scale + vae.vae_shift).clone()


def load_vae(device: torch.device) -> torch.nn.Module:
    """The trained autoencoder."""
    from comfy.taesd.taesd import TAESD

    vae = TAESD(latent_channels=16)
    vae.load_state_dict({k: v.float() for k, v in load_file(train_autoencoder.WEIGHTS).items()})
    return vae.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def _arrays(cache: Path, rng: np.random.Generator) -> list[torch.Tensor]:
    """Photos at three scales, half of them mirrored, and scenes: (1, 3, H, W) in 0..1."""
    photos = pictures.load([p for p in pictures.prepare(cache) if not pictures.held_out(p)])
    arrays = []
    for photo in photos:
        x = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
        left = int(rng.integers(x.shape[-1] - 1024 + 1))
        half, quarter = F.avg_pool2d(x, 2), F.avg_pool2d(x, 4)
        arrays += [half, half.flip(3), quarter, quarter.flip(3), x[..., :1024, left : left + 1024]]
    drawn = (scenes.draw(1000 + s, 512) for s in range(SCENES))
    return arrays + [torch.from_numpy(d.copy()).permute(2, 0, 1)[None].float() / 255 for d in drawn]


def make_examples(cache: Path, device: torch.device) -> list[Example]:
    """Encode photos and scenes; cached in a file."""
    file = cache / "latents.pt"
    if file.exists():
        return [Example(*(t.to(device) for t in item[:3]), item[3]) for item in torch.load(file, weights_only=False)]
    vae, rng, examples = load_vae(device), np.random.default_rng(1), []
    for x in _arrays(cache, rng):
        x = x[..., : x.shape[-2] // 16 * 16, : x.shape[-1] // 16 * 16].to(device)
        h, w = x.shape[-2] // 4, x.shape[-1] // 4  # drawn small, since large masks take long to draw
        drawn = np.stack([masks.draw(rng, h, w, ratio=rng.uniform(0.1, 0.45)) for _ in range(MASKS_EACH)])
        drawn = drawn.repeat(4, 1).repeat(4, 2)
        mask = torch.from_numpy(drawn).to(device)
        masked = torch.cat([encode(vae, torch.where(m, 0.5, x)) for m in mask])
        examples.append(Example(encode(vae, x)[0].half(), masked.half(), mask, drawn[:, ::8, ::8].copy()))
        if len(examples) % 100 == 0:
            _log.info("encoded %d pictures", len(examples))
    torch.save([(e.clean.cpu(), e.masked.cpu(), e.mask.cpu(), e.coarse) for e in examples], file)
    return examples


def batch(
    examples: list[Example], rng: np.random.Generator, side: int, count: int, device: torch.device
) -> tuple[torch.Tensor, ...]:
    """Random crops: clean (B, 16, s, s), masked (B, 16, s, s), mask (B, 8 s, 8 s) with s latent pixels."""
    size = side * 2
    usable = [e for e in examples if min(e.clean.shape[1:]) >= size]
    out: tuple[list, ...] = ([], [], [])
    while len(out[0]) < count:
        e = usable[rng.integers(len(usable))]
        k = int(rng.integers(MASKS_EACH))
        top, left = (int(rng.integers(n - size + 1)) for n in e.clean.shape[1:])
        rows, columns = slice(top, top + size), slice(left, left + size)
        if not 0.02 < float(e.coarse[k, rows, columns].mean()) < 0.75:
            continue
        out[0].append(e.clean[:, rows, columns])
        out[1].append(e.masked[k, :, rows, columns])
        out[2].append(e.mask[k, top * 8 : (top + size) * 8, left * 8 : (left + size) * 8])
    clean, masked, mask = (torch.stack(tensors).to(device, torch.float32) for tensors in out)
    return clean, masked, mask


def condition(masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The 80 channels that the host concatenates for FLUX.1 Fill: masked latent, then the mask's 8x8 squares."""
    b, h, w = mask.shape
    squares = mask.view(b, h // 8, 8, w // 8, 8).permute(0, 2, 4, 1, 3).reshape(b, 64, h // 8, w // 8)
    return torch.cat([masked, squares], dim=1)
