"""Small, randomly initialised models on the host's own classes, one for each family."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_base
import comfy.supported_models
import torch
from comfy.ldm.chroma.model import ChromaParams
from comfy.ldm.flux.model import FluxParams


@dataclass(frozen=True)
class Small:
    """One small model and what its sampler needs."""

    family: str
    build: Callable[[], Any]
    channels: int
    cond: Callable[[int], tuple[torch.Tensor, dict]]  # text length -> cross attention, extras
    video: bool = False
    references: bool = False
    even: bool = False  # the host's own dense model fails on latents that are no multiple of the patch
    patch: int = 2  # latent pixels per token side
    width: int = 128  # of the transformer
    control: bool = False  # takes ControlNet residuals of (B, N, width)

    def allowed(self, height: int, width: int) -> tuple[int, int]:
        """The size, or the next smaller one that the dense model takes."""
        return (height // 2 * 2, width // 2 * 2) if self.even else (height, width)


def _finish(config: Any, unet: dict, make: Callable[[Any], Any]) -> Any:
    config = config(unet)
    config.set_inference_dtype(torch.float32, None)
    config.custom_operations = None
    torch.manual_seed(1)
    model = make(config).eval()
    for name, parameter in model.diffusion_model.named_parameters():
        parameter.data.normal_(1.0 if "norm" in name and parameter.ndim == 1 else 0.0, 0.05)
    for buffer in model.diffusion_model.buffers():
        if buffer.is_floating_point():
            buffer.normal_(0, 0.5)
    return model.requires_grad_(False)


def _flux_unet(**changes: Any) -> dict:
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
    return _finish(comfy.supported_models.Flux, _flux_unet(**changes), lambda c: comfy.model_base.Flux(c))


def flux2() -> Any:
    unet = _flux_unet(
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
    return _finish(comfy.supported_models.Flux2, unet, lambda c: comfy.model_base.Flux2(c))


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
    return _finish(comfy.supported_models.Chroma, unet, lambda c: comfy.model_base.Chroma(c))


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
    return _finish(comfy.supported_models.QwenImage, unet, lambda c: comfy.model_base.QwenImage(c))


def lumina(**changes: Any) -> Any:
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
    return _finish(comfy.supported_models.Lumina2, unet | changes, lambda c: comfy.model_base.Lumina2(c))


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
    return _finish(comfy.supported_models.SD3, unet, lambda c: comfy.model_base.SD3(c))


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
    return _finish(comfy.supported_models.HiDream, unet, lambda c: comfy.model_base.HiDream(c))


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
    return _finish(config or comfy.supported_models.HunyuanVideo, unet, lambda c: base(c))


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
    return _finish(config or comfy.supported_models.WAN21_T2V, unet | changes, lambda c: base(c))


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
    return _finish(comfy.supported_models.Krea2, unet, lambda c: comfy.model_base.Krea2(c))


def _text(length: int) -> tuple[torch.Tensor, dict]:
    return torch.randn(1, length, 48), {"pooled_output": torch.randn(1, 32)}


def _hidream_cond(length: int) -> tuple[torch.Tensor, dict]:
    return torch.randn(1, length, 48), {
        "pooled_output": torch.randn(1, 32),
        "conditioning_llama3": torch.randn(1, 2, 9, 40),
    }


def longcat() -> Any:
    """LongCat-Image: FLUX.1's class without a pooled text vector, with positions for text."""
    unet = _flux_unet(vec_in_dim=None, guidance_embed=False)
    unet["txt_ids_dims"] = [1, 2]
    return _finish(comfy.supported_models.LongCatImage, unet, lambda c: comfy.model_base.LongCatImage(c))


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


def wan22() -> Any:
    """Wan 2.2 5B: 48 channels, and a timestep that follows the denoise mask."""
    return wan(comfy.supported_models.WAN22_T2V, comfy.model_base.WAN22, in_dim=48, out_dim=48)


def sd35_large() -> Any:
    """SD3.5 Large has no blocks with a second attention over the picture alone."""
    return sd3(x_block_self_attn_layers=[])


SMALL = (
    Small("FLUX.1", flux, 16, _text, references=True, control=True),
    Small("FLUX.2", flux2, 128, _text, references=True, patch=1),
    Small("Chroma", chroma, 16, _text, control=True),
    Small("Qwen-Image", qwen, 16, _text, video=True, references=True, control=True),
    Small("Lumina 2 / Z-Image", lumina, 16, _text),
    Small("Lumina 2 / Z-Image", z_image, 16, _text, width=256),
    Small("SD3", sd3, 16, _text, control=True),
    Small("HiDream", hidream, 16, _hidream_cond),
    Small("HunyuanVideo", hunyuan, 16, _text, video=True, even=True, control=True),
    Small("Wan", wan, 16, _text, video=True),
    *([Small("Krea 2", krea2, 16, _text, video=True)] if hasattr(comfy.supported_models, "Krea2") else []),
    *(
        [Small("FLUX.1", longcat, 16, _text, references=True, control=True)]
        if hasattr(comfy.supported_models, "LongCatImage")
        else []
    ),
    Small("HunyuanVideo", hunyuan_image, 64, _text, patch=1, control=True),
    Small("Wan", wan22, 48, _text, video=True, even=True),
    Small("SD3", sd35_large, 16, _text, control=True),
)
