"""The same edit with several presets and dense, on the same noise, through whichever sampler the caller has.

Takes a model and a function that samples with it; gives the latents and what each run took. It knows no sampler, no
node and no picture. HiLoError where the model is of no known family.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import comfy.utils
import torch
import torch.nn.functional as F
from torch import Tensor

from ..hilo_core.presets import Preset
from .patch import Patch, patch_model
from .planning import PlanRequest
from .run_report import RunReport

Sample = Callable[[Any], Tensor]  # (patched model) -> latent, always with the same noise


class NothingToTry(Exception):
    """A run would be dense from its first step on; the text is the reason."""


@dataclass(frozen=True)
class Ran:
    """One run. Latents are (B, C, H, W) or (B, C, 1, H, W), on the sampler's device."""

    name: str
    latent: Tensor
    report: RunReport | None = None  # None: the dense run
    reason: str = ""  # why a run with a preset was dense; its latent is then the dense one


def side_by_side(
    model: Any,
    sample: Sample,
    presets: dict[str, Preset],
    off: Preset,
    request: PlanRequest | None,
    before: Callable[[str, int], None],
) -> list[Ran]:
    """Dense first, then each preset, in their order.

    off: the preset of the dense run. before: told the name and the number of each run before it starts, and what it
    raises ends the comparison. A preset that would be dense is not run again.
    """
    told: dict[str, RunReport] = {}
    patched = {name: _patched(model, one, request, name, told) for name, one in presets.items()}
    before("dense", 0)
    dense = sample(patch_model(model, Patch(off, request)))
    found = [Ran("dense", dense)]
    for number, name in enumerate(presets, 1):
        before(name, number)
        try:
            latent = sample(patched[name])
        except NothingToTry as refusal:
            found.append(Ran(name, dense, reason=str(refusal)))
            continue
        report = told[name]
        found.append(Ran(name, latent, report, report.reason))
    return found


def _patched(model: Any, preset: Preset, request: PlanRequest | None, name: str, told: dict[str, RunReport]) -> Any:
    """A clone whose runs end at once where they would be dense, and note their report otherwise."""
    started = False

    def on_start(report: RunReport) -> None:
        nonlocal started
        if report.reason and not started:  # later it is told within a model call, and the run goes on
            raise NothingToTry(report.reason)
        started = True

    def on_report(report: RunReport) -> None:
        told[name] = report

    if request is not None:  # where the edit is comes from it, how much is kept from the preset
        request = replace(request, settings=preset.tokens, preset=None, speedup=0.0, choice=None)
    return patch_model(model, Patch(preset, request, on_report, on_start=on_start))


def edit_mask(latent: dict[str, Any], request: PlanRequest | None, positive: Any) -> Tensor | None:
    """(h, w) in 0..1, what is painted, for any picture of the batch and at the size it has; None where nothing says so.

    Like a run: the latent's noise mask decides, else the plan, else the mask that a fill model takes as an input.
    """
    mask = latent.get("noise_mask")
    if mask is None and request is not None:
        return request.edit.float()
    if mask is None:
        mask = next((entry["concat_mask"] for _, entry in positive or () if "concat_mask" in entry), None)
    if not isinstance(mask, Tensor):
        return None
    painted: Tensor = mask.float().reshape(-1, *mask.shape[-2:]).amax(0)
    return painted


def latent_pixels(mask: Tensor, latent: Tensor) -> Tensor:
    """(H, W) bool of a latent's size: what the host may change of it under a mask of (h, w)."""
    smooth: Tensor = comfy.utils.reshape_mask(mask, torch.Size((1, 1, *latent.shape[-2:])))[0, 0]  # as the host does
    return scaled(mask > 0, *latent.shape[-2:]).cpu() | (smooth > 0).cpu()


def largest_change(latent: Tensor, dense: Tensor, where: Tensor) -> float:
    """The largest difference of two latents, over the pixels of (H, W) bool."""
    return float(((latent - dense).abs() * where.to(latent.device)).max())


def scaled(mask: Tensor, height: int, width: int) -> Tensor:
    """(h, w) bool -> (height, width) bool: True wherever any of it falls."""
    return F.adaptive_max_pool2d(mask[None].float(), (height, width))[0] > 0
