"""Checks of what arrives at a node's inputs, typed or through a link: one sentence before anything is computed.

The host checks typed values only, and of links no more than the name of their type. Here each input is checked by what
the node's own schema says of it, so that a node needs no list of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from numbers import Integral, Real
from typing import Any, TypeVar

from comfy_api.latest import io
from torch import Tensor

from ..hilo_core import HiLoError
from ..hilo_core.errors import all_finite
from ..hilo_core.mask import NOTHING_PAINTED, check_mask, is_edited

SHORTEST = 40  # characters of a wrong value that are shown
Execute = TypeVar("Execute", bound=Callable[..., io.NodeOutput])


def checked(execute: Execute) -> Execute:
    """A node's `execute` that is given checked values: widgets of their type and in their range, pictures as
    (B, H, W, 3) floats, masks as (B, H, W) floats in 0..1. HiLoError otherwise. Goes below `@classmethod`."""
    signature = inspect.signature(execute)

    @wraps(execute)
    def run(cls: type[io.ComfyNode], *args: Any, **kwargs: Any) -> io.NodeOutput:
        given = signature.bind(cls, *args, **kwargs).arguments
        node = given.pop(next(iter(signature.parameters)))
        schema = node.define_schema()
        values = {**given, **check_widgets(schema, given)}
        for one in schema.inputs:
            if one.id in given and not (one.optional and given[one.id] is None):
                if isinstance(one, io.Image.Input):
                    values[one.id] = check_image(given[one.id])
                elif isinstance(one, io.Mask.Input):
                    values[one.id] = check_mask(given[one.id])
        return execute(node, **values)

    return run  # type: ignore[return-value]


def check_widgets(schema: io.Schema, given: Mapping[str, Any], complete: bool = False) -> dict[str, Any]:
    """The values of a node's widgets, each of its type and in its range; HiLoError otherwise.

    given: values by input id; others than widgets' are passed over. complete: those not given are there by default.
    """
    found: dict[str, Any] = {}
    for one in schema.inputs:
        if isinstance(one, _WIDGETS) and (complete or one.id in given):
            value = given.get(one.id, one.default)
            if not (one.optional and value is None):
                found[one.id] = _value(one, value)
    return found


_WIDGETS = (io.Combo.Input, io.Float.Input, io.Int.Input, io.Boolean.Input, io.String.Input)


def _value(one: Any, value: Any) -> Any:
    """One widget's value, or HiLoError."""
    if isinstance(one, io.Combo.Input):
        if not isinstance(value, str) or value not in one.options:
            raise HiLoError(f"'{one.id}' is {_shown(value)}; choose one of: {', '.join(one.options)}.")
        return value
    if isinstance(one, io.Boolean.Input | io.String.Input):
        kind, name = (bool, "true or false") if isinstance(one, io.Boolean.Input) else (str, "a text")
        if not isinstance(value, kind):
            raise HiLoError(f"'{one.id}' is {_shown(value)}; it must be {name}.")
        return value
    whole = isinstance(one, io.Int.Input)
    # NaN is in no range
    good = isinstance(value, Real) and not isinstance(value, bool) and one.min <= value <= one.max
    if not good or (whole and not isinstance(value, Integral) and value != int(value)):
        number = "a whole number" if whole else "a number"
        raise HiLoError(f"'{one.id}' is {_shown(value)}; it must be {number} from {one.min:g} to {one.max:g}.")
    return int(value) if whole else float(value)


def _shown(value: Any) -> str:
    """A wrong value, short enough for a sentence."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of many digits"
    text = repr(value)
    return text if len(text) <= SHORTEST else f"{text[:SHORTEST]}..."


def check_image(image: Any) -> Tensor:
    """(B, H, W, 3) from (B, H, W, 1, 3 or 4): grey is repeated, alpha is dropped. HiLoError on anything else."""
    if not isinstance(image, Tensor):
        raise HiLoError(f"The image is {_article(image)}, not a picture. Connect a node with an IMAGE output.")
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise HiLoError(f"The image has shape {tuple(image.shape)}; expected (batch, height, width, 3).")
    if not image.is_floating_point():
        raise HiLoError(
            f"The image holds {image.dtype} values; expected floats from 0 to 1. Check the node that made it."
        )
    if not all_finite(image):
        raise HiLoError("The image has NaN or infinite values. Check the node that made it.")
    return image.expand(*image.shape[:3], 3) if image.shape[-1] == 1 else image[..., :3]


def check_latent(latent: Any) -> Tensor:
    """The tensor of a LATENT: (B, C, h, w) or (B, C, 1, h, w). HiLoError on anything else."""
    samples = latent.get("samples") if isinstance(latent, dict) else latent
    if not isinstance(latent, dict) or not isinstance(samples, Tensor):
        raise HiLoError(f"The latent holds {_article(samples)}, not samples. Connect the sampler's latent.")
    if samples.ndim not in (4, 5) or 0 in samples.shape or not samples.is_floating_point():
        kind = "" if samples.is_floating_point() else f" of {samples.dtype}"
        raise HiLoError(
            f"The latent has shape {tuple(samples.shape)}{kind}; expected (batch, channels, height, width)."
        )
    if samples.ndim == 5 and samples.shape[2] != 1:
        raise HiLoError(f"The latent has {samples.shape[2]} frames. Use VAE Decode for video.")
    if not all_finite(samples):
        raise HiLoError("The latent has NaN or infinite values. Check the sampler and its model.")
    return samples


def check_vae(vae: Any, use: str) -> None:
    """HiLoError unless this is a VAE that can `use`: encode or decode."""
    if vae is None:
        raise HiLoError("There is no VAE: the checkpoint has none. Connect Load VAE.")
    if isinstance(vae, str) or not callable(getattr(vae, use, None)):
        raise HiLoError(f"The vae is {_article(vae)}, which cannot {use}. Connect Load VAE.")


def check_model(model: Any) -> Any:
    """HiLoError unless this is a MODEL."""
    if not callable(getattr(model, "get_model_object", None)):
        raise HiLoError(
            f"The model is {_article(model)}. Connect a node with a MODEL output, such as Load Diffusion Model."
        )
    return model


def _article(value: Any) -> str:
    """What a value is, in a sentence: "a list", "nothing"."""
    return "nothing (None)" if value is None else f"a {type(value).__name__}"


def check_painted(mask: Tensor) -> None:
    """HiLoError unless a mask edits something. Comes before any comparison of sizes: where nothing is painted, Load
    Image gives a mask of 64x64 px whatever the picture's size."""
    if not bool(is_edited(mask).any()):
        raise HiLoError(NOTHING_PAINTED)


def same_size(image: Tensor, mask: Tensor) -> None:
    """HiLoError unless (B, H, W, C) and (B, H, W) match."""
    if image.shape[1:3] != mask.shape[1:3]:
        (h, w), (mh, mw) = image.shape[1:3], mask.shape[1:3]
        raise HiLoError(
            f"The mask is {mw}x{mh} px, the image {w}x{h} px. Resize the mask to the image, or use its own."
        )
    if mask.shape[0] not in (1, image.shape[0]) and image.shape[0] != 1:
        raise HiLoError(
            f"There are {mask.shape[0]} masks for {image.shape[0]} images. Give one mask, or one for each image."
        )
