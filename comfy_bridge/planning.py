"""The plan of a run: from the sampler's mask and the clean picture, or from what HiLo Token Select found in pixels.

Raises DenseRun with the reason where a strip would gain nothing, HiLoError where mask and plan make no sense.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..hilo_core.auto import Choice
from ..hilo_core.cost import ModelShape
from ..hilo_core.errors import HiLoError, all_finite
from ..hilo_core.frequency import detail
from ..hilo_core.grid import TokenGrid
from ..hilo_core.mask import is_edited, mask_to_tokens
from ..hilo_core.plan import TokenPlan, TokenSettings, make_plan
from ..hilo_core.presets import Preset
from ..hilo_core.words import Said
from .call import flat
from .memo import Memo
from .reasons import DenseRun
from .source import Source

_detail, _make_plan = Memo(detail), Memo(make_plan)

OUT_OF_REACH = "{}x is out of reach with this mask; the most is {}x."
PICTURES = ("latent", "image", "mask")  # in the names of conditioning values that are no text


@dataclass(frozen=True)
class PlanRequest:
    """A HILO_PLAN: what HiLo Token Select found out from the picture in pixels."""

    settings: TokenSettings
    edit: Tensor  # ((T,) rows, columns) bool, before dilation
    detail: Tensor  # ((T,) rows, columns)
    plan: TokenPlan  # as shown in the preview
    downsampled: dict[int, Tensor] = field(default_factory=dict)  # latents of the downsampled picture, by factor
    preset: Preset | None = None  # whose schedule and bias the run takes; None: those of the patch
    speedup: float = 0.0  # of a step, that was asked for; 0: none was
    choice: Choice | None = None  # of the preset, where that was left to it


def choose_plan(
    source: Source,
    edit: Tensor,
    grid: TokenGrid,
    settings: TokenSettings,
    request: PlanRequest | None,
    unfit: Callable[[int], bool],
    longest: float,
) -> TokenPlan:
    """The plan of one run. Raises DenseRun with the reason, or HiLoError.

    edit: ((T,) rows, columns) bool, as `edit_tokens` gives it. unfit: whether a strip must not have so many tokens.
    longest: share of the dense tokens above which a strip is not worth its overhead.
    """
    if not bool(edit.any()):
        raise DenseRun("nothing is painted yet")
    wanted = request.settings if request else settings
    score = request.detail if request else _detail(flat(source.latent), grid.height, grid.width, wanted.score)
    plan = _make_plan(edit, score, wanted)
    for _ in range(16):
        if plan.complete or not unfit(plan.count):
            break
        wanted = replace(wanted, multiple=wanted.multiple + 8)
        plan = _make_plan(edit, score, wanted)
    if plan.count > longest * plan.total:
        raise DenseRun(
            Said(
                "the edit covers nearly the whole picture ({} of {} tokens), there is nothing to save",
                plan.count,
                plan.total,
            )
        )
    return plan


def with_speedup(settings: TokenSettings, speedup: float, shape: ModelShape, total: int) -> TokenSettings:
    """The same with a budget that gives at least this speed-up of a step, of `total` tokens; 1 or less asks nothing."""
    if speedup <= 1:
        return settings
    fitting = shape.tokens_for(speedup, total)
    return replace(settings, budget=min(fitting, settings.budget or fitting))


def said(plan: TokenPlan, speedup: float, shape: ModelShape) -> TokenPlan:
    """The plan; where it cannot be as fast as was wanted, with a note in the terms of that wish."""
    most = shape.speedup(plan.count, plan.total)
    if speedup <= 1 or most >= speedup:
        return plan
    return replace(plan, note=Said(OUT_OF_REACH, f"{speedup:g}", f"{most:.1f}"))


def edit_tokens(mask: Tensor | None, grid: TokenGrid, request: PlanRequest | None) -> Tensor:
    """((T,) rows, columns) bool: tokens that may change. mask: the denoise mask, prepared to the latent's size."""
    edit = torch.zeros(grid.shape, dtype=torch.bool)
    if request is not None:
        if request.edit.shape != edit.shape:
            plan, latent = ("x".join(map(str, reversed(shape))) for shape in (request.edit.shape, grid.shape))
            raise DenseRun(
                Said(
                    "the plan is for {} tokens, but the latent has {}: give HiLo Token Select the picture that "
                    "goes to this sampler",
                    plan,
                    latent,
                )
            )
        edit |= request.edit
    if mask is not None:
        if not all_finite(mask):
            raise HiLoError("The noise mask has NaN or infinite values. Check the node that made it.")
        pixels = is_edited(flat(mask).flatten(0, 1))
        edit |= mask_to_tokens(pixels.float(), grid.height, grid.width, grid.patch)
    return edit


def text_lengths(conds: dict[str, Any]) -> set[int]:
    """Lengths that attention over text alone may have: of whatever a conditioning holds that is no picture."""

    def lengths(value: Any) -> set[int]:
        if isinstance(value, (list, tuple)):
            return {n for item in value for n in lengths(item)}
        if isinstance(value, Tensor) and 2 <= value.ndim <= 4:
            return {int(n) for n in value.shape[1:-1]}
        return set()

    values = [(name, value) for entries in conds.values() for entry in entries for name, value in entry.items()]
    found = {n for name, value in values if not any(word in name for word in PICTURES) for n in lengths(value)}
    return found | {-(-length // 32) * 32 for length in found}
