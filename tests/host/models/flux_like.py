"""FLUX.1's class and those made from it."""

from __future__ import annotations

import dataclasses
from typing import Any

import comfy.model_base
import comfy.supported_models
from comfy.ldm.chroma.model import ChromaParams
from comfy.ldm.flux.model import FluxParams

from .base import finish


def flux_unet(**changes: Any) -> dict:
    unet = dict(
        image_model="flux",
        in_channels=16,
        out_channels=16,
        vec_in_dim=32,
        context_in_dim=48,
        hidden_size=128,
        mlp_ratio=2.0,
        num_heads=1,
        depth=1,
        depth_single_blocks=2,
        axes_dim=[16, 56, 56],
        theta=10000,
        patch_size=2,
        qkv_bias=True,
        guidance_embed=True,
    )
    unet |= changes
    if "txt_ids_dims" in {field.name for field in dataclasses.fields(FluxParams)}:
        unet.setdefault("txt_ids_dims", [3] if len(unet["axes_dim"]) == 4 else [])
    return unet


def flux(**changes: Any) -> Any:
    """FLUX.1 dev; in_channels=96 makes it Fill, 32 a control model."""
    return finish(comfy.supported_models.Flux, flux_unet(**changes), lambda c: comfy.model_base.Flux(c))


def flux2(**changes: Any) -> Any:
    unet = flux_unet(
        image_model="flux2",
        in_channels=128,
        out_channels=128,
        vec_in_dim=None,
        axes_dim=[32, 32, 32, 32],
        theta=2000,
        patch_size=1,
        qkv_bias=False,
        global_modulation=True,
        mlp_silu_act=True,
        ops_bias=False,
        default_ref_method="index",
        ref_index_scale=10.0,
        mlp_ratio=3.0,
    )
    return finish(comfy.supported_models.Flux2, unet | changes, lambda c: comfy.model_base.Flux2(c))


def chroma() -> Any:
    unet = dict(
        image_model="chroma",
        in_channels=64,
        out_channels=64,
        context_in_dim=48,
        hidden_size=128,
        mlp_ratio=2.0,
        num_heads=1,
        depth=19,
        depth_single_blocks=38,
        axes_dim=[16, 56, 56],
        theta=10000,
        patch_size=2,
        qkv_bias=True,
        in_dim=64,
        out_dim=128,
        hidden_dim=64,
        n_layers=1,
    )
    fields = {field.name for field in dataclasses.fields(ChromaParams)}
    unet |= {name: value for name, value in {"txt_ids_dims": [], "vec_in_dim": None}.items() if name in fields}
    return finish(comfy.supported_models.Chroma, unet, lambda c: comfy.model_base.Chroma(c))


def longcat() -> Any:
    """LongCat-Image: FLUX.1's class without a pooled text vector, with positions for text."""
    unet = flux_unet(vec_in_dim=None, guidance_embed=False)
    unet["txt_ids_dims"] = [1, 2]
    return finish(comfy.supported_models.LongCatImage, unet, lambda c: comfy.model_base.LongCatImage(c))
