"""What artists add to a model, made of random numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def residuals(blocks: int, count: int, width: int) -> Any:
    """A ControlNet that gives random residuals for each token."""
    import comfy.controlnet

    class Residuals(comfy.controlnet.ControlBase):  # type: ignore[misc]  # the host has no types
        def get_control(self, x_noisy: Tensor, t: Any, cond: Any, batched_number: int, *_: Any) -> dict[str, Any]:
            made = torch.randn(1, count, width, generator=torch.Generator().manual_seed(7)).to(x_noisy)
            made = made.expand(x_noisy.shape[0], -1, -1) * t.flatten()[0].to(x_noisy)  # other ones in each step
            return {"input": [made] * blocks, "output": [made] * blocks}

        def copy(self) -> Any:
            return self

        def get_models(self) -> list[Any]:
            return []

    return Residuals()


def lora(model: Any, strength: float) -> Any:
    """A clone with a difference on three weights."""
    clone, generator = model.clone(), torch.Generator().manual_seed(3)
    names = [n for n, p in model.model.named_parameters() if p.ndim == 2 and n.startswith("diffusion_model.")][:3]
    shapes = {name: dict(model.model.named_parameters())[name].shape for name in names}
    clone.add_patches({n: ("diff", (0.05 * torch.randn(s, generator=generator),)) for n, s in shapes.items()}, strength)
    return clone
