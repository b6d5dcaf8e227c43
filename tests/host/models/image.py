"""Other image models."""

from __future__ import annotations

from typing import Any

import torch

from .base import make


def qwen() -> Any:
    return make(
        "QwenImage",
        image_model="qwen_image",
        in_channels=64,
        out_channels=16,
        num_layers=2,
        attention_head_dim=128,
        num_attention_heads=1,
        joint_attention_dim=48,
    )


def lumina(name: str = "Lumina2", **changes: Any) -> Any:
    unet: dict[str, Any] = dict(
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
    return make(name, **unet | changes)


def z_image(name: str = "Lumina2", **changes: Any) -> Any:
    shape: dict[str, Any] = dict(dim=256, n_heads=4, n_kv_heads=4, z_image_modulation=True, time_scale=1000.0)
    return lumina(name, **shape, pad_tokens_multiple=32, **changes)


def z_image_pixel() -> Any:
    """Z-Image in pixel space: patches of two pixels, so that its pictures stay small."""
    return z_image(
        "ZImagePixelSpace",
        image_model="zimage_pixel",
        in_channels=3,
        decoder_hidden_size=64,
        decoder_num_res_blocks=1,
        decoder_max_freqs=4,
        decoder_in_channels=12,
    )


def sd3(**changes: Any) -> Any:
    unet: dict[str, Any] = dict(
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
    return make("SD3", **unet | changes)


def sd35_large() -> Any:
    """SD3.5 Large has no blocks with a second attention over the picture alone."""
    return sd3(x_block_self_attn_layers=[])


def hidream() -> Any:
    return make(
        "HiDream",
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


def hidream_cond(length: int) -> tuple[torch.Tensor, dict]:
    return torch.randn(1, length, 48), {
        "pooled_output": torch.randn(1, 32),
        "conditioning_llama3": torch.randn(1, 2, 9, 40),
    }
