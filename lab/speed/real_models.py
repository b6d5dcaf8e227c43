"""Models that artists download, at their real size on the host's own classes, with random weights: for speed only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 3072,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}
KLEIN = {
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "vec_in_dim": None,
    "context_in_dim": 7680,
    "hidden_size": 3072,
    "mlp_ratio": 3.0,
    "num_heads": 24,
    "depth": 5,
    "depth_single_blocks": 20,
    "axes_dim": [32, 32, 32, 32],
    "theta": 2000,
    "patch_size": 1,
    "qkv_bias": False,
    "guidance_embed": False,
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}
QWEN = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 60,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 3584,
}
Z_IMAGE = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 3840,
    "n_layers": 30,
    "n_refiner_layers": 2,
    "n_heads": 30,
    "n_kv_heads": 30,
    "qk_norm": True,
    "cap_feat_dim": 2560,
    "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512],
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 8.0 / 3.0,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
_DEPTHS = ("depth", "depth_single_blocks", "num_layers", "n_layers", "n_refiner_layers")


@dataclass(frozen=True)
class Real:
    """One model at its size."""

    unet: dict[str, Any]
    config: str  # in comfy.supported_models
    base: str  # in comfy.model_base
    text: tuple[int, int]  # tokens, width
    channels: int = 16
    downscale: int = 8  # of its VAE
    pooled: int = 768
    reference: bool = False
    video: bool = False


REAL: dict[str, Real] = {
    "FLUX.1 Fill": Real({**FLUX, "in_channels": 96}, "Flux", "Flux", (256, 4096)),
    "FLUX.1 Kontext": Real(FLUX, "Flux", "Flux", (256, 4096), reference=True),
    "FLUX.2 klein 4B": Real(KLEIN, "Flux2", "Flux2", (512, 7680), channels=128, downscale=16, reference=True),
    "Qwen-Image-Edit": Real(QWEN, "QwenImage", "QwenImage", (256, 3584), reference=True, video=True),
    "Z-Image": Real(Z_IMAGE, "Lumina2", "Lumina2", (256, 2560)),
}


def build(real: Real, layers: int = 0, fp8: bool = False) -> Any:
    """A ModelPatcher with random weights, bf16 on a GPU. layers: at most so many blocks of each kind; 0: all.

    fp8: weights in float8_e4m3fn, which the host casts to bf16 layer by layer.
    """
    import comfy.model_base
    import comfy.model_management as management
    import comfy.model_patcher
    import comfy.supported_models
    from comfy.ldm.flux.model import FluxParams

    device = management.get_torch_device()
    unet = {k: min(v, layers) if layers and k in _DEPTHS else v for k, v in real.unet.items()}
    if real.base.startswith("Flux") and "txt_ids_dims" in {f.name for f in dataclasses.fields(FluxParams)}:
        unet["txt_ids_dims"] = [3] if real.base == "Flux2" else []
    config = getattr(comfy.supported_models, real.config)(unet)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    config.set_inference_dtype(torch.float8_e4m3fn if fp8 else dtype, dtype if fp8 else None)
    config.custom_operations = None
    make: Callable[..., Any] = getattr(comfy.model_base, real.base)
    model = make(config, device=device).eval().requires_grad_(False)
    for parameter in model.diffusion_model.parameters():
        parameter.copy_(torch.empty(parameter.shape, dtype=dtype, device=device).normal_(0, 0.02))
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


def inputs(real: Real, side: int, shape: tuple[int, int] | None = None) -> tuple[torch.Tensor, list]:
    """(latent, conditioning) of a picture of side x side px, or of `shape` tokens (rows, columns)."""
    patch = 16 // real.downscale
    rows, columns = shape or (side // 16, side // 16)
    generator = torch.Generator().manual_seed(0)
    frame = (1,) if real.video else ()
    latent = torch.randn(1, real.channels, *frame, rows * patch, columns * patch, generator=generator)
    extras: dict[str, Any] = {"pooled_output": torch.randn(1, real.pooled, generator=generator)}
    if real.reference:
        extras["reference_latents"] = [torch.randn(latent.shape, generator=generator)]
    return latent, [[torch.randn(1, *real.text, generator=generator), extras]]
