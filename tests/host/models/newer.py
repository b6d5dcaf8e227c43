"""Image models of newer hosts, and those whose class few hosts had before."""

from __future__ import annotations

from typing import Any

import comfy.model_base
import comfy.supported_models
import torch

from .base import finish
from .image import lumina


def _make(name: str, **unet: Any) -> Any:
    """The host's model of that name, with such a transformer."""
    make = getattr(comfy.model_base, name)
    return finish(getattr(comfy.supported_models, name), unet, lambda config: make(config))


def z_image_pixel() -> Any:
    """Z-Image in pixel space: patches of two pixels, so that its pictures stay small."""
    return lumina(
        comfy.supported_models.ZImagePixelSpace,
        comfy.model_base.ZImagePixelSpace,
        image_model="zimage_pixel",
        dim=256,
        n_heads=4,
        n_kv_heads=4,
        in_channels=3,
        z_image_modulation=True,
        time_scale=1000.0,
        pad_tokens_multiple=32,
        decoder_hidden_size=64,
        decoder_num_res_blocks=1,
        decoder_max_freqs=4,
        decoder_in_channels=12,
    )


def radiance(head: str = "linear") -> Any:
    """Chroma Radiance, with patches of two pixels."""
    return _make(
        "ChromaRadiance",
        image_model="chroma_radiance",
        in_channels=3,
        out_channels=3,
        context_in_dim=48,
        hidden_size=128,
        mlp_ratio=2.0,
        num_heads=1,
        depth=1,
        depth_single_blocks=1,
        axes_dim=[16, 56, 56],
        theta=10000,
        patch_size=2,
        qkv_bias=True,
        in_dim=64,
        out_dim=128,
        hidden_dim=64,
        n_layers=1,
        nerf_hidden_size=32,
        nerf_mlp_ratio=2,
        nerf_depth=1,
        nerf_max_freqs=4,
        nerf_tile_size=0,
        nerf_final_head_type=head,
        nerf_embedder_dtype=None,
        **_fields(
            comfy.ldm.chroma_radiance.model.ChromaRadianceParams,
            txt_ids_dims=[],
            vec_in_dim=None,
            use_x0=False,
            use_sequential_txt_ids=False,
        ),
    )


def _fields(params: Any, **values: Any) -> dict[str, Any]:
    """Those that this host's class has."""
    return {name: value for name, value in values.items() if name in params.__dataclass_fields__}


def mage_flow() -> Any:
    return _make(
        "MageFlow",
        image_model="mage_flow",
        num_layers=2,
        attention_head_dim=128,
        num_attention_heads=1,
        joint_attention_dim=48,
    )


def qwen21() -> Any:
    """Qwen-Image 2.1; references lie among the text, the target last."""
    return _make(
        "QwenImage21",
        image_model="qwen_image21",
        num_layers=2,
        attention_head_dim=128,
        num_attention_heads=1,
        context_in_dim=48,
        mlp_ratio=1,
    )


def lens() -> Any:
    """Its text has the features of several layers of an encoder side by side."""
    return _make(
        "Lens",
        image_model="lens",
        num_layers=2,
        attention_head_dim=64,
        num_attention_heads=2,
        enc_hidden_dim=12,
    )


def kandinsky() -> Any:
    return _make(
        "Kandinsky5Image",
        image_model="kandinsky5",
        in_visual_dim=16,
        out_visual_dim=16,
        in_text_dim=48,
        in_text_dim2=32,
        time_dim=64,
        model_dim=128,
        ff_dim=128,
        visual_embed_dim=64,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(16, 24, 24),
        rope_scale_factor=(1.0, 1.0, 1.0),
    )


def omnigen2() -> Any:
    return _make(
        "Omnigen2",
        image_model="omnigen2",
        hidden_size=128,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=32,
        axes_dim_rope=(16, 24, 24),
        text_feat_dim=48,
    )


def boogu() -> Any:
    return _make(
        "Boogu",
        image_model="boogu",
        hidden_size=128,
        num_layers=1,
        num_double_stream_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=32,
        axes_dim_rope=(16, 24, 24),
        instruction_feat_dim=48,
    )


def _cosmos(name: str, **changes: Any) -> Any:
    return _make(
        name,
        max_img_h=240,
        max_img_w=240,
        max_frames=128,
        in_channels=16,
        out_channels=16,
        patch_spatial=2,
        patch_temporal=1,
        model_channels=128,
        num_blocks=2,
        num_heads=1,
        mlp_ratio=1.0,
        crossattn_emb_channels=48,
        pos_emb_cls="rope3d",
        use_adaln_lora=True,
        adaln_lora_dim=16,
        rope_enable_fps_modulation=False,
        **changes,
    )


def anima() -> Any:
    """Anima without the adapter of its text encoder, whose size is fixed."""
    module = comfy.ldm.anima.model
    adapter = module.LLMAdapter
    module.LLMAdapter = _NoAdapter
    try:
        return _cosmos("Anima", image_model="anima")
    finally:
        module.LLMAdapter = adapter


class _NoAdapter(torch.nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()


def predict2() -> Any:
    supported = comfy.supported_models.CosmosT2IPredict2
    unet = dict(image_model="cosmos_predict2", max_img_h=240, max_img_w=240, max_frames=128, in_channels=16)
    unet |= dict(out_channels=16, patch_spatial=2, patch_temporal=1, model_channels=128, num_blocks=2, num_heads=1)
    unet |= dict(mlp_ratio=1.0, crossattn_emb_channels=48, pos_emb_cls="rope3d", rope_enable_fps_modulation=False)
    return finish(supported, unet, lambda config: comfy.model_base.CosmosPredict2(config))


def joy() -> Any:
    return _make(
        "JoyImage",
        image_model="joyimage",
        hidden_size=128,
        num_attention_heads=1,
        text_dim=48,
        num_layers=2,
        rope_dim_list=[16, 56, 56],
    )


def ideogram() -> Any:
    return _make(
        "Ideogram4",
        image_model="ideogram4",
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=64,
        intermediate_size=128,
        adaln_dim=32,
        llm_features_dim=48,
        mrope_section=(12, 10, 10),
    )


def ernie() -> Any:
    return _make(
        "ErnieImage",
        image_model="ernie",
        hidden_size=128,
        num_attention_heads=1,
        num_layers=2,
        ffn_hidden_size=128,
        text_in_dim=48,
    )


def vace() -> Any:
    """Wan 2.1 VACE."""
    from .video import wan

    return wan(
        comfy.supported_models.WAN21_Vace, comfy.model_base.WAN21_Vace, model_type="vace", vace_layers=1, vace_in_dim=96
    )
