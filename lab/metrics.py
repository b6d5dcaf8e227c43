"""How far a filled picture is from another: inside the mask, at its border, and around it, before any compositing."""

from __future__ import annotations

import numpy as np
import piq
import torch
import torch.nn.functional as F
from torch import Tensor

RING = 32  # pixels


def ring_of(mask: Tensor, width: int = RING) -> Tensor:
    """(H, W) bool, the pixels up to so far outside the mask."""
    grown = F.max_pool2d(mask[None, None].float(), 2 * width + 1, 1, width)[0, 0] > 0
    return grown & ~mask


def psnr(a: Tensor, b: Tensor, where: Tensor) -> float:
    """dB over the chosen pixels; a, b: (1, 3, H, W) in 0..1; capped at 99."""
    error = (a - b).square()[..., where].mean().item()
    return min(99.0, -10 * float(np.log10(max(error, 1e-12))))


def sharpness(a: Tensor, where: Tensor) -> float:
    """Mean absolute Laplacian of the brightness inside."""
    grey = a.mean(1, keepdim=True)
    kernel = grey.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return float(F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernel).abs()[0, 0][where].mean())


def border_jump(a: Tensor, mask: Tensor) -> float:
    """Mean absolute difference of neighbours across the mask's border."""
    across = (a.diff(dim=-1).abs().mean(1)[0])[mask[:, 1:] != mask[:, :-1]]
    down = (a.diff(dim=-2).abs().mean(1)[0])[mask[1:] != mask[:-1]]
    return float(torch.cat([across, down]).mean())


def compare(out: Tensor, dense: Tensor, truth: Tensor, mask: Tensor) -> dict[str, float]:
    """All figures of one fill. out, dense, truth: (1, 3, H, W) in 0..1; mask: (H, W) bool.

    Perceptual metrics (piq) are taken on the mask's bounding box, grown by the ring.
    """
    ring = ring_of(mask)
    y, x = torch.where(mask | ring)
    box = (..., slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1))
    o, d, t = out[box].contiguous(), dense[box].contiguous(), truth[box].contiguous()
    return {
        "psnr_dense": psnr(out, dense, mask),
        "psnr_truth": psnr(out, truth, mask),
        "ssim_dense": float(piq.ssim(o, d, data_range=1.0)),
        "ssim_truth": float(piq.ssim(o, t, data_range=1.0)),
        "gmsd_dense": float(piq.gmsd(o, d, data_range=1.0)),
        "haarpsi_dense": float(piq.haarpsi(o, d, data_range=1.0)),
        "sharpness": sharpness(out, mask) / max(sharpness(dense, mask), 1e-6),
        "border": border_jump(out, mask) / max(border_jump(truth, mask), 1e-6),
        "ring_shift": float((out - dense)[..., ring].mean().abs()) * 255,
    }


def interval(values: list[float], seed: int = 0, draws: int = 2000) -> tuple[float, float, float]:
    """(mean, lower, upper): 95 % bootstrap interval of the mean."""
    array, rng = np.asarray(values), np.random.default_rng(seed)
    means = array[rng.integers(len(array), size=(draws, len(array)))].mean(axis=1)
    return float(array.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))
