"""One masked edit on a small model, through the host's own sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sample
import torch

from .models import Small


def patcher(model: Any) -> comfy.model_patcher.ModelPatcher:
    """A ModelPatcher on the CPU, or on the GPU if there is one."""
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model.to(device), load_device=device, offload_device=torch.device("cpu"))


@dataclass
class Case:
    """One masked edit."""

    latent: torch.Tensor
    mask: torch.Tensor | None
    positive: list
    negative: list
    noise: torch.Tensor

    def sample(
        self,
        model: Any,
        steps: int = 4,
        cfg: float = 1.0,
        sampler: str = "euler",
        scheduler: str = "simple",
        denoise: float = 1.0,
    ) -> torch.Tensor:
        """Through the host's own sampler."""
        torch.manual_seed(5)
        return comfy.sample.sample(
            model,
            self.noise,
            steps,
            cfg,
            sampler,
            scheduler,
            self.positive,
            self.negative,
            self.latent,
            denoise=denoise,
            noise_mask=self.mask,
            seed=3,
            disable_pbar=True,
        )


def case(
    small: Small,
    height: int = 20,
    width: int = 28,
    batch: int = 1,
    edit: tuple[int, int, int, int] = (4, 10, 6, 14),
    frames: int = 1,
) -> Case:
    """A random latent, a box mask (top, bottom, left, right in latent pixels), conditionings of two lengths.

    frames: of the latent, of a video model. The box of a clip moves to the right, and is not there in its first frame
    nor in its last.
    """
    torch.manual_seed(2)
    axes = (frames,) if small.video else ()
    latent = torch.randn(batch, small.channels, *axes, height, width)
    mask = torch.zeros(1, 1, *((frames,) if frames > 1 else ()), height, width)
    top, bottom, left, right = edit
    if frames == 1:
        mask[..., top:bottom, left:right] = 1
    for frame in range(1, frames - 1):
        mask[:, :, frame, top:bottom, left + 2 * frame : right + 2 * frame] = 1
    conds = []
    for length in (7, 7):
        text, extras = small.cond(length)
        conds.append([[text, dict(extras) | small.inputs(latent)]])
    return Case(latent, mask, conds[0], conds[1], torch.randn_like(latent))
