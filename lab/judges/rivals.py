"""What a preset must beat: dense with fewer steps, crops, random tokens with mass, EasyCache, reused keys and values.

"Time of a preset" is the time that the cost model of a FLUX.1 gives its tokens (`hilo_core.cost`); a rival of equal
time takes as much of it or less.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from hilo_token.hilo_core.cost import ModelShape
from hilo_token.hilo_core.plan import NATIVE, TokenPlan
from hilo_token.hilo_core.presets import Preset, preset
from hilo_token.hilo_core.schedule import Schedule
from torch import Tensor

from lab.judges.models import TEXT_TOKENS
from lab.judges.schemes import Job, Scheme, dense, inside, node, patched, sample
from lab.judges.settings import BALANCED
from lab.quality.context_cache import ContextCache

THRESHOLDS = (0.01, 0.03, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # of EasyCache; its default is 0.2
SHAPE = ModelShape()


def cost(job: Job, chosen: Preset) -> float:
    """Predicted time of a run over that of the dense run."""
    plan = job.plan(chosen.tokens)
    step = 1 / SHAPE.speedup(plan.count, plan.total)
    steps = chosen.schedule.dense(job.steps)
    return sum(1.0 if d else step for d in steps) / len(steps)


def crop(chosen: Preset) -> Scheme:
    """Crop and stitch: a crop around the mask of as many tokens as the preset takes, at least the box and 16 px."""

    def run(job: Job) -> Tensor:
        side, want = job.mask.shape[0], job.plan(chosen.tokens).count
        sides = [torch.where(job.hard.any(axis))[0] for axis in (1, 0)]
        box = [(int(s.min()), int(s.max()) + 1) for s in sides]
        best = [(0, side), (0, side)]
        for more in range(side, 15, -16):
            grown = [(max(a - more, 0) // 16 * 16, min(-(-(b + more) // 16) * 16, side)) for a, b in box]
            best = grown
            if (grown[0][1] - grown[0][0]) * (grown[1][1] - grown[1][0]) // 256 <= want:
                break
        rows, columns = (slice(a, b) for a, b in best)
        small = replace(job, pixels=job.pixels[:, rows, columns], mask=job.mask[rows, columns],
                        hard=job.hard[rows, columns], tokens=[])  # fmt: skip
        job.tokens.append(small.clean[0, 0].numel() / job.clean[0, 0].numel())
        out = job.judge.codec.decode(job.clean)
        out[:, rows, columns] = sample(small, job.judge.patcher)
        return out

    return run


def _easy(job: Job, threshold: float) -> tuple[Tensor, float]:
    """The picture with the host's EasyCache, and the share of model calls that were made."""
    from comfy_extras.nodes_easycache import EasyCacheNode

    calls = [0]
    block = job.judge.patcher.model.diffusion_model.double_blocks[0]
    hook = block.register_forward_pre_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    try:
        out = sample(job, EasyCacheNode.execute(job.judge.patcher, threshold, 0.15, 0.95, False).args[0])
    finally:
        hook.remove()
    return out, min(1.0, calls[0] / job.steps)


def easy_cache(threshold: float) -> Scheme:
    """The host's EasyCache. The share of model calls that were made stands for its tokens."""

    def run(job: Job) -> Tensor:
        out, share = _easy(job, threshold)
        job.tokens.append(share)
        return out

    return run


def easy_cache_in_time(chosen: Preset) -> Scheme:
    """EasyCache with the lowest of THRESHOLDS that takes the preset's time at most; if none does, with the highest."""

    def run(job: Job) -> Tensor:
        low, high, most = 0, len(THRESHOLDS) - 1, cost(job, chosen)
        best = None
        while low <= high:
            middle = (low + high) // 2
            out, share = _easy(job, THRESHOLDS[middle])
            if share <= most or middle == len(THRESHOLDS) - 1:
                best, high = (out, share), middle - 1
            else:
                low = middle + 1
        assert best is not None
        job.tokens.append(best[1])
        return best[0]

    return run


