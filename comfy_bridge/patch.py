"""Puts HiLo-Token on a model through the host's ModelPatcher: four wrappers and one object patch.

Takes a model and what a node asks for, gives a clone of it. Around a run it makes the run's state, puts it into the
run's own options, removes it however the run ends, and reports. HiLoError for a model of no known family.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.sampler_helpers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..hilo_core.cost import ModelShape
from ..hilo_core.errors import HiLoError
from ..hilo_core.grid import TokenGrid
from ..hilo_core.presets import Preset
from ..hilo_core.words import Said
from .auto import decide, setting_of
from .call import KEY, OUTSIDE, WATCH, Call, flat
from .families import class_path, find_family, hides_family
from .family import Family
from .features import FEATURES
from .gain import learn, report_of
from .graph_store import end_with_the_model, release_all
from .masked import MaskedAttention
from .memory import prepare_sampling
from .neighbours import also_on, keeps_references, keeps_state, uncompiled
from .planning import PlanRequest, choose_plan, edit_tokens, said, text_lengths, with_speedup
from .positions import AnyPositions, stand_in
from .probe import Form
from .reasons import DenseRun, out_of_memory
from .run import Run
from .run_report import RunReport, Stopwatch
from .source import Outside, Source, check_frames, fill_mask, find_outside, find_source, mask_on_latent
from .spot_check import SpotCheck
from .uncompressed import why_dense

NO_MASK = "the sampler got no mask. Put Set Latent Noise Mask before it, or wire a mask to HiLo Model Patch"
_WRAPPERS = ("outer_sample", "prepare_sampling", "predict_noise", "apply_model")
_log = logging.getLogger("hilo-token")


@dataclass(frozen=True)
class Patch:
    """What one patch node asks for."""

    preset: Preset
    request: PlanRequest | None = None
    on_report: Callable[[RunReport], None] = lambda report: None
    coarse_references: int = 0  # cell size for references of another size than the target; 0: whole
    mask: Tensor | None = None  # (B, h, w) in pixels, what is to change; counts where the latent has no noise mask
    longest: float = 0.9  # a strip of more than this share of the dense tokens runs dense
    speedup: float = 0.0  # of a step, that is wanted where no request says; 0: as the preset gives
    spot_check: bool = False  # compute one step both ways, and be dense from there on where they do not agree
    auto: Callable[[str], Preset] | None = None  # from a name to a preset, where a run without a plan chooses
    on_start: Callable[[RunReport], None] = lambda report: None  # before the first step, and once a call must be dense


def network_of(model: Any) -> Any:
    """The diffusion model of a ModelPatcher, as this clone of it has it, without what compiles it."""
    return uncompiled(model.get_model_object("diffusion_model"))


def patch_model(model: Any, patch: Patch) -> Any:
    """A clone of a ModelPatcher that samples with compressed tokens. A patch that is already there is replaced.

    With a preset that is off the clone is exactly the model, whose calls are timed, so that later runs know what they
    save; a plan or a mask still protects what lies outside it.
    Raises HiLoError when the model is of no known family.
    """
    patched = _unpatched(model)
    family = None if patch.preset.off else _family_of(model)
    if isinstance(family, Family):
        name = _embedder_name(family)
        patched.add_object_patch(name, stand_in(patched.get_model_object(name), family.table))
        for attention in family.attentions(network_of(patched)):
            name = f"diffusion_model.{attention}.forward"
            patched.add_object_patch(name, MaskedAttention(patched.get_model_object(name)))
        patched.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, prepare_sampling(KEY))
        end_with_the_model(patched)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _outer_sample(patch, family))
    patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, _predict_noise)
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, _apply_model)
    return patched


def _embedder_name(family: Family) -> str:
    return f"diffusion_model.{family.embedder}"


def _unpatched(model: Any) -> Any:
    """A clone without this pack; what another node has put in the embedder's place stays."""
    patched = model.clone()
    if patched.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY):
        _log.warning("HiLo-Token: the model was patched before; the last patch counts.")
    for kind in _WRAPPERS:
        patched.remove_wrappers_with_key(kind, KEY)
    for name, value in list(patched.object_patches.items()):
        if isinstance(value, AnyPositions | MaskedAttention):
            del patched.object_patches[name]
            if isinstance(value, AnyPositions) and value.embedder != patched.get_model_object(name):
                patched.add_object_patch(name, value.embedder)
    return patched


def _family_of(model: Any) -> Family | str:
    """The model's family; or why its runs are dense: a class that is not compressed, or one of another node's that only
    hides a known one. Else HiLoError."""
    network = network_of(model)
    try:
        return find_family(network)
    except HiLoError:
        if reason := why_dense(class_path(network)):
            return Said("{} is not compressed: {}", class_path(network).split(":")[1], reason)
        if hides_family(network) or hides_family(model.model.diffusion_model):
            return Said(FEATURES["class"].text, class_path(network).split(":")[1])
        raise


