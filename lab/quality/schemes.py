"""What the evaluation compares: presets and their variants, and the yardsticks that they must beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.planning import PlanRequest
from hilo_token.demo import model as demo_model
from hilo_token.hilo_core.cost import ModelShape
from hilo_token.hilo_core.frequency import detail
from hilo_token.hilo_core.grid import TokenGrid
from hilo_token.hilo_core.mask import mask_to_tokens
from hilo_token.hilo_core.plan import TokenPlan, make_plan
from hilo_token.hilo_core.presets import LEVELS, Preset, preset
from hilo_token.hilo_core.schedule import Schedule
from torch import Tensor

from lab.quality.context_cache import ContextCache

SHAPE = ModelShape()  # FLUX.1: what "equal time" means


@dataclass(frozen=True)
class Job:
    """One picture, one mask, one run."""

    models: dict[str, Any]  # ModelPatchers by name; "base" is the demo model
    vae: Any
    pixels: Tensor  # (1, H, W, 3) in 0..1
    mask: Tensor  # (H, W) bool
    clean: Tensor  # latent of the picture
    masked: Tensor  # latent of the picture with grey under the mask
    steps: int
    seeds: tuple[int, ...]  # one batch

    @property
    def grid(self) -> TokenGrid:
        """Of the latent."""
        return TokenGrid(self.clean.shape[-2], self.clean.shape[-1], 2)

    def plan(self, chosen: Preset) -> TokenPlan:
        """What the patch will do with this job."""
        edit = mask_to_tokens(self.mask[None].float(), self.grid.height, self.grid.width, 16)
        return make_plan(edit, detail(self.clean.cpu(), self.grid.height, self.grid.width), chosen.tokens)

    def cost(self, chosen: Preset) -> float:
        """Predicted time of the run, of a FLUX.1, over that of the dense run."""
        dense = chosen.schedule.dense(self.steps)
        step = 1 / SHAPE.speedup(self.plan(chosen).count, self.grid.count)
        return sum(1.0 if d else step for d in dense) / len(dense)


def make_job(models: dict[str, Any], vae: Any, pixels: Tensor, mask: Tensor, steps: int, seeds: tuple[int, ...]) -> Job:
    """Encode as InpaintModelConditioning does."""
    masked = vae.encode(torch.where(mask[None, ..., None], 0.5, pixels))
    return Job(models, vae, pixels, mask, vae.encode(pixels), masked, steps, seeds)


def sample(model: Any, job: Job, steps: int | None = None, seed_shift: int = 0) -> Tensor:
    """The pictures (seeds, H, W, 3), through the host's sampler and decoder."""
    import comfy.sample

    steps, clean = steps or job.steps, job.clean.expand(len(job.seeds), -1, -1, -1)
    conditioning = demo_model.empty_conditioning()
    mask = job.mask[None, None].float()
    conditioning[0][1].update(concat_latent_image=job.masked, concat_mask=mask)
    noise = torch.cat([comfy.sample.prepare_noise(job.clean, seed + seed_shift) for seed in job.seeds])
    latent = comfy.sample.sample(
        model, noise, steps, 1.0, "euler", "simple", conditioning, conditioning, clean,
        noise_mask=mask, seed=job.seeds[0], disable_pbar=True,
    )  # fmt: skip
    picture: Tensor = job.vae.decode(latent)
    return picture


Scheme = Callable[[Job], Tensor]  # -> pictures (seeds, H, W, 3)


def patched(chosen: Preset, model: str = "base") -> Scheme:
    """The product."""
    return lambda job: sample(patch_model(job.models[model], Patch(chosen)), job)


def random_tokens(chosen: Preset) -> Scheme:
    """Edit tokens and random others, as many as the preset takes in all, without low-frequency tokens."""

    def run(job: Job) -> Tensor:
        edit = mask_to_tokens(job.mask[None].float(), job.grid.height, job.grid.width, 16)
        noise = torch.rand(job.grid.height, job.grid.width, generator=torch.Generator().manual_seed(0))
        like = job.plan(chosen)
        ratio = (like.count - like.counts()["edit"]) / job.grid.count
        settings = replace(chosen.tokens, rule="ratio", amount=ratio, max_high=1.0, nearness=0.0, levels=())
        request = PlanRequest(settings, edit, noise, make_plan(edit, noise, settings))
        return sample(patch_model(job.models["base"], Patch(chosen, request)), job)

    return run


def context_cache(chosen: Preset, first: int = 1) -> Scheme:
    """Dropped tokens through the K and V of the dense first steps; neither low-frequency tokens nor bias."""
    alone = replace(chosen, mass_bias=0.0, schedule=Schedule(first), tokens=replace(chosen.tokens, levels=()))

    def run(job: Job) -> Tensor:
        model = patch_model(job.models["base"], Patch(alone))
        network = model.model.diffusion_model
        blocks = len(network.double_blocks) + len(network.single_blocks)
        cache = ContextCache(job.plan(alone), demo_model.TEXT_TOKENS, blocks)
        model.model_options["transformer_options"]["optimized_attention_override"] = cache
        return sample(model, job)

    return run


def dense(seed_shift: int = 0) -> Scheme:
    """The dense model, with another seed."""
    return lambda job: sample(job.models["base"], job, seed_shift=seed_shift)


def fewer_steps(chosen: Preset) -> Scheme:
    """The dense model with as many steps as the preset's time allows."""
    return lambda job: sample(job.models["base"], job, max(1, round(job.steps * job.cost(chosen))))


