"""The table of model families: one row each. A family is recognised by its class, never by a file name.

A row says what cannot be found out by trying the model. HiLoError for a model of no known class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch.nn import Module

from ..hilo_core.errors import HiLoError


@dataclass(frozen=True)
class Family:
    """How one model class lays out its tokens."""

    name: str
    model_class: str  # module:class of the diffusion model, as the host defines it
    embedder: str  # attribute that turns positions into RoPE tables, or into a position table
    width: str  # attribute with the transformer's width, for the cost model
    checkpoints: str  # known to be of this family
    patch: str = "patch_size"  # attribute with the latent pixels per token side
    references: bool = False  # takes reference latents as more image tokens
    dense_when: str = ""  # what makes a run dense, for the README
    since: str = "0.3.75"  # host version
    matches: Callable[[Any], bool] = lambda model: True  # further fields that must hold

    def patch_size(self, model: Any) -> int:
        """Latent pixels per token side."""
        size = attrgetter(self.patch)(model)
        return int(size if isinstance(size, int) else size[-1])

    def token_pixels(self, model: Any) -> int:
        """Pixels of the picture per token side; model: the host's BaseModel."""
        form = model.latent_format
        known = {128: 16, 64: 32, 48: 16}.get(form.latent_channels, 8)  # FLUX.2, HunyuanImage, Wan 2.2 on old hosts
        return int(getattr(form, "spacial_downscale_ratio", known)) * self.patch_size(model.diffusion_model)

    def padding(self, model: Any) -> Callable[[int], int]:
        """How many pad tokens the model appends to a number of image tokens."""
        multiple = getattr(model, "pad_tokens_multiple", None)
        return lambda tokens: -tokens % multiple if multiple else 0

    def hidden(self, model: Any) -> int:
        """Width of the transformer."""
        return int(attrgetter(self.width)(model))


def _axes(count: int) -> Callable[[Any], bool]:
    return lambda model: len(model.params.axes_dim) == count


FAMILIES: tuple[Family, ...] = (
    Family(
        "FLUX.1",
        "comfy.ldm.flux.model:Flux",
        "pe_embedder",
        "hidden_size",
        "FLUX.1 dev, schnell, Fill, Kontext, control LoRAs",
        references=True,
        matches=_axes(3),
    ),
    Family(
        "FLUX.2",
        "comfy.ldm.flux.model:Flux",
        "pe_embedder",
        "hidden_size",
        "FLUX.2 dev, klein",
        references=True,
        matches=_axes(4),
    ),
    Family("Chroma", "comfy.ldm.chroma.model:Chroma", "pe_embedder", "hidden_size", "Chroma1 HD, Base, Flash"),
    Family(
        "Qwen-Image",
        "comfy.ldm.qwen_image.model:QwenImageTransformer2DModel",
        "pe_embedder",
        "inner_dim",
        "Qwen-Image, Qwen-Image-Edit, 2509, 2511",
        references=True,
    ),
    Family(
        "Lumina 2 / Z-Image",
        "comfy.ldm.lumina.model:NextDiT",
        "rope_embedder",
        "dim",
        "Lumina Image 2.0, Z-Image, Z-Image-Turbo, NetaYume",
        dense_when="reference latents (Omni)",
    ),
    Family(
        "SD3",
        "comfy.ldm.modules.diffusionmodules.mmdit:OpenAISignatureMMDITWrapper",
        "cropped_pos_embed",
        "hidden_size",
        "Stable Diffusion 3, 3.5 Medium, 3.5 Large",
    ),
    Family(
        "HiDream",
        "comfy.ldm.hidream.model:HiDreamImageTransformer2DModel",
        "pe_embedder",
        "inner_dim",
        "HiDream-I1 Full, Dev, Fast",
        dense_when="HiDream-E1 (its source picture lies beside the target in one latent)",
    ),
    Family(
        "HunyuanVideo",
        "comfy.ldm.hunyuan_video.model:HunyuanVideo",
        "pe_embedder",
        "hidden_size",
        "HunyuanImage 2.1, HunyuanVideo at one frame",
        dense_when="more than one frame; reference or guiding frames",
    ),
    Family(
        "Wan",
        "comfy.ldm.wan.model:WanModel",
        "rope_embedder",
        "dim",
        "Wan 2.1 and 2.2 text-to-video at one frame",
        dense_when="more than one frame; reference latents",
    ),
    Family(
        "Krea 2",
        "comfy.ldm.krea2.model:SingleStreamDiT",
        "pe_embedder",
        "first.out_features",
        "Krea 2 Raw, Turbo",
        patch="patch",
        dense_when="reference latents",
        since="0.29.0",
    ),
)


def class_path(model: Any) -> str:
    """module:class of a model."""
    return f"{type(model).__module__}:{type(model).__qualname__}"


def hides_family(model: Any) -> bool:
    """Whether a class that is not known is made from a known one, or has a model of a known one inside."""
    inside = model.children() if isinstance(model, Module) else ()
    kinds = [kind for one in (model, *inside) for kind in type(one).__mro__]
    paths = {f"{kind.__module__}:{kind.__qualname__}" for kind in kinds}
    return any(family.model_class in paths for family in FAMILIES)


def find_family(model: Any) -> Family:
    """The family of a diffusion model; HiLoError, saying what to do, if there is none."""
    path = class_path(model)
    for family in FAMILIES:
        if family.model_class == path and family.matches(model):
            return family
    names = ", ".join(family.name for family in FAMILIES)
    raise HiLoError(
        f"HiLo-Token does not know this model ({path.split(':')[1]}). It works on diffusion transformers: {names}. "
        "Remove the HiLo node for this model; UNets such as SD 1.5 and SDXL have no tokens to drop."
    )
