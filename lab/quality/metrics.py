"""How far a filled picture is from another: inside the mask, at its border, and around it, before any compositing."""

from __future__ import annotations

import piq
import torch
import torch.nn.functional as F
from torch import Tensor

RING = 32  # pixels


def ring_of(mask: Tensor, width: int = RING) -> Tensor:
    """(H, W) bool, the pixels up to so far outside the mask."""
    grown = F.max_pool2d(mask[None, None].float(), 2 * width + 1, 1, width)[0, 0] > 0
    return grown & ~mask


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

    def blur(t: Tensor) -> Tensor:
        return F.conv2d(F.pad(t, (5, 5, 5, 5), mode="reflect"), kernel, groups=3)

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
