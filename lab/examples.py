"""Training examples of the demo transformer: latents of pictures, of the same with grey under a mask, and the masks."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from lab import masks, pictures, scenes, train_autoencoder

MASKS_EACH = 2
_log = logging.getLogger("lab.examples")


@dataclass
class Example:
    """Latents of one picture, as the model sees them, with masks drawn over all of it."""

    clean: torch.Tensor  # (16, h, w)
    masked: torch.Tensor  # (MASKS_EACH, 16, h, w)
    mask: torch.Tensor  # (MASKS_EACH, 8 h, 8 w) bool


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


def make_examples(cache: Path, device: torch.device) -> list[Example]:
    """Encode photos and scenes at three scales; cached in a file."""
    file = cache / "latents.pt"
    if file.exists():
        return [Example(*item) for item in torch.load(file)]
    vae, rng, examples = load_vae(device), np.random.default_rng(1), []
    photos = pictures.load([p for p in pictures.prepare(cache) if not pictures.held_out(p)])
    sources = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() / 255 for p in photos]
    arrays = []
    for number, x in enumerate(sources):
        half, quarter = F.avg_pool2d(x, 2), F.avg_pool2d(x, 4)
        arrays += [half, quarter]
        if number % 3 == 0:
            left = int(rng.integers(x.shape[-1] - 1024 + 1))
            arrays.append(x[..., :1024, left : left + 1024])
    arrays += [
        torch.from_numpy(scenes.draw(1000 + s, 512).copy()).permute(2, 0, 1)[None].float() / 255 for s in range(64)
    ]
    for x in arrays:
        x = x[..., : x.shape[-2] // 16 * 16, : x.shape[-1] // 16 * 16].to(device)
        drawn = np.stack([masks.draw(rng, *x.shape[-2:], ratio=rng.uniform(0.15, 0.45)) for _ in range(MASKS_EACH)])
        mask = torch.from_numpy(drawn).to(device)
        masked = [encode(vae, torch.where(m, 0.5, x)) for m in mask]
        examples.append(Example(encode(vae, x)[0].half().cpu(), torch.cat(masked).half().cpu(), mask.cpu()))
        if len(examples) % 40 == 0:
            _log.info("encoded %d of %d", len(examples), len(arrays))
    torch.save([(e.clean, e.masked, e.mask) for e in examples], file)
    return examples


def batch(examples: list[Example], rng: np.random.Generator, side: int, count: int) -> tuple[torch.Tensor, ...]:
    """Random crops: clean (B, 16, s, s), masked (B, 16, s, s), mask (B, 8 s, 8 s) with s latent pixels."""
    size = side * 2
    usable = [e for e in examples if min(e.clean.shape[1:]) >= size]
    out: tuple[list, ...] = ([], [], [])
    while len(out[0]) < count:
        e = usable[rng.integers(len(usable))]
        k = int(rng.integers(MASKS_EACH))
        top, left = (int(rng.integers(n - size + 1)) for n in e.clean.shape[1:])
        mask = e.mask[k, top * 8 : (top + size) * 8, left * 8 : (left + size) * 8]
        if not 0.02 < float(mask[::8, ::8].float().mean()) < 0.75:
            continue
        out[0].append(e.clean[:, top : top + size, left : left + size])
        out[1].append(e.masked[k, :, top : top + size, left : left + size])
        out[2].append(mask)
    return torch.stack(out[0]).float(), torch.stack(out[1]).float(), torch.stack(out[2]).float()


def condition(masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The 80 channels that the host concatenates for FLUX.1 Fill: masked latent, then the mask's 8x8 squares."""
    b, h, w = mask.shape
    squares = mask.view(b, h // 8, 8, w // 8, 8).permute(0, 2, 4, 1, 3).reshape(b, 64, h // 8, w // 8)
    return torch.cat([masked, squares], dim=1)
