"""Video models, which make pictures as one frame, and image models on their classes."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import comfy.model_base
import torch
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


def hunyuan15() -> Any:
    """HunyuanVideo 1.5: tokens of one latent pixel, further channels for the start image."""
    return hunyuan(
        "HunyuanVideo15",
        in_channels=65,
        out_channels=32,
        vec_in_dim=None,
        patch_size=[1, 1, 1],
        guidance_embed=False,
        vision_in_dim=1152,
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


def wan_i2v() -> Any:
    """Wan 2.1 image-to-video: the start image lies in further channels, and is seen by CLIP."""
    base = functools.partial(comfy.model_base.WAN21, image_to_video=True)
    return wan("WAN21_I2V", base, model_type="i2v", in_dim=36)


def start_image(latent: torch.Tensor) -> dict[str, Any]:
    """What nodes of image-to-video give: the first frame, a mask of those that are not known, and what CLIP sees."""
    generator = torch.Generator().manual_seed(6)
    unknown = torch.ones(1, 1, *latent.shape[2:])
    unknown[:, :, 0] = 0
    wide, narrow = (torch.randn(1, 257, width, generator=generator) for width in (1280, 1152))
    seen = SimpleNamespace(penultimate_hidden_states=wide, last_hidden_state=narrow)
    return {"concat_latent_image": latent[:1] * (1 - unknown), "concat_mask": unknown, "clip_vision_output": seen}


def control_video(latent: torch.Tensor) -> dict[str, Any]:
    """What two Wan VACE nodes give: a video with a mask each, and how much it counts."""
    generator = torch.Generator().manual_seed(6)
    shape = latent.shape[2:]
    return {
        "vace_frames": [torch.randn(1, 32, *shape, generator=generator) for _ in range(2)],
        "vace_mask": [torch.rand(1, 64, *shape, generator=generator).round() for _ in range(2)],
        "vace_strength": [1.0, 0.6],
    }
