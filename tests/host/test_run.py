"""One sampling run through the host: samplers, batches, denoise, masks, references; exact, isolated, honest."""

from __future__ import annotations

import gc
import re
import weakref
from dataclasses import replace

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.planning import PlanRequest
from hilo_token.comfy_bridge.positions import idle
from hilo_token.hilo_core.errors import HiLoError
from hilo_token.hilo_core.frequency import detail
from hilo_token.hilo_core.mask import mask_to_tokens
from hilo_token.hilo_core.plan import make_plan
from hilo_token.hilo_core.presets import preset
from hilo_token.hilo_core.schedule import Schedule

from .cases import case, patcher
from .models import SMALL, flux

FLUX = SMALL[0]
QWEN = next(s for s in SMALL if s.family == "Qwen-Image")
BALANCED = replace(preset("balanced"), schedule=Schedule())
ALL = replace(BALANCED, tokens=replace(BALANCED.tokens, dilation=1000.0))


@pytest.fixture(scope="module")
def model():
    return patcher(flux())


@pytest.fixture(scope="module")
def fill():
    return patcher(flux(in_channels=96))


def outside_of(edit, out):
    return (edit.mask == 0).expand_as(out)


@pytest.mark.parametrize("sampler", [s for s in comfy.samplers.KSampler.SAMPLERS if "bh2" not in s])
def test_every_sampler(model, sampler):
    """All kept equals dense and the outside stays, for each sampler of the host."""
    edit = case(FLUX, 24, 32)
    dense = edit.sample(model, steps=3, sampler=sampler)
    assert (
        edit.sample(patch_model(model, Patch(ALL, longest=1.0)), steps=3, sampler=sampler) - dense
    ).abs().max().item() == 0.0
    out = edit.sample(patch_model(model, Patch(BALANCED)), steps=3, sampler=sampler)
    assert torch.isfinite(out).all()
    rounding = 1e-5 if sampler == "dpm_adaptive" else 0.0  # its step sizes follow the whole picture
    assert (out - dense)[outside_of(edit, out)].abs().max().item() <= rounding


@pytest.mark.parametrize("scheduler", comfy.samplers.KSampler.SCHEDULERS)
def test_every_scheduler(model, scheduler):
    edit = case(FLUX, 24, 32)
    dense = edit.sample(model, steps=3, scheduler=scheduler)
    out = edit.sample(patch_model(model, Patch(BALANCED)), steps=3, scheduler=scheduler)
    assert (out - dense)[outside_of(edit, out)].abs().max().item() == 0.0


