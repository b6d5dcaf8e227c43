"""What is measured, through the host's sampler: settings of the node by name, and plans by stage.

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
from hilo_token.hilo_core.plan import TokenPlan, TokenSettings, make_plan
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
    negative = judge.negative(job.masked.cpu(), job.mask.cpu())
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


def patched(job: Job, chosen: Preset) -> Any:
    """The judge with the node on it; its report notes the share of tokens."""
    from hilo_token.comfy_bridge.patch import Patch, patch_model

    def note(report: Any) -> None:
        total, steps = max(report.total, 1), max(report.dense_steps + report.compressed_steps, 1)
        share = report.kept / total if report.compressed_steps else 1.0
        job.tokens.append((report.dense_steps + share * report.compressed_steps) / steps if report.kept else 1.0)

    return patch_model(job.judge.patcher, Patch(chosen, on_report=note))


def node(chosen: Preset, sigmas: Any = None) -> Scheme:
    """The product with these settings."""
    return lambda job: sample(job, patched(job, chosen), sigmas=sigmas)


def dense(steps: int | None = None, seed_shift: int = 0, sigmas: Any = None) -> Scheme:
    """The model alone, with fewer steps or another seed."""

    def run(job: Job) -> Tensor:
        job.tokens.append((steps or job.steps) / job.steps)
        return sample(job, job.judge.patcher, steps, seed_shift, sigmas)

    return run


@contextlib.contextmanager
def inside(plan: TokenPlan, stages: tuple[tuple[float, int], ...] = ()) -> Iterator[None]:
    """For experiments: runs take this plan. stages: (down to which sigma, how many of the plan's turns) in order."""
    import hilo_token.comfy_bridge.planning as planning
    import hilo_token.comfy_bridge.run as running

    made, turned = planning._make_plan, running.Run._next_turn

    def turn(run: Any, options: dict[str, Any]) -> int:
        sigma, count, at = float(options["sigmas"].max()), max(run.evaluation, 0), 0
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

    planning._make_plan = given  # type: ignore[assignment]
    if stages:
        running.Run._next_turn = turn  # type: ignore[method-assign]
    try:
        yield
    finally:
        planning._make_plan, running.Run._next_turn = made, turned  # type: ignore[method-assign]


def staged(*parts: tuple[Setting, float]) -> Scheme:
    """Plans by stage: each setting down to its sigma; the last one to 0. All with the first one's bias."""

    def run(job: Job) -> Tensor:
        plans = [job.plan(setting.preset.tokens) for setting, _ in parts]
        sets = [[plan, *plan.later_turns] for plan in plans]
        every = [replace(p, later_turns=()) for group in sets for p in group]
        stages = tuple((limit, len(group)) for (_, limit), group in zip(parts, sets, strict=True))
        whole = parts[0][0].preset
        sampling = job.judge.patcher.model.model_sampling
        import comfy.samplers

        levels = comfy.samplers.calculate_sigmas(sampling, "simple", job.steps)[:-1].tolist()
        at = [next(i for i, (limit, _) in enumerate(stages) if s >= limit - 1e-6) for s in levels]
        with inside(replace(every[0], later_turns=tuple(every[1:])), stages):
            out = node(whole)(job)
        job.tokens[-1] = sum(plans[i].count / plans[i].total for i in at) / len(at)
        return out

    return run


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
