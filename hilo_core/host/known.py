"""What is known before sampling starts: the clean latent, where it may change, and the plan that follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import HiLoError, all_finite
from ..frequency import detail
from ..grid import TokenGrid
from ..mask import is_edited, mask_to_tokens
from ..plan import TokenPlan, TokenSettings, make_plan
from .call import flat
from .compat import FEATURES
from .reasons import DenseRun


@dataclass(frozen=True)
class PlanRequest:
    """A HILO_PLAN: what HiLo Token Select found out from the picture in pixels."""

    settings: TokenSettings
    edit: Tensor  # (rows, columns) bool, before dilation
    detail: Tensor  # (rows, columns)
    plan: TokenPlan  # as shown in the preview
    small: dict[int, Tensor] = field(default_factory=dict)  # latents of the downsampled picture, by factor


@dataclass(frozen=True)
class Outside:
    """The part of a picture that must not change where only a plan says so: the sampler itself protects nothing."""

    editable: Tensor  # (H, W) bool, latent pixels that may change
    latent: Tensor  # (B, C, H, W) or with a frame axis, as the sampler has it
    picture: Tensor  # the same before process_latent_in

    def put_back(self, out: Tensor, picture: Tensor) -> Tensor:
        """`out` with the picture outside the edit; parts of the latent as they are."""
        if out.shape[-2:] != self.editable.shape or out.shape[0] % picture.shape[0] or out.shape[1] != picture.shape[1]:
            return out
        return torch.where(self.editable.to(out.device), out, repeat(picture.reshape(-1, *out.shape[1:]), out))


def repeat(value: Tensor, like: Tensor) -> Tensor:
    """A per-picture value for conds that the host has batched, cond by cond."""
    value, times = value.to(like), like.shape[0] // value.shape[0]
    if value.shape[0] == 1:
        return value.expand(times, *[-1] * (value.ndim - 1))
    return value if times == 1 else value.repeat(times, *[1] * (value.ndim - 1))


@dataclass(frozen=True)
class Source:
    """The clean picture of one run. Latents are (B, C, H, W), or (B, C, 1, H, W) for video models."""

    latent: Tensor  # as the sampler has it, after process_latent_in
    picture: Tensor  # the same before process_latent_in
    from_reference: bool  # the sampler's own latent was empty, or no clean picture


def reference_like(conds: dict[str, list[dict[str, Any]]], shape: torch.Size) -> Tensor | None:
    """The first reference latent, in any cond, that has the size of the target."""
    latents: list[Tensor] = [z for entries in conds.values() for e in entries for z in e.get("reference_latents") or ()]
    return next((z for z in latents if z.shape[-2:] == shape[-2:] and z.shape[1] == shape[1]), None)


def find_source(
    model: Any, latent: Tensor, masked: bool, noisy: bool, conds: dict[str, list[dict[str, Any]]]
) -> Source | None:
    """The clean picture; None where it is not known.

    latent: the sampler's, before process_latent_in. masked: whether there is a denoise mask, and the latent is then the
    picture whatever it holds. noisy: no noise is added, so the latent holds some already.
    """
    empty = not masked and not bool(torch.count_nonzero(latent))
    if empty or noisy:
        reference = reference_like(conds, latent.shape)
        if reference is None or masked:
            return None
        latent = reference.to(latent).reshape(reference.shape[:2] + latent.shape[2:])
    picture = latent
    if torch.count_nonzero(latent):
        latent = model.process_latent_in(latent)
    if not all_finite(latent):
        raise HiLoError("The latent has NaN or infinite values. Check the VAE Encode before the sampler.")
    return Source(latent, picture, empty or noisy)


def find_outside(source: Source | None, request: PlanRequest | None, masked: bool) -> Outside | None:
    """What a plan protects where no denoise mask does; None where nothing is to be protected, or cannot be."""
    if source is None or request is None or masked:
        return None
    height, width = source.latent.shape[-2:]
    for patch in range(1, 5):
        grid = TokenGrid(height, width, patch)
        if request.edit.shape == (grid.height, grid.width):
            return Outside(grid.pixels(request.edit).to(source.latent.device), source.latent, source.picture)
    return None


def choose_plan(
    source: Source,
    mask: Tensor | None,
    grid: TokenGrid,
    settings: TokenSettings,
    request: PlanRequest | None,
    unfit: Callable[[int], bool],
    longest: float,
) -> TokenPlan:
    """The plan of one run. Raises DenseRun with the reason, or HiLoError.

    mask: the denoise mask, prepared to the latent's size. unfit: whether a strip must not have so many tokens. longest:
    share of the dense tokens above which a strip is not worth its overhead.
    """
    edit = _edit_tokens(mask, grid, request)
    if not bool(edit.any()):
        raise DenseRun("the mask is empty, nothing is to be generated")
    wanted = request.settings if request else settings
    score = request.detail if request else detail(flat(source.latent), grid.height, grid.width, wanted.score)
    plan = make_plan(edit, score, wanted)
    for _ in range(16):
        if plan.complete or not unfit(plan.count):
            break
        wanted = replace(wanted, multiple=wanted.multiple + 8)
        plan = make_plan(edit, score, wanted)
    if plan.count > longest * plan.total:
        raise DenseRun(f"the edit needs {plan.count} of {plan.total} tokens, too many to gain anything")
    return plan


def check_frames(latent: Tensor) -> None:
    """DenseRun unless a latent is one picture."""
    if latent.ndim not in (4, 5) or (latent.ndim == 5 and latent.shape[2] != 1):
        raise DenseRun(FEATURES["frames"].text)


def _edit_tokens(mask: Tensor | None, grid: TokenGrid, request: PlanRequest | None) -> Tensor:
    """(rows, columns) bool: tokens that may change."""
    edit = torch.zeros(grid.height, grid.width, dtype=torch.bool)
    if request is not None:
        if request.edit.shape != edit.shape:
            rows, columns = request.edit.shape
            raise DenseRun(
                f"the plan is for {columns}x{rows} tokens, but the latent has {grid.width}x{grid.height}: give HiLo "
                "Token Select the picture that goes to this sampler"
            )
        edit |= request.edit
    if mask is not None:
        if not all_finite(mask):
            raise HiLoError("The noise mask has NaN or infinite values. Check the node that made it.")
        pixels = is_edited(mask.reshape(-1, *mask.shape[-2:]))
        edit |= mask_to_tokens(pixels.float(), grid.height, grid.width, grid.patch)
    return edit