def _outer_sample(patch: Patch, family: Family | str | None) -> Callable[..., Any]:
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
        guider, run, outside, reason = executor.class_obj, None, None, "preset is off"
        model, watch = guider.model_patcher.model, Stopwatch(guider.model_patcher.load_device)
        try:
            if patch.request is not None or patch.mask is not None or not patch.preset.off:
                check_frames(latent, family is None or (isinstance(family, Family) and family.clips))
                source, mask = _source(guider, noise, latent, denoise_mask)
                edit, given = patch.request.edit if patch.request else None, mask
                drawn = mask_on_latent(patch.mask, latent.shape) if given is None else None
                if edit is None and patch.mask is None and given is None and isinstance(family, Family):
                    network = network_of(guider.model_patcher)
                    mask, edit = fill_mask(guider.model_patcher, guider.conds, noise, family.patch_size(network))
                outside = find_outside(source, edit, drawn, given)
                if not patch.preset.off:
                    hole = drawn if mask is None else mask
                    run = _make_run(guider, patch, family, source, hole, noise, sigmas, sampler)
        except DenseRun as refusal:
            reason = refusal.reason
        if run is not None:
            watch, run.on_reason = run.watch, lambda why: patch.on_start(RunReport(reason=why))
            patch.on_start(RunReport(kept=run.plan.count, total=run.plan.total))
        elif not patch.preset.off:
            patch.on_start(RunReport(reason))
        options = guider.model_options.setdefault("transformer_options", {})
        options[KEY], options[OUTSIDE], options[WATCH] = run, outside, watch
        _make_innermost(options)
        beside = also_on(guider.model_patcher, guider.model_options, KEY)
        try:
            out = executor(noise, latent, sampler, sigmas, denoise_mask, *args, **kwargs)
        except Exception as error:
            if out_of_memory(error):
                release_all()
            raise
        finally:
            for name in (KEY, OUTSIDE, WATCH):
                options.pop(name, None)
        if outside is not None and not sigmas[-1] > 0:
            out = outside.put_back(out, outside.picture)  # steps that a cache left out were not protected
        if run is None:
            learn(model, watch, beside)
        if not patch.preset.off:
            report = RunReport(reason, others=beside) if run is None else report_of(run, model, beside)
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


def _predict_noise(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Every evaluation of the guider: all its model calls take one turn, and its result keeps what a plan protects."""
    options = executor.class_obj.model_options.get("transformer_options", {})
    run: Run | None = options.get(KEY)
    outside: Outside | None = options.get(OUTSIDE)
    if run is not None:
        run.evaluation += 1
    out = executor(*args, **kwargs)
    return out if outside is None else outside.put_back(out, outside.latent)


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
    run: Run | None = options.get(KEY)
    watch: Stopwatch | None = options.get(WATCH)
    call = Call(x, t, c_concat, c_crossattn, control, options, kwargs)
    if run is not None:
        return run.call(executor, call)
    if watch is None:
        return call.execute(executor)
    mark, out = watch.start(), call.execute(executor)
    watch.stop(mark, dense=True, shapes=call.shapes)
    return out


def _source(guider: Any, noise: Any, latent: Tensor, denoise_mask: Any) -> tuple[Source | None, Tensor | None]:
    """The clean picture of a run, if it is known, and the mask of the latent's size, if there is one."""
    patcher = guider.model_patcher
    device = patcher.load_device
    if denoise_mask is not None:
        denoise_mask = comfy.sampler_helpers.prepare_mask(denoise_mask, noise.shape, device)
    noisy = not bool(torch.count_nonzero(noise))
    masked = denoise_mask is not None
    return find_source(patcher.model, latent.to(device), masked, noisy, guider.conds), denoise_mask


def _make_run(
    guider: Any,
    patch: Patch,
    family: Family | str | None,
    source: Source | None,
    mask: Tensor | None,
    noise: Any,
    sigmas: Any,
    sampler: Any,
) -> Run:
    if not isinstance(family, Family):
        raise DenseRun(family or "")
    if mask is None and patch.request is None:
        raise DenseRun("nothing is painted yet" if patch.mask is not None else NO_MASK)
    if not torch.count_nonzero(noise):
        raise DenseRun("the sampler adds no noise, so the latent is not the clean picture")
    if source is None:
        raise DenseRun("the latent is empty and no reference latent has its size, so the picture is not known")
    if any(entry.get("area") or entry.get("set_area_to_bounds") for conds in guider.conds.values() for entry in conds):
        raise DenseRun(FEATURES["area"].text)
    network = network_of(guider.model_patcher)
    grid = TokenGrid.of(source.latent, family.patch_size(network))
    texts, pads = text_lengths(guider.conds), family.padding(network)

    def unfit(count: int) -> bool:
        """So long as a text, or without the pad tokens that the picture has."""
        return count + pads(count) in texts or count in texts or (pads(grid.count) > 0 and not pads(count))

    request, levels, model = patch.request, [float(s) for s in sigmas], guider.model_patcher.model
    shape, wanted = ModelShape(family.hidden(network)), request.speedup if request else patch.speedup
    edit = edit_tokens(mask, grid, request)
    setting = setting_of(edit, len(levels) - 1, sampler)
    decided = decide(patch.preset, patch.auto, request, guider.model_patcher, setting)
    settings = with_speedup(decided.preset.tokens, wanted, shape, grid.count)
    plan = said(choose_plan(source, edit, grid, settings, request, unfit, patch.longest), wanted, shape)
    decided.check(plan, shape, model)
    downsampled = {n: flat(model.process_latent_in(z)) for n, z in (request.downsampled if request else {}).items()}
    whole = family.prefix or keeps_references(guider.model_options.get("transformer_options", {}))
    steps = decided.preset.schedule.dense(len(levels) - 1)
    return Run(
        family,
        Form(grid.patch, pads, family.table),
        source,
        plan,
        grid,
        downsampled,
        noise,
        levels,
        steps,
        decided,
        0 if whole else patch.coarse_references,
        Stopwatch(guider.model_patcher.load_device),
        whole,
        keeps_state(guider.model_options, KEY),
        shape.hidden,
        SpotCheck.in_the_middle(steps) if patch.spot_check else None,
    )
