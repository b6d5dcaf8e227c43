"""Small, randomly initialised models on the host's own classes, one for each family."""

from __future__ import annotations

import comfy.supported_models

from .base import Small, text
from .flux_like import chroma, flux, flux2, flux_unet, longcat
from .image import hidream, hidream_cond, krea2, lumina, qwen, sd3, sd35_large, z_image
from .video import hunyuan, hunyuan_image, wan, wan22

__all__ = ["SMALL", "Small", "flux", "flux_unet", "hunyuan_image", "text", "wan22"]

SMALL = (
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
    *([Small("Krea 2", krea2, 16, text, video=True)] if hasattr(comfy.supported_models, "Krea2") else []),
    *(
        [Small("FLUX.1", longcat, 16, text, references=True, control=True)]
        if hasattr(comfy.supported_models, "LongCatImage")
        else []
    ),
    Small("HunyuanVideo", hunyuan_image, 64, text, patch=1, control=True),
    Small("Wan", wan22, 48, text, video=True, even=True),
    Small("SD3", sd35_large, 16, text, control=True),
)
