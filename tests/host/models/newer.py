"""Image models of newer hosts, and those whose class few hosts had before."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch as patched_attribute

import comfy.model_base
import torch

from .base import make
from .video import wan


def mage_flow() -> Any:
    return make(
        "MageFlow",
        image_model="mage_flow",
        num_layers=2,
        attention_head_dim=128,
        num_attention_heads=1,
        joint_attention_dim=48,
    )


def qwen21() -> Any:
    """Qwen-Image 2.1; references lie among the text, the target last."""
    return make(
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
    return make(
        "Lens",
        image_model="lens",
        num_layers=2,
        attention_head_dim=64,
        num_attention_heads=2,
        enc_hidden_dim=12,
    )


def kandinsky() -> Any:
    return make(
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
    return make(
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
    return make(
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


def _cosmos(name: str, base: Any = None, **changes: Any) -> Any:
    return make(
        name,
        base,
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
        rope_enable_fps_modulation=False,
        **changes,
    )


def anima() -> Any:
    """Anima without the adapter of its text encoder, whose size is fixed."""
    with patched_attribute("comfy.ldm.anima.model.LLMAdapter", _NoAdapter):
        return _cosmos("Anima", image_model="anima", use_adaln_lora=True, adaln_lora_dim=16)


class _NoAdapter(torch.nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()


def predict2() -> Any:
    return _cosmos("CosmosT2IPredict2", comfy.model_base.CosmosPredict2, image_model="cosmos_predict2")


def joy() -> Any:
    return make(
        "JoyImage",
        image_model="joyimage",
        hidden_size=128,
        num_attention_heads=1,
        text_dim=48,
        num_layers=2,
        rope_dim_list=[16, 56, 56],
    )


def ideogram() -> Any:
    return make(
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
    return make(
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
    return wan("WAN21_Vace", None, model_type="vace", vace_layers=1, vace_in_dim=96)


def krea2() -> Any:
    return make(
        "Krea2",
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
