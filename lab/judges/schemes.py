"""What is measured, through the host's sampler: settings of the node by name, rivals, and plans by stage.

Settings are `Preset` variants given to `patch_model`, so they are the product. Two experiments are not in the product
and reach inside it, in `inside`: a plan of one's own (random tokens with mass), and plans by stage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from hilo_token.hilo_core.frequency import detail
from hilo_token.hilo_core.mask import mask_to_tokens
from hilo_token.hilo_core.plan import NATIVE, TokenPlan, TokenSettings, make_plan
from hilo_token.hilo_core.presets import Preset
from torch import Tensor

from lab.judges.models import Loaded
from lab.judges.settings import BALANCED, LEAN, QUALITY, Setting


@dataclass
class Job:
    """One picture with one mask, for one judge."""

    judge: Loaded
    pixels: Tensor  # (1, H, W, 3) on the judge's device
    mask: Tensor  # (H, W) float, what the sampler gets
    hard: Tensor  # (H, W) bool, where figures are taken
    steps: int
    sampler: str = "euler"
    cfg: float = 1.0
    prompted: bool = False
    differential: bool = False
    seed: int = 0
    clean: Tensor = field(init=False)
    masked: Tensor = field(init=False)
    tokens: list[float] = field(default_factory=list)  # share of the dense tokens of each run; filled in by running

    def __post_init__(self) -> None:
        self.clean = self.judge.codec.encode(self.pixels)
        grey = torch.where(self.hard[None, ..., None], 0.5, self.pixels)
        self.masked = self.judge.codec.encode(grey)

    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        token = self.judge.judge.token if self.judge.judge else 2
        return self.clean.shape[-2] // token, self.clean.shape[-1] // token

    def plan(self, settings: TokenSettings) -> TokenPlan:
        """What the node will do with this job."""
        rows, columns = self.grid()
        latent = self.clean.cpu()
        edit = mask_to_tokens(self.mask[None].cpu(), rows, columns, self.mask.shape[0] // rows)
        return make_plan(edit, detail(latent, rows, columns), settings)


def sample(job: Job, model: Any, steps: int | None = None, seed_shift: int = 0, sigmas: Any = None) -> Tensor:
    """The picture (1, H, W, 3), through the host's sampler."""
    import comfy.sample
    import comfy.samplers

    judge, clean = job.judge, job.clean.cpu()
    prompted = job.prompted or job.cfg != 1.0
    positive = judge.conditioning(job.masked.cpu(), job.mask.cpu(), job.clean if prompted else None)
    negative = judge.conditioning(job.masked.cpu(), job.mask.cpu(), None)
    noise = comfy.sample.prepare_noise(clean, job.seed + seed_shift)
    mask = job.mask[None, None].cpu()
    if job.differential:
        from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion

        made = DifferentialDiffusion.execute(model) if hasattr(DifferentialDiffusion, "execute") else None
        model = made.args[0] if made is not None else DifferentialDiffusion().apply(model)[0]
    if sigmas is not None:
        latent = comfy.sample.sample_custom(
            model, noise, 1.0, comfy.samplers.sampler_object("euler"), torch.tensor(sigmas), positive, negative, clean,
            noise_mask=mask, disable_pbar=True, seed=job.seed,
        )  # fmt: skip
    else:
        latent = comfy.sample.sample(
            model, noise, steps or job.steps, job.cfg, job.sampler, "simple", positive, negative, clean,
            noise_mask=mask, seed=job.seed + seed_shift, disable_pbar=True,
        )  # fmt: skip
    out: Tensor = judge.codec.decode(latent.to(job.pixels.device))
    return out


Scheme = Callable[[Job], Tensor]


def _patched(job: Job, chosen: Preset) -> Any:
    """The judge with the node on it; its report notes the share of tokens."""
    from hilo_token.comfy_bridge.patch import Patch, patch_model

    def note(report: Any) -> None:
        total, steps = max(report.total, 1), max(report.dense_steps + report.compressed_steps, 1)
        share = report.kept / total if report.compressed_steps else 1.0
        job.tokens.append((report.dense_steps + share * report.compressed_steps) / steps if report.kept else 1.0)

    return patch_model(job.judge.patcher, Patch(chosen, on_report=note))


def node(chosen: Preset, sigmas: Any = None) -> Scheme:
    """The product with these settings."""
    return lambda job: sample(job, _patched(job, chosen), sigmas=sigmas)


def dense(steps: int | None = None, seed_shift: int = 0, sigmas: Any = None) -> Scheme:
    """The model alone, with fewer steps or another seed."""

    def run(job: Job) -> Tensor:
        job.tokens.append((steps or job.steps) / job.steps)
        return sample(job, job.judge.patcher, steps, seed_shift, sigmas)

    return run


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


def easy_cache(threshold: float) -> Scheme:
    """The host's EasyCache; its default is 0.2. The share of model calls that were made stands for its tokens."""

    def run(job: Job) -> Tensor:
        from comfy_extras.nodes_easycache import EasyCacheNode

        calls = [0]
        network = job.judge.patcher.model.diffusion_model.double_blocks[0]
        hook = network.register_forward_pre_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
        try:
            out = sample(job, EasyCacheNode.execute(job.judge.patcher, threshold, 0.15, 0.95, False).args[0])
        finally:
            hook.remove()
        job.tokens.append(min(1.0, calls[0] / job.steps))
        return out

    return run


