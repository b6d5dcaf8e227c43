"""FLUX.1's class and those made from it."""

from __future__ import annotations

from typing import Any

import comfy.ldm.chroma_radiance.model
from comfy.ldm.chroma.model import ChromaParams
from comfy.ldm.flux.model import FluxParams

from .base import known, make

SHAPE: dict[str, Any] = dict(
    context_in_dim=48,
    hidden_size=128,
    mlp_ratio=2.0,
    num_heads=1,
    depth=1,
    axes_dim=[16, 56, 56],
    theta=10000,
    patch_size=2,
    qkv_bias=True,
)


def flux_unet(**changes: Any) -> dict:
    unet = SHAPE | dict(
        image_model="flux",
        in_channels=16,
        out_channels=16,
        vec_in_dim=32,
        depth_single_blocks=2,
        guidance_embed=True,
    )
    unet |= changes
    return known(FluxParams, txt_ids_dims=[3] if len(unet["axes_dim"]) == 4 else []) | unet


def flux(**changes: Any) -> Any:
    """FLUX.1 dev; in_channels=96 makes it Fill, 32 a control model."""
    return make("Flux", **flux_unet(**changes))


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
    return make("Flux2", **unet | changes)


def longcat() -> Any:
    """LongCat-Image: FLUX.1's class without a pooled text vector, with positions for text."""
    return make("LongCatImage", **flux_unet(vec_in_dim=None, guidance_embed=False, txt_ids_dims=[1, 2]))


def _chroma_unet(params: type, **changes: Any) -> dict:
    """changes: those after `txt_ids_dims` and `vec_in_dim`, as far as this host's class has them."""
    return SHAPE | dict(in_dim=64, out_dim=128, hidden_dim=64, n_layers=1) | changes | known(
        params, txt_ids_dims=[], vec_in_dim=None, use_x0=False, use_sequential_txt_ids=False
    )  # fmt: skip


def chroma() -> Any:
    unet = dict(image_model="chroma", in_channels=64, out_channels=64, depth_single_blocks=2)
    return make("Chroma", **_chroma_unet(ChromaParams, **unet))


def radiance(head: str = "linear") -> Any:
    """Chroma Radiance, with patches of two pixels."""
    return make(
        "ChromaRadiance",
        **_chroma_unet(
            comfy.ldm.chroma_radiance.model.ChromaRadianceParams,
            image_model="chroma_radiance",
            in_channels=3,
            out_channels=3,
            depth_single_blocks=1,
            nerf_hidden_size=32,
            nerf_mlp_ratio=2,
            nerf_depth=1,
            nerf_max_freqs=4,
            nerf_tile_size=0,
            nerf_final_head_type=head,
            nerf_embedder_dtype=None,
        ),
    )