def fewer_steps_in_time(chosen: Preset) -> Scheme:
    """The dense model with as many steps as the preset's time allows, rounded."""
    return lambda job: dense(max(1, round(job.steps * cost(job, chosen))))(job)


def reused(chosen: Preset) -> Scheme:
    """As RegionE does: only the edit and its margin are computed, the rest is seen through the keys and values of dense
    steps, of which there are as many as the preset's time allows, the first step and others at equal distances."""

    def run(job: Job) -> Tensor:
        alone = replace(chosen, mass_bias=0.0, schedule=Schedule(),
                        tokens=replace(chosen.tokens, levels=(), amount=0.0, max_high=0.0))  # fmt: skip
        own = cost(job, alone)
        count = max(1, int((cost(job, chosen) - own) / max(1 - own, 1e-6) * job.steps))
        every = max(2, math.ceil((job.steps - 1) / count)) if count > 1 else 0
        model = patched(job, replace(alone, schedule=Schedule(first=1.0, every=every)))
        network, reference = model.model.diffusion_model, job.judge.judge is not None and job.judge.judge.reference
        blocks = len(network.double_blocks) + len(network.single_blocks)
        cache = ContextCache(job.plan(alone.tokens), TEXT_TOKENS, blocks, 1 + reference)
        options = model.model_options["transformer_options"] = dict(model.model_options["transformer_options"])
        options["optimized_attention_override"] = cache
        return sample(job, model)

    return run


def random_plan(alone: TokenPlan, want: int, turn: int) -> TokenPlan:
    """Edit and margin, then `want` random tokens of the others, each with an equal part of the others' mass."""
    dropped = torch.ones(alone.total, dtype=torch.bool)
    dropped[alone.kept] = False
    others = dropped.nonzero()[:, 0]
    want = max(min(want, len(others)), 1)
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(turn))[:want]
    picked = others[order.sort().values]
    mass = torch.cat([torch.ones(len(alone.kept)), torch.full((want,), len(others) / want)])
    owner = torch.full((alone.total,), len(alone.kept), dtype=torch.long)
    owner[torch.cat([alone.kept, picked])] = torch.arange(len(mass))
    kind = torch.cat([alone.kind, torch.full_like(picked, NATIVE)])
    return replace(alone, kept=torch.cat([alone.kept, picked]), kind=kind, mass=mass, owner=owner)


def random_tokens(chosen: Preset) -> Scheme:
    """Edit and margin, then random tokens, as many as the preset takes in all, each with an equal part of the mass."""

    def run(job: Job) -> Tensor:
        like = job.plan(chosen.tokens)
        alone = job.plan(replace(chosen.tokens, levels=(), max_high=0.0, amount=0.0, multiple=1))
        turns = [random_plan(alone, like.count - alone.count, turn) for turn in range(chosen.tokens.turns)]
        with inside(replace(turns[0], later_turns=tuple(turns[1:]))):
            return node(chosen)(job)

    return run


def rivals(steps: int) -> dict[str, Scheme]:
    """What a setting must beat."""
    fewer = {4: (1, 2, 3), 8: (2, 3, 4, 5, 6), 20: (5, 7, 9, 12)}.get(steps, ())
    found = {f"dense, {n} steps": dense(n) for n in fewer}
    found["dense, another seed"] = dense(seed_shift=1000)
    found["crop, tokens of balanced"] = crop(BALANCED.preset)
    found["random with mass, tokens of balanced"] = random_tokens(BALANCED.preset)
    return found | {f"EasyCache {t:g}": easy_cache(t) for t in (0.05, 0.2)}


def equal_time() -> dict[str, Scheme]:
    """What takes as long as `balanced`."""
    chosen = preset("balanced")
    return {
        "dense, fewer steps, time of balanced": fewer_steps_in_time(chosen),
        "EasyCache, time of balanced": easy_cache_in_time(chosen),
        "reused keys and values, time of balanced": reused(chosen),
        "crop, tokens of balanced": crop(chosen),
        "random with mass, tokens of balanced": random_tokens(chosen),
        "dense, another seed": dense(seed_shift=1000),
    }