@pytest.mark.parametrize(
    ("height", "width", "batch", "cfg", "denoise"),
    [(2, 2, 1, 1.0, 1.0), (17, 33, 1, 1.0, 0.6), (24, 32, 4, 2.0, 1.0), (65, 19, 2, 1.0, 0.3)],
)
def test_sizes_batches_denoise(fill, height, width, batch, cfg, denoise):
    edit = case(FLUX, height, width, batch, edit=(0, 2, 0, 2))
    edit.mask[..., height // 2, width // 2] = 0.5  # a grey edge
    for cond in (*edit.positive, *edit.negative):
        cond[1]["concat_latent_image"] = edit.latent
        cond[1]["concat_mask"] = torch.nn.functional.interpolate(edit.mask, scale_factor=8)
    dense = edit.sample(fill, cfg=cfg, denoise=denoise)
    assert (
        edit.sample(patch_model(fill, Patch(ALL, longest=1.0)), cfg=cfg, denoise=denoise) - dense
    ).abs().max().item() == 0.0
    out = edit.sample(patch_model(fill, Patch(BALANCED)), cfg=cfg, denoise=denoise)
    assert torch.isfinite(out).all()
    assert not outside_of(edit, out).any() or (out - dense)[outside_of(edit, out)].abs().max().item() == 0.0


def test_masks_of_a_batch(model):
    """One mask for each item; the strip holds the union, each item's outside stays."""
    edit = case(FLUX, 32, 32, batch=2)
    edit.mask = torch.zeros(2, 1, 32, 32)
    edit.mask[0, :, 2:8, 2:8] = 1
    edit.mask[1, :, 20:26, 20:30] = 1
    dense = edit.sample(model)
    out = edit.sample(patch_model(model, Patch(BALANCED)))
    assert (out - dense)[outside_of(edit, out)].abs().max().item() == 0.0


def test_differential_diffusion(model, run_log):
    edit = case(FLUX, 32, 40)
    edit.mask[..., 4:10, 6:14] = torch.linspace(0.1, 1, 8)
    differential = DifferentialDiffusion.execute(model).args[0]
    dense = edit.sample(differential)
    assert (edit.sample(patch_model(differential, Patch(ALL, longest=1.0))) - dense).abs().max().item() == 0.0
    out = edit.sample(patch_model(differential, Patch(BALANCED)))
    assert (out - dense)[outside_of(edit, out)].abs().max().item() == 0.0
    assert "compressed steps" in run_log()[-1]


def test_schedule_is_followed(model, run_log):
    edit = case(FLUX, 32, 40)
    dense = edit.sample(model)
    out = edit.sample(patch_model(model, Patch(replace(BALANCED, schedule=Schedule(first=1, last=1)))))
    assert "2 dense + 2 compressed steps" in run_log()[-1]
    nearer = (out - dense).abs().mean()
    assert nearer < (edit.sample(patch_model(model, Patch(BALANCED))) - dense).abs().mean()
    assert (
        edit.sample(patch_model(model, Patch(replace(BALANCED, schedule=Schedule(first=99))))) - dense
    ).abs().max() == 0
    assert "no compressed step" in run_log()[-1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: setattr(e, "mask", None), "no mask"),
        (lambda e: e.mask.zero_(), "nothing is painted yet"),
        (lambda e: e.mask.fill_(1)[..., 0, 0:2].zero_(), None),
        (lambda e: e.mask.zero_()[..., :29, :].fill_(1), "there is nothing to save"),
        (lambda e: setattr(e, "noise", torch.zeros_like(e.noise)), "adds no noise"),
    ],
)
def test_dense_with_its_reason(model, run_log, change, words):
    edit = case(FLUX, 32, 40)
    change(edit)
    dense = edit.sample(model)
    assert (edit.sample(patch_model(model, Patch(BALANCED))) - dense).abs().max().item() == 0.0
    if words:
        assert "dense run" in run_log()[-1] and words in run_log()[-1]


@pytest.mark.parametrize("field", ["mask", "latent"])
def test_nan_is_an_error(model, field):
    edit = case(FLUX, 32, 40)
    getattr(edit, field)[..., 0, 0] = float("nan")
    with pytest.raises(HiLoError, match="NaN"):
        edit.sample(patch_model(model, Patch(BALANCED)))


