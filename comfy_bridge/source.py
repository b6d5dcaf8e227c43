"""The clean picture of a run and what of it must not change, found before sampling starts from the sampler's latent,
mask and conditioning. Raises DenseRun where the picture is not known; it knows nothing of plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.sampler_helpers
import torch
import torch.nn.functional as F
from torch import Tensor

from ..hilo_core.errors import HiLoError, all_finite
from ..hilo_core.grid import TokenGrid
from ..hilo_core.mask import is_edited, latent_frames, mask_to_tokens
from .call import flat
from .features import FEATURES
from .reasons import DenseRun

_PROPORTIONS = 0.03  # by which a mask may differ from a picture that was scaled and cropped a little


@dataclass(frozen=True)
class Outside:
    """The part of a picture that must not change where only a plan says so: the sampler itself protects nothing."""

    editable: Tensor  # ((T,) H, W) bool, latent pixels that may change
    latent: Tensor  # (B, C, H, W) or with a frame axis, as the sampler has it
    picture: Tensor  # the same before process_latent_in

    def put_back(self, out: Tensor, picture: Tensor) -> Tensor:
        """`out` with the picture outside the edit; parts of the latent as they are."""
        other = flat(out).shape[2:] != self.editable.shape or out.shape[1] != picture.shape[1]
        if other or out.shape[0] % picture.shape[0]:
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
    """The clean picture of one run. Latents are (B, C, H, W), or (B, C, T, H, W) for video models."""

    latent: Tensor  # as the sampler has it, after process_latent_in
    picture: Tensor  # the same before process_latent_in
    from_reference: bool  # the sampler's own latent was empty, or no clean picture


def reference_like(conds: dict[str, list[dict[str, Any]]], shape: torch.Size) -> Tensor | None:
    """The first reference latent, in any cond, that has the size of the target."""
    latents: list[Tensor] = [z for entries in conds.values() for e in entries for z in e.get("reference_latents") or ()]
    alike = (z for z in latents if z.shape[-2:] == shape[-2:] and z.shape[1] == shape[1])
    return next((z for z in alike if z[0].numel() == shape[1:].numel()), None)


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


def _mask_of_fill(model: Any, conds: dict[str, list[dict[str, Any]]], noise: Tensor, device: Any) -> Tensor | None:
    """The mask that a fill model takes as an input, where its conditioning has one and the model looks at it; None
    otherwise. So a run whose sampler got no noise mask still knows what is painted."""
    for entries in conds.values():
        for entry in entries:
            mask = entry.get("concat_mask")
            if not isinstance(mask, Tensor):
                continue
            given = {**entry, "noise": noise, "device": device}
            seen = [model.concat_cond(**{**given, "concat_mask": one}) for one in (mask, 1 - mask)]
            if isinstance(seen[0], Tensor) and not torch.equal(*seen):
                return mask
    return None


def fill_mask(
    patcher: Any, conds: dict[str, list[dict[str, Any]]], noise: Tensor, patch: int
) -> tuple[Tensor | None, Tensor | None]:
    """(mask of the latent's size, tokens that may change) of a fill model's own mask; None of what is not there.

    patcher: the host's ModelPatcher. patch: latent pixels per token side.
    """
    mask = _mask_of_fill(patcher.model, conds, noise, patcher.load_device)
    if mask is None:
        return None, None
    mask = comfy.sampler_helpers.prepare_mask(mask, noise.shape, patcher.load_device)
    grid = TokenGrid.of(noise, patch)
    edit = mask_to_tokens(is_edited(flat(mask).flatten(0, 1)), grid.height, grid.width, grid.patch).cpu()
    return mask, edit if bool(edit.any()) else None


def mask_on_latent(mask: Tensor | None, shape: torch.Size) -> Tensor | None:
    """A mask in pixels as one of a latent's size, (1, 1, (T,) H, W) of 0 and 1; None where nothing is painted.

    mask: (B, h, w) in 0..1, of the picture that the latent is, or of one that was scaled to it: cropped around its
    middle as VAE Encode crops, else scaled; of a clip as `latent_frames` takes it. Every latent pixel with a painted
    one counts. HiLoError where the mask has other proportions than the picture.
    """
    if mask is None or not bool(is_edited(mask).any()):
        return None
    painted = latent_frames(is_edited(mask), shape[2] if len(shape) == 5 else 1)[None]  # (1, T, h, w)
    (h, w), (height, width) = painted.shape[-2:], shape[-2:]
    pixels = max(h // height, 1)
    if (h // pixels, w // pixels) == (height, width):
        top, left = h % pixels // 2, w % pixels // 2
        part = painted[..., top : top + height * pixels, left : left + width * pixels]
        return _as_clip(F.max_pool2d(part.float(), pixels))
    if abs(h * width - w * height) > _PROPORTIONS * w * height:
        raise HiLoError(
            f"The mask is {w}x{h} px, the picture has the proportions {width}:{height}: give HiLo Model Patch the mask "
            "of the picture that is edited."
        )
    return _as_clip(F.adaptive_max_pool2d(painted.float(), (height, width)))


def _as_clip(masks: Tensor) -> Tensor:
    """Of latent frames side by side: (1, T, H, W) -> (1, 1, (T,) H, W)."""
    return masks if masks.shape[1] == 1 else masks[:, None]


def find_outside(
    source: Source | None, edit: Tensor | None, drawn: Tensor | None, mask: Tensor | None
) -> Outside | None:
    """What a plan or a mask protects where no denoise mask does; None where nothing is to be protected, or cannot be.

    edit: ((T,) rows, columns) bool, tokens that may change, of a plan; None without one. drawn: (1, 1, (T,) H, W), the
    mask that the patch was given, of the latent's size. mask: the denoise mask, (B, C, (T,) H, W); it does not protect
    what it has in nearly black, as some hosts load the alpha of a WebP.
    """
    if source is None or (edit is None and drawn is None):
        return None
    shape = flat(source.latent).shape[2:]
    editable = torch.zeros(shape, dtype=torch.bool) if drawn is None else drawn[0, 0].cpu() > 0
    if mask is not None:
        painted = is_edited(mask)
        if not bool(((mask > 0) & ~painted).any()):
            return None
        editable |= flat(painted).flatten(0, 1).any(0).cpu()
    if edit is not None:
        grids = (TokenGrid.of(source.latent, patch) for patch in range(1, 5))
        grid = next((g for g in grids if edit.shape == g.shape), None)
        if grid is None:
            return None
        editable = editable | grid.pixels(edit)
    return Outside(editable.to(source.latent.device), source.latent, source.picture)


def check_frames(latent: Tensor, clips: bool) -> None:
    """DenseRun unless a latent is one picture, or, where a model's clips are compressed, one clip."""
    if latent.ndim not in (4, 5) or (flat(latent).ndim == 5 and not clips):
        raise DenseRun(FEATURES["frames"].text)
