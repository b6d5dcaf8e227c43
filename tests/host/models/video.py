"""Video models, which make pictures as one frame, and image models on their classes."""

from __future__ import annotations

from typing import Any

import comfy.model_base
from comfy.ldm.hunyuan_video.model import HunyuanVideoParams

from .base import known, make


def hunyuan(name: str = "HunyuanVideo", **changes: Any) -> Any:
    unet: dict[str, Any] = dict(
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
    return make(name, image_model="hunyuan_video", **known(HunyuanVideoParams, **unet | changes))


def hunyuan_image() -> Any:
    """HunyuanImage 2.1: two axes, patches of one latent pixel."""
    return hunyuan(
        "HunyuanImage21",
        in_channels=64,
        out_channels=64,
        vec_in_dim=None,
        axes_dim=[64, 64],
        patch_size=[1, 1],
        guidance_embed=False,
    )


def wan(name: str = "WAN21_T2V", base: Any = comfy.model_base.WAN21, **changes: Any) -> Any:
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
    return make(name, base, **unet | changes)


def wan22() -> Any:
    """Wan 2.2 5B: 48 channels, and a timestep that follows the denoise mask."""
    return wan("WAN22_T2V", comfy.model_base.WAN22, in_dim=48, out_dim=48)
