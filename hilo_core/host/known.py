"""What is known before sampling starts: the clean latent, where it may change, and the plan that follows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import HiLoError, all_finite
from ..frequency import detail
from ..grid import TokenGrid
from ..mask import mask_to_tokens
from ..plan import TokenPlan, TokenSettings, make_plan
from .compat import FEATURES


class DenseRun(Exception):
    """This run, or this call, has to be dense; the text is the reason that the user sees."""


@dataclass(frozen=True)
class PlanRequest:
    """A HILO_PLAN: what `HiLoTokenSelect` found out from the picture in pixels."""

    settings: TokenSettings
    edit: Tensor  # (rows, columns) bool, before dilation
    detail: Tensor  # (rows, columns)
    plan: TokenPlan  # as shown in the preview
    small: dict[int, Tensor] = field(default_factory=dict)  # latents of the downsampled picture, by factor


@dataclass(frozen=True)
class Known:
    """The clean picture and the plan of one run. Latents are (B, C, H, W), or (B, C, 1, H, W) for video models."""

    latent: Tensor  # as the sampler has it, after process_latent_in
    picture: Tensor  # the same before process_latent_in
    grid: TokenGrid
    plan: TokenPlan
    editable: Tensor | None  # (H, W) bool where there is no denoise mask: all else must stay the source
    small: dict[int, Tensor]  # latents of the downsampled picture, by factor, where a VAE was wired


def flat(latent: Tensor) -> Tensor:
    """Without the frame axis: (B, C, 1, H, W) or (B, C, H, W) -> (B, C, H, W)."""
    return latent[:, :, 0] if latent.ndim == 5 else latent


def reference_like(conds: dict[str, list[dict[str, Any]]], shape: torch.Size) -> Tensor | None:
    """The first reference latent, in any cond, that has the size of the target."""
    latents: list[Tensor] = [z for entries in conds.values() for e in entries for z in e.get("reference_latents") or ()]
    return next((z for z in latents if z.shape[-2:] == shape[-2:] and z.shape[1] == shape[1]), None)


def find_known(
    model: Any,
    latent: Tensor,
    denoise_mask: Tensor | None,
    conds: dict[str, list[dict[str, Any]]],
    patch: int,
    settings: TokenSettings,
    request: PlanRequest | None,
    text_lengths: set[int],
    longest: float,
) -> Known:
    """Everything that follows from the sampler's inputs. Raises DenseRun with the reason, or HiLoError.

    latent: before process_latent_in. denoise_mask: prepared to the latent's size, or None. text_lengths: numbers of
    text tokens; a strip must not be as long, so that attention over text alone is told from attention over it.
    longest: share of the dense tokens above which a strip is not worth its overhead.
    """
    if latent.ndim not in (4, 5) or (latent.ndim == 5 and latent.shape[2] != 1):
        raise DenseRun(FEATURES["frames"].text)
    grid = TokenGrid(latent.shape[-2], latent.shape[-1], patch)
    if denoise_mask is None and request is None:
        raise DenseRun(
            "no mask: connect a noise mask (for example Set Latent Noise Mask) or a plan from HiLoTokenSelect"
        )
    if not torch.count_nonzero(latent) and denoise_mask is None:
        reference = reference_like(conds, latent.shape)
        if reference is None:
            raise DenseRun("the latent is empty and no reference latent has its size, so the picture is not known")
        latent = reference.to(latent).reshape(reference.shape[:2] + latent.shape[2:])
    picture = latent
    if torch.count_nonzero(latent):
        latent = model.process_latent_in(latent)
    if not all_finite(latent):
        raise HiLoError("The latent has NaN or infinite values. Check the VAE Encode before the sampler.")

    edit, editable = _edit_tokens(denoise_mask, grid, request)
    if not bool(edit.any()):
        raise DenseRun("the mask is empty, nothing is to be generated")
    wanted = request.settings if request else settings
    score = request.detail if request else detail(flat(latent), grid.height, grid.width, wanted.score)
    plan = make_plan(edit, score, wanted)
    while plan.count in text_lengths and not plan.complete:
        wanted = replace(wanted, multiple=wanted.multiple + 8)
        plan = make_plan(edit, score, wanted)
    if plan.count > longest * plan.total:
        raise DenseRun(f"the edit needs {plan.count} of {plan.total} tokens, too many to gain anything")
    small = {factor: flat(model.process_latent_in(z)) for factor, z in request.small.items()} if request else {}
    return Known(latent, picture, grid, plan, editable, small)


def _edit_tokens(mask: Tensor | None, grid: TokenGrid, request: PlanRequest | None) -> tuple[Tensor, Tensor | None]:
    """Tokens that may change, and, without a denoise mask, the latent pixels that may."""
    edit = torch.zeros(grid.height, grid.width, dtype=torch.bool)
    editable = None
    if request is not None:
        if request.edit.shape != edit.shape:
            rows, columns = request.edit.shape
            raise HiLoError(
                f"The plan is for {columns}x{rows} tokens, but the latent has {grid.width}x{grid.height}. "
                "Give HiLoTokenSelect the picture that goes to the sampler."
            )
        edit |= request.edit
        editable = grid.pixels(edit)
    if mask is not None:
        if not all_finite(mask):
            raise HiLoError("The noise mask has NaN or infinite values. Check the node that made it.")
        pixels = mask.reshape(-1, *mask.shape[-2:])
        edit |= mask_to_tokens(pixels, grid.height, grid.width, grid.patch)
        editable = None
    return edit, editable
