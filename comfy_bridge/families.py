"""The table of model families: one row each. A family is recognised by its class, never by a file name.

A row says what cannot be found out by trying the model. HiLoError for a model of no known class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.nn import Module

from ..hilo_core.errors import HiLoError
from .family import Family
from .uncompressed import instead_of_tokens

REPORT = "https://github.com/hilo-token/hilo-token/issues"


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
        "Qwen-Image 2.1",
        "comfy.ldm.qwen_image21.model:QwenImage21Transformer2DModel",
        "pe_embedder",
        "inner_dim",
        "Qwen-Image 2.1, Turbo",
        patch=1,
        references=True,
        prefix=True,
        since="0.37.0",
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
        table=True,
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
        "HunyuanImage 2.1, HunyuanVideo, HunyuanVideo 1.5",
        clips=True,
        dense_when="reference or guiding frames",
    ),
    Family(
        "Wan",
        "comfy.ldm.wan.model:WanModel",
        "rope_embedder",
        "dim",
        "Wan 2.1 and 2.2 text-to-video and image-to-video, Wan 2.2 5B",
        clips=True,
        dense_when="reference latents; context latents (Bernini-R)",
    ),
    Family(
        "Krea 2",
        "comfy.ldm.krea2.model:SingleStreamDiT",
        "pe_embedder",
        "first.out_features",
        "Krea 2 Raw, Turbo",
        patch="patch",
        references=True,
        since="0.29.0",
    ),
    Family(
        "Z-Image pixel space",
        "comfy.ldm.lumina.model:NextDiTPixelSpace",
        "rope_embedder",
        "dim",
        "Z-Image in pixel space",
        dense_when="reference latents",
        since="0.16.0",
    ),
    Family(
        "Chroma Radiance",
        "comfy.ldm.chroma_radiance.model:ChromaRadiance",
        "pe_embedder",
        "hidden_size",
        "Chroma1 Radiance with a linear head",
        dense_when="a convolution as its head",
        matches=lambda model: model.params.nerf_final_head_type == "linear",
    ),
    Family(
        "Mage-Flow",
        "comfy.ldm.mage_flow.model:MageFlowTransformer2DModel",
        "pe_embedder",
        "inner_dim",
        "Mage-Flow, Mage-Flow Edit",
        references=True,
        since="0.29.0",
    ),
    Family(
        "Lens",
        "comfy.ldm.lens.model:LensTransformer2DModel",
        "pos_embed",
        "inner_dim",
        "Lens, Lens Turbo",
        patch=1,
        since="0.23.0",
    ),
    Family(
        "Kandinsky 5",
        "comfy.ldm.kandinsky5.model:Kandinsky5",
        "rope_embedder_3d",
        "model_dim",
        "Kandinsky 5 Image",
        dense_when="more than one frame",
        since="0.4.0",
    ),
    Family(
        "OmniGen2",
        "comfy.ldm.omnigen.omnigen2:OmniGen2Transformer2DModel",
        "rope_embedder.rope_embedder",
        "hidden_size",
        "OmniGen2",
        references=True,
    ),
    Family(
        "Boogu",
        "comfy.ldm.boogu.model:BooguTransformer2DModel",
        "rope_embedder.rope_embedder",
        "hidden_size",
        "Boogu-Image, Boogu-Image Edit",
        references=True,
        since="0.26.0",
    ),
    Family(
        "Anima",
        "comfy.ldm.anima.model:Anima",
        "pos_embedder",
        "model_channels",
        "Anima",
        patch="patch_spatial",
        table=True,
        since="0.11.0",
    ),
    Family(
        "Cosmos-Predict2",
        "comfy.ldm.cosmos.predict2:MiniTrainDIT",
        "pos_embedder",
        "model_channels",
        "Cosmos-Predict2 text-to-image",
        patch="patch_spatial",
        table=True,
        dense_when="more than one frame",
    ),
    Family(
        "JoyImage",
        "comfy.ldm.joyimage.model:JoyImageTransformer3DModel",
        "get_rotary_pos_embed_for_components",
        "img_in.out_channels",
        "JoyImage, JoyImage Edit",
        table=True,
        references=True,
        since="0.29.0",
    ),
    Family(
        "Ideogram 4",
        "comfy.ldm.ideogram4.model:Ideogram4Transformer2DModel",
        "_image_position_ids",
        "input_proj.out_features",
        "Ideogram 4",
        patch=1,
        table=True,
        since="0.24.0",
    ),
    Family(
        "ERNIE-Image",
        "comfy.ldm.ernie.model:ErnieImageModel",
        "pos_embed",
        "hidden_size",
        "ERNIE-Image, Turbo",
        attention="layers.*.self_attention",
        since="0.19.0",
    ),
    Family(
        "Wan VACE",
        "comfy.ldm.wan.model:VaceWanModel",
        "rope_embedder",
        "dim",
        "Wan 2.1 VACE",
        clips=True,
        dense_when="reference latents",
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
    name = path.split(":")[1]
    if what := instead_of_tokens(path):
        raise HiLoError(f"{name} is {what}, which has no tokens to drop: remove the HiLo node for this model.")
    raise HiLoError(
        f"HiLo-Token does not know this model ({name}): remove the HiLo node for it, and report its name at {REPORT} "
        "if it is a diffusion transformer."
    )
