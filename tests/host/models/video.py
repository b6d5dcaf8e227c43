"""Video models, which make pictures as one frame, and image models on their classes."""

from __future__ import annotations

import dataclasses
from typing import Any

import comfy.model_base
import comfy.supported_models

from .base import finish


def hunyuan(config: Any = None, base: Any = None, **changes: Any) -> Any:
    unet: dict[str, Any] = dict(
        image_model="hunyuan_video",
        in_channels=16,
        out_channels=16,
        vec_in_dim=32,
        context_in_dim=48,
        hidden_size=128,
        mlp_ratio=2.0,
        num_heads=1,
        depth=1,
        depth_single_blocks=1,
        axes_dim=[16, 56, 56],
        theta=256,
        patch_size=[1, 2, 2],
        qkv_bias=True,
        guidance_embed=True,
        byt5=False,
        meanflow=False,
        use_cond_type_embedding=False,
        vision_in_dim=None,
        meanflow_sum=False,
    )
    fields = {field.name for field in dataclasses.fields(comfy.ldm.hunyuan_video.model.HunyuanVideoParams)}
    unet = {k: v for k, v in (unet | changes).items() if k in fields or k == "image_model"}
    base = base or comfy.model_base.HunyuanVideo
    return finish(config or comfy.supported_models.HunyuanVideo, unet, lambda c: base(c))


def hunyuan_image() -> Any:
    """HunyuanImage 2.1: two axes, patches of one latent pixel."""
    return hunyuan(
        comfy.supported_models.HunyuanImage21,
        comfy.model_base.HunyuanImage21,
        in_channels=64,
        out_channels=64,
        vec_in_dim=None,
        axes_dim=[64, 64],
        patch_size=[1, 1],
        guidance_embed=False,
    )


def wan(config: Any = None, base: Any = None, **changes: Any) -> Any:
    unet: dict[str, Any] = dict(
        image_model="wan2.1",
        model_type="t2v",
        patch_size=(1, 2, 2),
        text_len=512,
        in_dim=16,
        dim=128,
        ffn_dim=128,
        freq_dim=64,
        text_dim=48,
        out_dim=16,
        num_heads=1,
        num_layers=2,
    )
    base = base or comfy.model_base.WAN21
    return finish(config or comfy.supported_models.WAN21_T2V, unet | changes, lambda c: base(c))


def wan22() -> Any:
    """Wan 2.2 5B: 48 channels, and a timestep that follows the denoise mask."""
    return wan(comfy.supported_models.WAN22_T2V, comfy.model_base.WAN22, in_dim=48, out_dim=48)
