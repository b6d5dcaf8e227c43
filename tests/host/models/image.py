"""Other image models."""

from __future__ import annotations

from typing import Any

import comfy.model_base
import comfy.supported_models
import torch

from .base import finish


def qwen() -> Any:
    unet = dict(
        image_model="qwen_image",
        in_channels=64,
        out_channels=16,
        num_layers=2,
        attention_head_dim=128,
        num_attention_heads=1,
        joint_attention_dim=48,
    )
    return finish(comfy.supported_models.QwenImage, unet, lambda c: comfy.model_base.QwenImage(c))


def lumina(config: Any = None, base: Any = None, **changes: Any) -> Any:
    unet = dict(
        image_model="lumina2",
        patch_size=2,
        in_channels=16,
        dim=128,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=1,
        qk_norm=True,
        cap_feat_dim=48,
        axes_dims=[32, 16, 16],
        axes_lens=[300, 512, 512],
        rope_theta=10000.0,
        ffn_dim_multiplier=1.0,
    )
    base = base or comfy.model_base.Lumina2
    return finish(config or comfy.supported_models.Lumina2, unet | changes, lambda c: base(c))


def z_image() -> Any:
    return lumina(dim=256, n_heads=4, n_kv_heads=4, z_image_modulation=True, time_scale=1000.0, pad_tokens_multiple=32)


def sd3(**changes: Any) -> Any:
    unet = dict(
        image_model=None,
        in_channels=16,
        patch_size=2,
        depth=2,
        input_size=None,
        adm_in_channels=32,
        num_patches=48 * 48,
        pos_embed_max_size=48,
        qk_norm="rms",
        x_block_self_attn_layers=[0],
        context_embedder_config={"target": "torch.nn.Linear", "params": {"in_features": 48, "out_features": 128}},
    )
    unet.pop("image_model")
    unet |= changes
    return finish(comfy.supported_models.SD3, unet, lambda c: comfy.model_base.SD3(c))


def sd35_large() -> Any:
    """SD3.5 Large has no blocks with a second attention over the picture alone."""
    return sd3(x_block_self_attn_layers=[])


def hidream() -> Any:
    unet = dict(
        image_model="hidream",
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=128,
        num_attention_heads=1,
        caption_channels=[48, 40],
        text_emb_dim=32,
        num_routed_experts=2,
        num_activated_experts=1,
        axes_dims_rope=[64, 32, 32],
        max_resolution=[128, 128],
        llama_layers=[0, 1],
    )
    return finish(comfy.supported_models.HiDream, unet, lambda c: comfy.model_base.HiDream(c))


def hidream_cond(length: int) -> tuple[torch.Tensor, dict]:
    return torch.randn(1, length, 48), {
        "pooled_output": torch.randn(1, 32),
        "conditioning_llama3": torch.randn(1, 2, 9, 40),
    }


def krea2() -> Any:
    """Krea 2, in hosts that have it."""
    unet = dict(
        image_model="krea2",
        features=128,
        tdim=64,
        txtdim=24,
        heads=2,
        kvheads=1,
        layers=2,
        txtlayers=2,
        txtheads=2,
        txtkvheads=1,
    )
    return finish(comfy.supported_models.Krea2, unet, lambda c: comfy.model_base.Krea2(c))
