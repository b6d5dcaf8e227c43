"""What the nodes share: types, input checks, words."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..hilo_core import HiLoError
from ..hilo_core.errors import all_finite
from ..hilo_core.presets import PRESETS

CATEGORY = "HiLo-Token"
HiLoPlan = io.Custom("HILO_PLAN")
PRESET_TOOLTIP = "How much is kept.\n" + "\n".join(f"{name}: {preset.meaning}" for name, preset in PRESETS.items())


def advanced(kind: Any, *args: Any, **kwargs: Any) -> Any:
    """An input that newer front ends fold away; older hosts do not know the word and show it."""
    if "advanced" in inspect.signature(kind.Input.__init__).parameters:
        kwargs["advanced"] = True
    return kind.Input(*args, **kwargs)


def check_widgets(node: type[io.ComfyNode], **given: Any) -> None:
    """HiLoError for a choice that is not in its list or a number out of its range, NaN too.

    given: values by input id. Hosts before 0.29 run the node with any choice, and no host finds a NaN.
    """
    for one in node.define_schema().inputs:
        if one.id not in given:
            continue
        value, options = given[one.id], getattr(one, "options", None)
        if options is not None and value not in options:
            raise HiLoError(f"'{one.id}' is {value!r}; choose one of: {', '.join(options)}.")
        if options is None and not one.min <= value <= one.max:
            raise HiLoError(f"'{one.id}' is {value}; it must be from {one.min:g} to {one.max:g}.")


def check_image(image: Tensor) -> Tensor:
    """(B, H, W, 3) from (B, H, W, 1, 3 or 4): grey is repeated, alpha is dropped. HiLoError on anything else."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise HiLoError(f"The image has shape {tuple(image.shape)}; expected (batch, height, width, 3).")
    if not all_finite(image):
        raise HiLoError("The image has NaN or infinite values. Check the node that made it.")
    return image.expand(*image.shape[:3], 3) if image.shape[-1] == 1 else image[..., :3]


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


def host_server() -> Any:
    """The host's server; None when nodes run without one."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def show_on_node(node: type[io.ComfyNode], text: str) -> None:
    """A line under the running node."""
    number, server = node.hidden.unique_id if node.hidden else None, host_server()
    if number is not None and server is not None:
        server.send_progress_text(text, number)
