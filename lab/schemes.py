"""What the evaluation compares: presets, and the yardsticks that each of them must beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hilo_core.grid import TokenGrid
from hilo_core.host.known import PlanRequest
from hilo_core.host.patch import Patch, patch_model
from hilo_core.mask import mask_to_tokens
from hilo_core.plan import make_plan
from hilo_core.presets import Preset, preset
from hilo_core.schedule import Schedule
from lab import demo_model


@dataclass(frozen=True)
class Job:
    """One picture, one mask."""

    pixels: Tensor  # (1, H, W, 3) in 0..1
    mask: Tensor  # (H, W) bool
    clean: Tensor  # latent of the picture
    masked: Tensor  # latent of the picture with grey under the mask


def make_job(vae: Any, pixels: Tensor, mask: Tensor) -> Job:
    """Encode as InpaintModelConditioning does."""
    return Job(pixels, mask, vae.encode(pixels), vae.encode(torch.where(mask[None, ..., None], 0.5, pixels)))


def sample(model: Any, job: Job, steps: int, seed: int) -> Tensor:
    """The latent, through the host's sampler."""
    import comfy.sample

    conditioning = demo_model.empty_conditioning()
    mask = job.mask[None, None].float()
    conditioning[0][1].update(concat_latent_image=job.masked, concat_mask=mask)
    noise = comfy.sample.prepare_noise(job.clean, seed)
    return comfy.sample.sample(
        model, noise, steps, 1.0, "euler", "simple", conditioning, conditioning, job.clean,
        noise_mask=mask, seed=seed, disable_pbar=True,
    )  # fmt: skip


Scheme = Callable[[Any, Any, Job, int, int], Tensor]  # model, vae, job, steps, seed -> picture (1, H, W, 3)


def patched(chosen: Preset, random_context: bool = False) -> Scheme:
    """A scheme that is a patch. random_context: random tokens instead of the plan's context, as many."""

    def run(model: Any, vae: Any, job: Job, steps: int, seed: int) -> Tensor:
        request = random_request(job, chosen) if random_context else None
        return vae.decode(sample(patch_model(model, Patch(chosen, request)), job, steps, seed))

    return run


def random_request(job: Job, chosen: Preset) -> PlanRequest:
    """A plan with random tokens of the number that the preset takes."""
    grid = TokenGrid(job.clean.shape[-2], job.clean.shape[-1], 2)
    edit = mask_to_tokens(job.mask[None].float(), grid.height, grid.width)
    noise = torch.rand(grid.height, grid.width, generator=torch.Generator().manual_seed(0))
    like = make_plan(edit, noise, chosen.tokens)
    ratio = (like.count - like.counts()["edit"]) / grid.count
    settings = replace(chosen.tokens, rule="ratio", amount=ratio, max_high=1.0, nearness=0.0, levels=())
    return PlanRequest(settings, edit, noise, make_plan(edit, noise, settings))


def dense(seed_shift: int = 0, steps_ratio: float = 1.0) -> Scheme:
    """The dense model, with another seed or with fewer steps."""

    def run(model: Any, vae: Any, job: Job, steps: int, seed: int) -> Tensor:
        return vae.decode(sample(model, job, max(1, round(steps * steps_ratio)), seed + seed_shift))

    return run


def crop_and_stitch(factor: float = 1.2) -> Scheme:
    """Sample a crop around the mask. factor: size of the crop over that of the mask's box, its users' default."""

    def run(model: Any, vae: Any, job: Job, steps: int, seed: int) -> Tensor:
        y, x = torch.where(job.mask)
        cut = []
        for values, size in ((y, job.mask.shape[0]), (x, job.mask.shape[1])):
            low, high = int(values.min()), int(values.max()) + 1
            grow = max(round((high - low) * (factor - 1) / 2), 16)
            low, high = max(low - grow, 0) // 16 * 16, min(-(-(high + grow) // 16) * 16, size)
            cut.append(slice(low, high))
        small = make_job(vae, job.pixels[:, cut[0], cut[1]], job.mask[cut[0], cut[1]])
        out = vae.decode(job.clean)
        out[:, cut[0], cut[1]] = vae.decode(sample(model, small, steps, seed))
        return out

    return run


def easy_cache(threshold: float = 0.2) -> Scheme:
    """The host's EasyCache at its default threshold."""

    def run(model: Any, vae: Any, job: Job, steps: int, seed: int) -> Tensor:
        from comfy_extras.nodes_easycache import EasyCacheNode

        cached = EasyCacheNode.execute(model, threshold, 0.15, 0.95, False).args[0]
        return vae.decode(sample(cached, job, steps, seed))

    return run


def all_schemes() -> dict[str, Scheme]:
    """By the name in the tables; `dense` comes first, the others are compared with it."""
    balanced = preset("balanced")
    dropping = replace(balanced, bias=0.0, tokens=replace(balanced.tokens, levels=(), max_high=0.0))
    return {
        "dense": dense(),
        "dense, another seed": dense(seed_shift=1000),
        "dense, half the steps": dense(steps_ratio=0.5),
        "dense, a quarter of the steps": dense(steps_ratio=0.25),
        "crop and stitch": crop_and_stitch(),
        "EasyCache": easy_cache(),
        "edit tokens alone": patched(dropping),
        "edit and random tokens": patched(balanced, random_context=True),
        "balanced, no bias": patched(replace(balanced, bias=0.0)),
        "balanced, native tokens": patched(replace(balanced, tokens=replace(balanced.tokens, native=True))),
        "balanced, one dense step": patched(replace(balanced, schedule=Schedule(first=1))),
        "paper": patched(preset("paper")),
        "paper, with bias": patched(replace(preset("paper"), bias=1.0)),
        "fast": patched(preset("fast")),
        "balanced": patched(balanced),
        "quality": patched(preset("quality")),
    }