def request_for(height, width, settings=BALANCED.tokens, box=(64, 160, 96, 224)):
    """A HILO_PLAN as HiLoTokenSelect makes it."""
    mask = torch.zeros(1, height * 8, width * 8)
    mask[:, box[0] : box[1], box[2] : box[3]] = 1
    rows, columns = -(-height // 2), -(-width // 2)
    tokens, found = (
        mask_to_tokens(mask, rows, columns, 16),
        detail(torch.rand(1, 1, height * 8, width * 8), rows, columns),
    )
    return PlanRequest(settings, tokens, found, make_plan(tokens, found, settings))


@pytest.mark.parametrize("chosen", [BALANCED, preset("off")], ids=["balanced", "off"])
def test_a_plan_protects_what_a_mask_has_in_nearly_black(model, chosen):
    """As some hosts load the alpha of a WebP: 1/255 where nothing is painted."""
    edit = case(FLUX, 32, 40, edit=(8, 20, 12, 28))
    edit.mask = edit.mask.clamp_min(1 / 255)
    out = edit.sample(patch_model(model, Patch(chosen, request_for(32, 40))))
    outside = ~request_for(32, 40).edit.repeat_interleave(2, 0).repeat_interleave(2, 1).expand_as(out)
    assert torch.equal(out[outside], edit.latent[outside]) and not torch.equal(out, edit.latent)
    assert not torch.equal(edit.sample(model)[outside], edit.latent[outside]), "the host itself changes it"


def test_empty_latent_without_its_source_is_dense(model, run_log):
    edit = case(FLUX, 32, 40)
    edit.latent, edit.mask = torch.zeros_like(edit.latent), None
    edit.sample(patch_model(model, Patch(BALANCED, request_for(32, 40))))
    assert "no reference latent has its size" in run_log()[-1]


def kept_in(line):
    """Tokens of the strip, from a run's line; 0 where it was dense."""
    found = re.search(r"(\d+) of \d+ tokens \(", line)
    return int(found[1]) if found else 0


@pytest.mark.parametrize(("height", "width"), [(32, 40), (4, 6)])
def test_strip_is_never_as_long_as_the_text(model, run_log, height, width):
    """Attention over text alone is told from attention over the strip by its length; a tiny picture is dense."""
    edit = case(FLUX, height, width, edit=(0, 2, 0, 2))
    edit.sample(patch_model(model, Patch(BALANCED)))
    kept = kept_in(run_log()[-1])
    length = kept or height * width // 4
    for cond in (*edit.positive, *edit.negative):
        cond[0] = torch.randn(1, length, 48)
    edit.sample(patch_model(model, Patch(BALANCED, longest=1.0)))
    again = kept_in(run_log()[-1])
    assert again != length or again == height * width // 4


def test_plan_of_another_size_is_dense(model, run_log):
    """As a second sampler of another size has it."""
    edit = case(FLUX, 20, 40)
    out = edit.sample(patch_model(model, Patch(BALANCED, request_for(32, 40))))
    assert "dense run: the plan is for 20x16 tokens, but the latent has 20x10" in run_log()[-1]
    assert torch.equal(out, edit.sample(model))


def test_runs_do_not_see_each_other(model):
    first, second = case(FLUX, 32, 40), case(FLUX, 28, 24, edit=(10, 20, 3, 9))
    patched = patch_model(model, Patch(BALANCED))
    alone = first.sample(patched)
    second.sample(patched)
    assert torch.equal(first.sample(patched), alone)


def test_last_patch_counts_and_off_is_off(model):
    edit = case(FLUX, 32, 40)
    dense, once = edit.sample(model), edit.sample(patch_model(model, Patch(BALANCED)))
    twice = patch_model(patch_model(model, Patch(preset("fast"))), Patch(BALANCED))
    assert torch.equal(edit.sample(twice), once)
    off = patch_model(twice, Patch(preset("off")))
    assert torch.equal(edit.sample(off), dense)
    assert not off.object_patches


def test_interrupt_leaves_nothing(model):
    edit = case(FLUX, 32, 40)
    dense = edit.sample(model)
    patched = patch_model(model, Patch(BALANCED))

    class Stop(Exception):
        pass

    def interrupt(*_):
        raise Stop

    with pytest.raises(Stop):
        comfy.sample.sample(
            patched,
            edit.noise,
            4,
            1.0,
            "euler",
            "simple",
            edit.positive,
            edit.negative,
            edit.latent,
            noise_mask=edit.mask,
            seed=3,
            disable_pbar=True,
            callback=interrupt,
        )
    assert "hilo_token" not in patched.model_options["transformer_options"]
    assert idle()
    assert torch.equal(edit.sample(model), dense)


def test_run_state_is_freed(model):
    edit = case(FLUX, 32, 40)
    tokens = weakref.ref(edit.noise)
    patched = patch_model(model, Patch(BALANCED))
    edit.sample(patched)
    del edit
    gc.collect()
    assert tokens() is None, "the patch holds a tensor of a finished run"
