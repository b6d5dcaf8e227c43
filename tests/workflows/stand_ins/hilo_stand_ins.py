"""Nodes for the test server alone: the host's loaders, which give small random models for the official files' names."""

from __future__ import annotations

import importlib.util
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import comfy.controlnet
import comfy.model_management
import comfy.model_patcher
import torch
import torch.nn.functional as F
from torch import Tensor

_folder = Path(__file__).resolve().parents[2] / "host" / "models"
_spec = importlib.util.spec_from_file_location(
    "hilo_small_models", _folder / "__init__.py", submodule_search_locations=[str(_folder)]
)
assert _spec and _spec.loader
small = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)

MODELS = {  # how a file's name begins -> its small model
    "flux1-fill": partial(small.flux, in_channels=96),
    "flux1-dev": small.flux,
    "flux2_dev": small.flux2,
    "flux-2-klein": small.flux2,
    "qwen_image_2.1": small.qwen21,
    "qwen_image": small.qwen,
    "z_image": small.z_image,
    "sd3.5": partial(small.sd3, x_block_self_attn_layers=[], num_patches=96**2, pos_embed_max_size=96),
    "anima": small.anima,
    "krea2": small.krea2,
}
VAES = {  # the same -> channels, pixels per latent pixel, whether its latents have a frame axis
    "ae": (16, 8, False),
    "sd3.5": (16, 8, False),
    "flux2": (128, 16, False),
    "qwen_image_vae": (16, 8, True),
    "qwen_image_2.1": (64, 16, False),
}


def _of(table: dict[str, Any], file: str) -> Any:
    return next(value for name, value in table.items() if file.startswith(name))


def _model(file: str) -> Any:
    device = comfy.model_management.get_torch_device()
    model = _of(MODELS, file)().to(device)
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


class Clip:
    """An encoder whose answer depends on the text alone."""

    def tokenize(self, text: str, images: Any = (), **_: Any) -> tuple[str, int]:
        """The text, and of how many pictures."""
        return text, len(images)

    def encode_from_tokens_scheduled(self, tokens: tuple[str, int], **_: Any) -> list[Any]:
        """A conditioning; with a place for each picture, as Qwen-Image 2.1 has it."""
        generator = torch.Generator().manual_seed(zlib.crc32(tokens[0].encode()))
        extras = {"pooled_output": torch.randn(1, 32, generator=generator)}
        slots = {"image_slots": [3] * tokens[1]} if tokens[1] else {}
        return [[torch.randn(1, 7, 48, generator=generator), extras | slots]]


class Vae:
    """Latent pixels are mixtures of a mean colour."""

    def __init__(self, channels: int, ratio: int, frames: bool) -> None:
        self.ratio, self.frames = ratio, frames
        self.mix = torch.randn(channels, 3, generator=torch.Generator().manual_seed(0)) / 2

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) to (B, C, [1,] h, w); what is left of a whole latent pixel is cropped around the middle."""
        height, width = (n // self.ratio * self.ratio for n in pixels.shape[1:3])
        top, left = (n % self.ratio // 2 for n in pixels.shape[1:3])
        mean = F.avg_pool2d(pixels[:, top : top + height, left : left + width, :3].movedim(-1, 1), self.ratio)
        latent = torch.einsum("cd,bdhw->bchw", self.mix, mean * 2 - 1)
        return latent[:, :, None] if self.frames else latent

    def decode(self, latent: Tensor) -> Tensor:
        """Back to (B, [1,] H, W, 3)."""
        flat = latent.reshape(*latent.shape[:2], *latent.shape[-2:]).float().cpu()
        mean = torch.einsum("dc,bchw->bdhw", torch.linalg.pinv(self.mix), flat)
        picture = F.interpolate((mean + 1) / 2, scale_factor=self.ratio).movedim(1, -1).clamp(0, 1)
        return picture[:, None] if self.frames else picture

    def spacial_compression_encode(self) -> int:
        """Pixels per latent pixel."""
        return self.ratio

    spacial_compression_decode = spacial_compression_encode


class Control(comfy.controlnet.ControlBase):  # type: ignore[misc]  # the host has no types
    """A ControlNet with the same residual for each token of the first block."""

    def get_control(self, x_noisy: Tensor, t: Any, cond: Any, batched_number: int, *_: Any) -> dict[str, Any]:
        """As the host asks for it: patches of two, 128 channels."""
        tokens = (x_noisy.shape[-2] // 2) * (x_noisy.shape[-1] // 2)
        return {"input": [x_noisy.new_full((x_noisy.shape[0], tokens, 128), 0.1)], "middle": [], "output": []}

    def copy(self) -> Control:
        """Another."""
        made = Control()
        self.copy_to(made)
        return made


def _loader(types: tuple[str, ...], files: tuple[str, ...], load: Any, **optional: tuple[str]) -> type:
    """A node with the inputs of one of the host's loaders; those that name no file are passed over."""

    class Loader:
        RETURN_TYPES = types
        FUNCTION = "load"
        CATEGORY = "tests"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  # the host's name
            return {"required": dict.fromkeys(files, ("STRING",)) | optional}

        def load(self, **given: Any) -> tuple[Any, ...]:
            return load(*given.values())

    return Loader


PREFIX = "StandIn"
NODE_CLASS_MAPPINGS = {
    PREFIX + "UNETLoader": _loader(("MODEL",), ("unet_name",), lambda file: (_model(file),)),
    PREFIX + "CLIPLoader": _loader(("CLIP",), ("clip_name",), lambda _: (Clip(),)),
    PREFIX + "DualCLIPLoader": _loader(("CLIP",), ("clip_name1", "clip_name2"), lambda *_: (Clip(),)),
    PREFIX + "VAELoader": _loader(("VAE",), ("vae_name",), lambda file: (Vae(*_of(VAES, file)),)),
    PREFIX + "ControlNetLoader": _loader(("CONTROL_NET",), ("control_net_name",), lambda _: (Control(),)),
    PREFIX + "LoraLoaderModelOnly": _loader(("MODEL",), ("lora_name",), lambda _, model: (model,), model=("MODEL",)),
    PREFIX + "CheckpointLoaderSimple": _loader(
        ("MODEL", "CLIP", "VAE"), ("ckpt_name",), lambda file: (_model(file), Clip(), Vae(*_of(VAES, file)))
    ),
}
