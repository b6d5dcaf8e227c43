"""Small, randomly initialised models on the host's own classes, one for each family."""

from __future__ import annotations

import comfy.supported_models

from .base import Small, masked_text, text
from .flux_like import chroma, flux, flux2, flux_unet, longcat, radiance
from .image import hidream, hidream_cond, lumina, qwen, sd3, sd35_large, z_image, z_image_pixel
from .newer import (
    anima,
    boogu,
    ernie,
    ideogram,
    joy,
    kandinsky,
    krea2,
    lens,
    mage_flow,
    omnigen2,
    predict2,
    qwen21,
    vace,
)
from .video import control_video, hunyuan, hunyuan15, hunyuan_image, start_image, wan, wan22, wan_i2v

__all__ = ["CLIPS", "SMALL", "Small", "flux", "flux2", "flux_unet", "hunyuan_image", "radiance", "text", "wan22"]

_ALWAYS = (
    Small("FLUX.1", flux, 16, text, references=True, control=True),
    Small("FLUX.2", flux2, 128, text, references=True, patch=1),
    Small("Chroma", chroma, 16, text, control=True),
    Small("Qwen-Image", qwen, 16, text, video=True, references=True, control=True),
    Small("Lumina 2 / Z-Image", lumina, 16, text),
    Small("Lumina 2 / Z-Image", z_image, 16, text, width=256),
    Small("SD3", sd3, 16, text, control=True),
    Small("HiDream", hidream, 16, hidream_cond),
    Small("HunyuanVideo", hunyuan, 16, text, video=True, even=True, control=True),
    Small("Wan", wan, 16, text, video=True),
    Small("HunyuanVideo", hunyuan_image, 64, text, patch=1, pixels=32, control=True),
    Small("Wan", wan22, 48, text, video=True, even=True, pixels=32),
    Small("SD3", sd35_large, 16, text, control=True),
    Small("Chroma Radiance", radiance, 3, text, pixels=2),
    Small("OmniGen2", omnigen2, 16, masked_text, references=True),
    Small("Cosmos-Predict2", predict2, 16, text, video=True, even=True),
    Small("Wan VACE", vace, 16, text, video=True, even=True),
)

# the name of the host's configuration, and the model of hosts that have it
_NEWER = {
    "Krea2": Small("Krea 2", krea2, 16, text, video=True, references=True, method="index"),
    "QwenImage21": Small("Qwen-Image 2.1", qwen21, 64, text, references=True, patch=1),
    "LongCatImage": Small("FLUX.1", longcat, 16, text, references=True, control=True),
    "ZImagePixelSpace": Small("Z-Image pixel space", z_image_pixel, 3, text, width=256, pixels=2),
    "MageFlow": Small("Mage-Flow", mage_flow, 128, text, references=True, patch=1, control=True),
    "Lens": Small("Lens", lens, 128, text, patch=1, control=True),
    "Kandinsky5Image": Small("Kandinsky 5", kandinsky, 16, text, even=True),
    "Boogu": Small("Boogu", boogu, 16, masked_text, references=True),
    "Anima": Small("Anima", anima, 16, text, video=True),
    "JoyImage": Small("JoyImage", joy, 16, text, video=True, references=True),
    "Ideogram4": Small("Ideogram 4", ideogram, 128, text, patch=1),
    "ErnieImage": Small("ERNIE-Image", ernie, 128, text, patch=1),
}

SMALL = (*_ALWAYS, *(small for name, small in _NEWER.items() if hasattr(comfy.supported_models, name)))

# models whose runs of several frames are compressed
CLIPS = (
    Small("Wan", wan, 16, text, video=True),
    Small("Wan", wan_i2v, 16, text, video=True, inputs=start_image),
    Small("Wan", wan22, 48, text, video=True, even=True, pixels=32),
    Small("Wan VACE", vace, 16, text, video=True, even=True, inputs=control_video),
    Small("HunyuanVideo", hunyuan, 16, text, video=True, even=True, control=True),
    Small("HunyuanVideo", hunyuan15, 32, text, video=True, patch=1, inputs=start_image),
)