def crop_and_stitch(chosen: Preset | None = None, factor: float = 1.2) -> Scheme:
    """Sample a crop around the mask, whose box it exceeds by `factor` (its users' default), or as far as the preset's
    time allows, at least by 16 px."""

    def cut(job: Job, grow: float) -> tuple[slice, slice]:
        sides = []
        for values, size in zip(torch.where(job.mask), job.mask.shape, strict=True):
            low, high = int(values.min()), int(values.max()) + 1
            more = max(int((high - low) * (grow - 1) / 2), 16)
            sides.append(slice(max(low - more, 0) // 16 * 16, min(-(-(high + more) // 16) * 16, size)))
        return sides[0], sides[1]

    def run(job: Job) -> Tensor:
        box = cut(job, factor)
        if chosen is not None:
            for grow in torch.arange(1.0, 8.0, 0.1).tolist():
                larger = cut(job, grow)
                tokens = (larger[0].stop - larger[0].start) * (larger[1].stop - larger[1].start) // 256
                if grow > 1 and 1 / SHAPE.speedup(tokens, job.grid.count) > job.cost(chosen):
                    break
                box = larger
        pixels, mask = job.pixels[:, box[0], box[1]], job.mask[box]
        small = make_job(job.models, job.vae, pixels, mask, job.steps, job.seeds)
        out = job.vae.decode(job.clean).repeat(len(job.seeds), 1, 1, 1)
        out[:, box[0], box[1]] = sample(job.models["base"], small)
        return out

    return run


def easy_cache(threshold: float) -> Scheme:
    """The host's EasyCache; 0.2 is its default."""

    def run(job: Job) -> Tensor:
        from comfy_extras.nodes_easycache import EasyCacheNode

        return sample(EasyCacheNode.execute(job.models["base"], threshold, 0.15, 0.95, False).args[0], job)

    return run


BALANCED = preset("balanced")


def main_schemes(models: tuple[str, ...] = ()) -> dict[str, Scheme]:
    """Presets and yardsticks, by the name in the tables. `dense` comes first; the others are compared with it."""
    found = {
        "dense": dense(),
        "dense, another seed": dense(seed_shift=1000),
        "dense, fewer steps, equal time": fewer_steps(BALANCED),
        "crop and stitch, margin 1.2": crop_and_stitch(),
        "crop and stitch, equal time": crop_and_stitch(BALANCED),
        "EasyCache 0.2": easy_cache(0.2),
        "token dropping": patched(with_tokens(replace(BALANCED, mass_bias=0.0), levels=())),
        "random tokens": random_tokens(replace(BALANCED, mass_bias=0.0)),
        "context cache": context_cache(BALANCED),
        "balanced, averaged cells": patched(with_tokens(BALANCED, native=False)),
        "balanced, the same tokens in each step": patched(with_tokens(BALANCED, turns=1)),
        "balanced, bias 0.5": patched(replace(BALANCED, mass_bias=0.5)),
        "balanced, bias 1": patched(replace(BALANCED, mass_bias=1.0)),
        "paper": patched(preset("paper")),
        "fast": patched(preset("fast")),
        "balanced": patched(BALANCED),
        "quality": patched(preset("quality")),
    }
    for name in models:
        found |= {f"{p}, {name}": patched(preset(p), name) for p in ("paper", "balanced")}
    return found


def with_tokens(chosen: Preset, **changes: Any) -> Preset:
    """The preset with other token settings."""
    return replace(chosen, tokens=replace(chosen.tokens, **changes))


def map_schemes() -> dict[str, Scheme]:
    """`balanced` with one thing changed at a time."""
    changed = {f"dilation {d}": with_tokens(BALANCED, dilation=float(d)) for d in (0, 1, 2, 3, 4, 6)}
    for share in (0.0, 0.01, 0.02, 0.05, 0.1, 0.2):
        changed[f"high share {share:.0%}"] = with_tokens(BALANCED, rule="ratio", amount=share)
    for score in ("laplacian", "dct", "haar"):
        changed[f"score {score}"] = with_tokens(BALANCED, score=score)
    changed["rule threshold 1"] = with_tokens(BALANCED, rule="threshold", amount=1.0)
    changed |= {f"nearness {n}": with_tokens(BALANCED, nearness=n) for n in (0.0, 1.0)}
    changed |= {f"low {name}": with_tokens(BALANCED, levels=levels) for name, levels in LEVELS.items() if levels}
    changed["low pyramid, near"] = with_tokens(BALANCED, levels=((2, 0.0), (4, 2.0), (8, 8.0)))
    changed["low pyramid, wide"] = with_tokens(BALANCED, levels=((2, 0.0), (4, 12.0)))
    changed["low native"] = with_tokens(BALANCED, native=True)
    changed |= {f"bias {b}": replace(BALANCED, mass_bias=b) for b in (0.0, 0.5)}
    changed |= {f"dense first {n}": replace(BALANCED, schedule=Schedule(first=float(n))) for n in (1, 2)}
    changed["dense last 1"] = replace(BALANCED, schedule=Schedule(last=1))
    changed["dense every 4"] = replace(BALANCED, schedule=Schedule(every=4))
    for dilation, low, bias, native in product((1.0, 2.0), ("4x4", "near"), (0.0, 0.5, 1.0), (False, True)):
        levels = LEVELS["4x4"] if low == "4x4" else ((2, 0.0), (4, 2.0), (8, 8.0))
        settings = with_tokens(BALANCED, dilation=dilation, levels=levels, native=native)
        name = f"mix: dilation {dilation:g}, low {low}{' native' if native else ''}, bias {bias:g}"
        changed[name] = replace(settings, mass_bias=bias)
    return {"dense": dense(), "balanced": patched(BALANCED)} | {n: patched(p) for n, p in changed.items()}