@contextlib.contextmanager
def inside(plan: TokenPlan, stages: tuple[tuple[float, int], ...] = ()) -> Iterator[None]:
    """For experiments: runs take this plan. stages: (down to which sigma, how many of the plan's turns) in order."""
    import hilo_token.comfy_bridge.planning as planning
    import hilo_token.comfy_bridge.run as running

    made, turned = planning.make_plan, running.Run._next_turn

    def turn(run: Any, options: dict[str, Any]) -> int:
        sigma, count = float(options["sigmas"].max()), run.calls.get("all", -1) + 1
        run.calls["all"], at = count, 0
        for limit, turns in stages:
            if sigma >= limit - 1e-6:
                return at + count % turns
            at += turns
        raise AssertionError("the last stage must end at 0")

    asked: list[int] = []

    def given(*_: Any) -> TokenPlan:
        """This plan, whatever the settings; a strip as long as the text would be asked for again without an end."""
        asked.append(1)
        if len(asked) > 1:
            raise RuntimeError(f"a strip of {plan.count} tokens is as long as the text")
        return plan

    planning.make_plan = given  # type: ignore[assignment]
    if stages:
        running.Run._next_turn = turn  # type: ignore[method-assign]
    try:
        yield
    finally:
        planning.make_plan, running.Run._next_turn = made, turned  # type: ignore[method-assign]


def random_tokens(chosen: Preset) -> Scheme:
    """Edit and margin, then random tokens, as many as the preset takes in all, each with an equal part of the mass."""

    def run(job: Job) -> Tensor:
        like = job.plan(chosen.tokens)
        alone = job.plan(replace(chosen.tokens, levels=(), max_high=0.0, amount=0.0, multiple=1))
        dropped = torch.ones(alone.total, dtype=torch.bool)
        dropped[alone.kept] = False
        others, turns = dropped.nonzero()[:, 0], []
        want = max(min(like.count - alone.count, len(others)), 1)
        for turn in range(chosen.tokens.turns):
            order = torch.randperm(len(others), generator=torch.Generator().manual_seed(turn))[:want]
            picked = others[order]
            index, order = torch.cat([alone.kept, picked]).sort()
            kind = torch.cat([alone.kind, torch.full_like(picked, NATIVE)])[order]
            mass = torch.cat([alone.mass, torch.full((want,), len(others) / want)])[order]
            turns.append(replace(alone, kept=index, kind=kind, mass=mass))
        with inside(replace(turns[0], turns=tuple(turns[1:]))):
            return node(chosen)(job)

    return run


def staged(*parts: tuple[Setting, float]) -> Scheme:
    """Plans by stage: each setting down to its sigma; the last one to 0. All with the first one's bias."""

    def run(job: Job) -> Tensor:
        plans = [job.plan(setting.preset.tokens) for setting, _ in parts]
        sets = [[plan, *plan.later_turns] for plan in plans]
        every = [replace(p, turns=()) for group in sets for p in group]
        stages = tuple((limit, len(group)) for (_, limit), group in zip(parts, sets, strict=True))
        whole = parts[0][0].preset
        sampling = job.judge.patcher.model.model_sampling
        import comfy.samplers

        levels = comfy.samplers.calculate_sigmas(sampling, "simple", job.steps)[:-1].tolist()
        at = [next(i for i, (limit, _) in enumerate(stages) if s >= limit - 1e-6) for s in levels]
        with inside(replace(every[0], turns=tuple(every[1:])), stages):
            out = node(whole)(job)
        job.tokens[-1] = sum(plans[i].count / plans[i].total for i in at) / len(at)
        return out

    return run


def rivals(steps: int) -> dict[str, Scheme]:
    """What a setting must beat."""
    fewer = {4: (1, 2, 3), 8: (2, 3, 4, 5, 6), 20: (5, 7, 9, 12)}.get(steps, ())
    found = {f"dense, {n} steps": dense(n) for n in fewer}
    found["dense, another seed"] = dense(seed_shift=1000)
    found["crop, tokens of balanced"] = crop(BALANCED.preset)
    found["random with mass, tokens of balanced"] = random_tokens(BALANCED.preset)
    return found | {f"EasyCache {t:g}": easy_cache(t) for t in (0.05, 0.2)}


def stages() -> dict[str, Scheme]:
    """Plans by stage, by the table in the report."""
    q, b, lean = QUALITY, BALANCED, LEAN
    return {
        "stages: quality, balanced below 0.90, lean below 0.67": staged((q, 0.9), (b, 0.67), (lean, 0.0)),
        "stages: quality, balanced below 0.90": staged((q, 0.9), (b, 0.0)),
        "stages: quality, balanced below 0.67": staged((q, 0.67), (b, 0.0)),
        "stages: balanced, lean below 0.80": staged((b, 0.8), (lean, 0.0)),
        "stages: balanced, lean below 0.67": staged((b, 0.67), (lean, 0.0)),
        "stages: balanced, lean below 0.35": staged((b, 0.35), (lean, 0.0)),
        "stages: balanced, quality below 0.67": staged((b, 0.67), (q, 0.0)),
        "stages: lean, balanced below 0.67": staged((lean, 0.67), (b, 0.0)),
    }
