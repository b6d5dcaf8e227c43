"""What every small model has, and how one is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_base
import comfy.supported_models
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
    inputs: Callable[[torch.Tensor], dict] = lambda latent: {}  # further conditioning, of the latent's size
    control: bool = False  # takes ControlNet residuals of (B, N, width)

    def allowed(self, height: int, width: int) -> tuple[int, int]:
        """Latent pixels of a picture, given for patches of two; the next smaller ones that the dense model takes."""
        height, width = height * self.patch // 2, width * self.patch // 2
        return (height // 2 * 2, width // 2 * 2) if self.even else (height, width)


def make(name: str, base: Callable[[Any], Any] | None = None, /, **unet: Any) -> Any:
    """The host's model of that name on a random transformer of such settings. base: its class, if named otherwise."""
    config = getattr(comfy.supported_models, name)(unet)
    config.unet_config.update(unet)  # also over what the host fixes for its checkpoints
    config.set_inference_dtype(torch.float32, None)
    config.custom_operations = None
    torch.manual_seed(1)
    model = (base or getattr(comfy.model_base, name))(config).eval()
    for path, parameter in model.diffusion_model.named_parameters():
        parameter.data.normal_(1.0 if "norm" in path and parameter.ndim == 1 else 0.0, 0.05)
    for buffer in model.diffusion_model.buffers():
        if buffer.is_floating_point():
            buffer.normal_(0, 0.5)
    return model.requires_grad_(False)


def known(params: type, **values: Any) -> dict[str, Any]:
    """Those settings that this host's class has."""
    names = {field.name for field in dataclasses.fields(params)}
    return {name: value for name, value in values.items() if name in names}


def masked_text(length: int) -> tuple[torch.Tensor, dict]:
    """Text of models that count it by its mask."""
    embedded, extras = text(length)
    return embedded, {**extras, "attention_mask": torch.ones(1, length).long()}


def text(length: int) -> tuple[torch.Tensor, dict]:
    return torch.randn(1, length, 48), {"pooled_output": torch.randn(1, 32)}
