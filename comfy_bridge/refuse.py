"""What a model call must not have, to be sampled as a strip.

Takes a call as it is about to be made, raises DenseRun with the reason for whatever assumes the full token grid and is
not handled. What it does not know it refuses.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..hilo_core.grid import TokenGrid
from ..hilo_core.words import Said
from .call import Call, flat, on_grid
from .family import Family
from .features import FEATURES
from .neighbours import grid_patch, made_for_grid, replaced_code, unknown_wrapper
from .reasons import DenseRun

# inputs of a model call that assume the full token grid, and others of many dimensions that do not
GRID_INPUTS = ("ref_latent", "image_cond", "guiding_frame_index", "reference_latent", "time_dim_concat")
TEXT_INPUTS = ("encoder_hidden_states_llama3",)


def refuse(call: Call, network: Any, family: Family, grid: TokenGrid, batch: int) -> None:
    """DenseRun for whatever assumes the full grid and is not handled. batch: pictures of the run."""
    if flat(call.x).shape[2:] != grid.latent_shape:
        raise DenseRun(FEATURES["tiles"].text)
    if call.options.get("context_window") is not None:
        raise DenseRun(FEATURES["context_windows"].text)  # a window over the batch leaves the size as it is
    if call.x.shape[0] % batch:
        raise DenseRun(FEATURES["batch"].text)
    text = call.context.shape[1] if isinstance(call.context, Tensor) and call.context.ndim > 1 else 0
    mask = call.kwargs.get("attention_mask")
    if mask is not None and text and mask.shape[-1] > text:
        raise DenseRun(FEATURES["redux"].text)
    for residuals in (call.control or {}).values():
        if any(r is not None and (r.ndim != 3 or r.shape[1] < grid.count) for r in residuals or ()):
            raise DenseRun(FEATURES["control_grid"].text)
    if kind := grid_patch(call.options):
        raise DenseRun(Said(FEATURES["grid_patch"].text, kind))
    if key := unknown_wrapper(call.options):
        raise DenseRun(Said(FEATURES["unknown_wrapper"].text, key))
    if what := replaced_code(network):
        raise DenseRun(Said(FEATURES["replaced_code"].text, what))
    if what := made_for_grid(call.options, {grid.count, grid.count + text}, family.hidden(network)):
        raise DenseRun(Said(FEATURES["whole_grid"].text, what))
    for name, value in call.kwargs.items():
        if value is not None and (name in GRID_INPUTS or _of_a_grid(name, value, call.x)):
            raise DenseRun(Said(FEATURES["grid_input"].text, name))
    if call.kwargs.get("ref_latents") and not family.references:
        raise DenseRun(Said("reference latents of {} are not compressed yet", family.name))


def _of_a_grid(name: str, value: Any, x: Tensor) -> bool:
    """Whether an input looks like a picture, or pictures, on a grid that is not the latent's."""
    if name in ("ref_latents", *TEXT_INPUTS):
        return False
    if isinstance(value, (list, tuple)):
        return any(_of_a_grid("", item, x) or on_grid(item, x) for item in value)
    return isinstance(value, Tensor) and value.ndim > 3 and not on_grid(value, x)
