"""The demo model and its VAE: a small transformer with the geometry of FLUX.1 Fill, on the host's own classes.

16-channel latents of an 8x VAE, patch 2, 96 input channels (noise, masked picture, 8x8 mask), heads of 128 with RoPE
axes 16/56/56; 1024x1024 px are 4096 tokens. It has no text encoder: its conditioning is always empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WEIGHTS = Path(__file__).with_name("hilo_demo_dit.safetensors")
VAE_WEIGHTS = Path(__file__).with_name("hilo_demo_vae.safetensors")
SHIFT = 3.0  # of the flow schedule, in training and in sampling
SUFFIX = ".int8_scale"
TEXT_TOKENS, TEXT_WIDTH, POOLED_WIDTH = 8, 64, 32


def unet_config() -> dict[str, Any]:
    """The host's model configuration."""
    return {
        "image_model": "flux", "in_channels": 96, "out_channels": 16, "patch_size": 2, "hidden_size": 256,
        "num_heads": 2, "axes_dim": [16, 56, 56], "theta": 10000, "mlp_ratio": 4.0, "qkv_bias": True,
        "depth": 1, "depth_single_blocks": 8, "context_in_dim": TEXT_WIDTH, "vec_in_dim": POOLED_WIDTH,
        "guidance_embed": False,
    }  # fmt: skip


def build(dtype: torch.dtype = torch.float32) -> Any:
    """The host's BaseModel with empty weights."""
    import dataclasses

    import comfy.model_base
    import comfy.supported_models
    from comfy.ldm.flux.model import FluxParams

    config = unet_config()
    if "txt_ids_dims" in {field.name for field in dataclasses.fields(FluxParams)}:
        config["txt_ids_dims"] = []
    supported = comfy.supported_models.FluxSchnell(config)
    supported.sampling_settings = {"multiplier": 1.0, "shift": SHIFT}
    supported.set_inference_dtype(dtype, None)
    return comfy.model_base.Flux(supported, model_type=comfy.model_base.ModelType.FLOW)


def pack(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Matrices as int8 with one fp16 scale a row (`name.int8_scale`), the rest as fp16: half the size of fp16."""
    packed = {}
    for name, value in state.items():
        value = value.detach().float().cpu()
        if value.ndim == 2:
            scale = value.abs().amax(1, keepdim=True).clamp(min=1e-8).div(127).half()
            packed[f"{name}{SUFFIX}"] = scale
            packed[name] = value.div(scale.float()).round().clamp(-127, 127).to(torch.int8)
        else:
            packed[name] = value.half().contiguous()
    return packed


def unpack(packed: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of `pack`, in fp32."""
    state = {name: value.float() for name, value in packed.items() if not name.endswith(SUFFIX)}
    return {name: value * packed.get(f"{name}{SUFFIX}", torch.ones(())).float() for name, value in state.items()}


def load(path: Path = WEIGHTS) -> Any:
    """A ModelPatcher with the trained weights, as the host's loader makes it."""
    import comfy.model_management as management
    import comfy.model_patcher
    import comfy.utils

    device = management.get_torch_device()
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    model = build(dtype)
    state = unpack(comfy.utils.load_torch_file(str(path), safe_load=True))
    wanted = model.diffusion_model.state_dict().keys()  # hosts from 0.29 call a norm's scale its weight
    state = {k if k in wanted else k.replace("_norm.scale", "_norm.weight"): v.to(dtype) for k, v in state.items()}
    model.diffusion_model.load_state_dict(state)
    model.diffusion_model.to(dtype).train(False).requires_grad_(False)
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=management.unet_offload_device())


def load_vae() -> Any:
    """The VAE that the model was trained with, 8 px to a latent pixel, as the host's Load VAE makes it."""
    import comfy.sd
    import comfy.utils

    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(VAE_WEIGHTS), safe_load=True))


def empty_conditioning() -> list:
    """The conditioning that the model was trained with."""
    return [[torch.zeros(1, TEXT_TOKENS, TEXT_WIDTH), {"pooled_output": torch.zeros(1, POOLED_WIDTH)}]]
