"""How far a filled picture is from another: inside the mask, at its border, and around it, before any compositing."""

from __future__ import annotations

import piq
import torch
import torch.nn.functional as F
from hilo_token.hilo_core.likeness import RING, border_jump, psnr, sharpness, ssim
from torch import Tensor

__all__ = ["RING", "border_jump", "compare", "psnr", "ring_of", "sharpness", "ssim"]


def ring_of(mask: Tensor, width: int = RING) -> Tensor:
    """(H, W) bool, the pixels up to so far outside the mask."""
    grown = F.max_pool2d(mask[None, None].float(), 2 * width + 1, 1, width)[0, 0] > 0
    return grown & ~mask


def compare(out: Tensor, dense: Tensor, truth: Tensor, mask: Tensor, full: bool = True) -> dict[str, float]:
    """All figures of one fill. out, dense, truth: (1, 3, H, W) in 0..1; mask: (H, W) bool.

    MS-SSIM, GMSD, HaarPSI and FSIM (piq) are taken on the mask's bounding box, grown by the ring; only HaarPSI if not
    `full`.
    """
    ring = ring_of(mask)
    y, x = torch.where(mask | ring)
    box = (..., slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1))
    o, d, t = out[box].contiguous(), dense[box].contiguous(), truth[box].contiguous()
    inside, around = mask[box[1:]], ring[box[1:]]
    found = {"sharpness": sharpness(o, inside), "border": border_jump(o, inside),
             "ring_shift": 255 * (o - t)[..., around].mean(-1).abs().mean()}  # fmt: skip
    for name, cut in (("dense", d), ("truth", t)):
        found[f"psnr_{name}"], found[f"ssim_{name}"] = psnr(o, cut, inside), ssim(o, cut, inside)
        found[f"ring_psnr_{name}"] = psnr(o, cut, around)
        found[f"haarpsi_{name}"] = piq.haarpsi(o, cut, data_range=1.0)
        if full:
            found[f"gmsd_{name}"] = piq.gmsd(o, cut, data_range=1.0)
            found[f"fsim_{name}"] = piq.fsim(o, cut, data_range=1.0)
        if full and min(o.shape[-2:]) > 160:
            found[f"ms_ssim_{name}"] = piq.multi_scale_ssim(o, cut, data_range=1.0)
    values = torch.stack([v.float().reshape(()) for v in found.values()]).tolist()
    return dict(zip(found, values, strict=True))
