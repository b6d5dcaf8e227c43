"""Puts HiLo-Token on a model through the host's ModelPatcher: two wrappers and one object patch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import comfy.sampler_helpers
import torch
from comfy.patcher_extension import WrappersMP

from ..cost import ModelShape, run_speedup
from ..presets import Preset
from .compat import FEATURES, others
from .families import Family, find_family
from .known import DenseRun, PlanRequest, find_known
from .positions import AnyPositions, Positions, TablePositions
from .report import RunReport, Stopwatch
from .run import Call, Run

KEY = "hilo_token"
_log = logging.getLogger("hilo-token")


@dataclass(frozen=True)
class Patch:
    """What one patch node asks for."""

    preset: Preset
    request: PlanRequest | None = None
    on_report: Callable[[RunReport], None] = lambda report: None
    coarse_references: int = 0  # cell size for references of another size than the target; 0: whole
    longest: float = 0.9  # a strip of more than this share of the dense tokens runs dense


def patch_model(model: Any, patch: Patch) -> Any:
    """A clone of a ModelPatcher that samples with compressed tokens. A patch that is already there is replaced.

    Raises HiLoError when the model is of no known family.
    """
    family = find_family(model.model.diffusion_model)
    patched = model.clone()
    name = f"diffusion_model.{family.embedder}"
    embedder = patched.get_model_object(name)
    if isinstance(embedder, AnyPositions):
        _log.warning("HiLo-Token: the model was patched before; the last patch counts.")
        embedder = embedder.embedder
    for kind in (WrappersMP.OUTER_SAMPLE, WrappersMP.APPLY_MODEL):
        patched.remove_wrappers_with_key(kind, KEY)
    patched.object_patches.pop(name, None)
    if patch.preset.off:
        return patched
    positions = Positions(embedder) if isinstance(embedder, torch.nn.Module) else TablePositions(embedder)
    patched.add_object_patch(name, positions)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _outer_sample(patch, family, positions))
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, _apply_model)
    return patched


def _outer_sample(patch: Patch, family: Family, positions: AnyPositions) -> Callable[..., Any]:
    """Once for each sampling run: make its state, put it into the run's own options, report at the end."""

    def outer_sample(
        executor: Any,
        noise: Any,
        latent: Any,
        sampler: Any,
        sigmas: Any,
        denoise_mask: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        guider, run = executor.class_obj, None
        try:
            run = _make_run(guider, patch, family, positions, noise, latent, sigmas, denoise_mask)
        except DenseRun as refusal:
            report = RunReport(reason=str(refusal))
        options = guider.model_options.setdefault("transformer_options", {})
        if run is not None:
            options[KEY] = run
            _make_innermost(options)
        beside = others(guider.model_patcher, guider.model_options, KEY)
        try:
            out = executor(noise, latent, sampler, sigmas, denoise_mask, *args, **kwargs)
        finally:
            options.pop(KEY, None)
        if run is not None:
            out = run.finish(out)
            report = _report(run)
        report = replace(report, others=beside)
        _log.info("HiLo-Token: %s", report.line())
        patch.on_report(report)
        return out

    return outer_sample


def _make_innermost(options: dict[str, Any]) -> None:
    """Whatever other nodes wrap around a model call sees the whole picture, in whichever order they were added.

    options: the run's own transformer_options.
    """
    around = options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    if KEY in around:
        around[KEY] = around.pop(KEY)


def _apply_model(
    executor: Any,
    x: Any,
    t: Any,
    c_concat: Any = None,
    c_crossattn: Any = None,
    control: Any = None,
    transformer_options: Any = None,
    **kwargs: Any,
) -> Any:
    """Every model call."""
    options = transformer_options or {}
    run = options.get(KEY)
    if run is None:
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
    return run.call(executor, Call(x, t, c_concat, c_crossattn, control, options, kwargs))


def _make_run(
    guider: Any,
    patch: Patch,
    family: Family,
    positions: AnyPositions,
    noise: Any,
    latent: Any,
    sigmas: Any,
    denoise_mask: Any,
) -> Run:
    patcher = guider.model_patcher
    model, device = patcher.model, patcher.load_device
    if denoise_mask is not None:
        denoise_mask = comfy.sampler_helpers.prepare_mask(denoise_mask, noise.shape, device)
    if not torch.count_nonzero(noise):
        raise DenseRun("the sampler adds no noise, so the latent is not the clean picture")
    if any(entry.get("area") or entry.get("set_area_to_bounds") for conds in guider.conds.values() for entry in conds):
        raise DenseRun(FEATURES["area"].text)
    known = find_known(
        model,
        latent.to(device),
        denoise_mask,
        guider.conds,
        family.patch_size(model.diffusion_model),
        patch.preset.tokens,
        patch.request,
        _text_lengths(guider.conds),
        patch.longest,
    )
    levels = [float(s) for s in sigmas]
    dense = patch.preset.schedule.dense(len(levels) - 1)
    return Run(
        model,
        family,
        positions,
        known,
        noise.to(device),
        levels,
        dense,
        patch.preset.bias,
        patch.coarse_references,
        Stopwatch(device),
    )


def _text_lengths(conds: dict[str, Any]) -> set[int]:
    """Lengths that attention over text alone may have."""
    lengths = {
        entry["cross_attn"].shape[1]
        for entries in conds.values()
        for entry in entries
        if entry.get("cross_attn") is not None
    }
    return lengths | {-(-length // 32) * 32 for length in lengths}


def _report(run: Run) -> RunReport:
    plan = run.known.plan
    taken = run.taken() if run.seen else []
    dense, compressed = run.watch.seconds(dense=True), run.watch.seconds(dense=False)
    if compressed is None:
        return RunReport(reason=run.reason or "the schedule has no compressed step", dense_steps=len(taken))
    predicted = dense is None
    shape = ModelShape(run.family.hidden(run.model.diffusion_model))
    step = shape.speedup(plan.count, plan.total) if dense is None else dense / compressed
    return RunReport(
        dense_steps=sum(taken),
        compressed_steps=len(taken) - sum(taken),
        counts=plan.counts(),
        kept=plan.count,
        total=plan.total,
        dense_seconds=dense,
        compressed_seconds=compressed,
        speedup=run_speedup(taken, step),
        predicted=predicted,
        note="; ".join(text for text in (plan.note, run.remark, run.reason) if text),
    )
