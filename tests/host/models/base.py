"""What every small model has, and how one is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Small:
    """One small model and what its sampler needs."""

    family: str
    build: Callable[[], Any]
    channels: int
    cond: Callable[[int], tuple[torch.Tensor, dict]]  # text length -> cross attention, extras
    video: bool = False
    references: bool = False
    method: str = ""  # the way of placing references without which the model ignores them
    even: bool = False  # the host's own dense model fails on latents that are no multiple of the patch
    patch: int = 2  # latent pixels per token side
    width: int = 128  # of the transformer
    pixels: int = 16  # of the picture, per token side
    control: bool = False  # takes ControlNet residuals of (B, N, width)

    def allowed(self, height: int, width: int) -> tuple[int, int]:
        """The size, or the next smaller one that the dense model takes."""
        return (height // 2 * 2, width // 2 * 2) if self.even else (height, width)


def finish(config: Any, unet: dict, make: Callable[[Any], Any]) -> Any:
    config = config(unet)
    config.unet_config.update(unet)  # also over what the host fixes for its checkpoints
    config.set_inference_dtype(torch.float32, None)
    config.custom_operations = None
    torch.manual_seed(1)
    model = make(config).eval()
    for name, parameter in model.diffusion_model.named_parameters():
        parameter.data.normal_(1.0 if "norm" in name and parameter.ndim == 1 else 0.0, 0.05)
    for buffer in model.diffusion_model.buffers():
        if buffer.is_floating_point():
            buffer.normal_(0, 0.5)
    return model.requires_grad_(False)


def masked_text(length: int) -> tuple[torch.Tensor, dict]:
    """Text of models that count it by its mask."""
    embedded, extras = text(length)
    return embedded, {**extras, "attention_mask": torch.ones(1, length).long()}


def text(length: int) -> tuple[torch.Tensor, dict]:
    return torch.randn(1, length, 48), {"pooled_output": torch.randn(1, 32)}
