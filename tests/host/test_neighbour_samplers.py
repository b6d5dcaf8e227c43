"""Beside nodes that sample in their own way: several calls a step, several runs, parts of a run, prompts by step."""

from __future__ import annotations

import itertools
from typing import Any

import comfy.hooks
import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.demo import model as demo_model

import nodes as host_nodes

from .cases import Case, case
from .conftest import ALL, BALANCED, FLUX, SIZE
from .neighbours import photo, samplers
from .test_neighbours import seen_by_blocks

WHOLE = Patch(ALL, longest=1.0)


@pytest.fixture(scope="module")
def base() -> Any:
    return demo_model.load()


def custom(edit: Case, model: Any, function: Any, sigmas: torch.Tensor, noise: Any = None, latent: Any = None) -> Any:
    """Through the host's SamplerCustomAdvanced way: a sampler object and a list of sigmas."""
    sampler = comfy.samplers.KSAMPLER(function) if callable(function) else comfy.samplers.sampler_object(function)
    return comfy.sample.sample_custom(
        model,
        edit.noise if noise is None else noise,
        1.0,
        sampler,
        sigmas,
        edit.positive,
        edit.negative,
        edit.latent if latent is None else latent,
        noise_mask=edit.mask,
        disable_pbar=True,
        seed=3,
    )


def sigmas_of(model: Any, steps: int) -> torch.Tensor:
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)


def test_several_model_calls_in_a_step(base):
    """LanPaint: each evaluation of the guider sees other tokens, and the fill is as near as alone."""
    edit, sigmas = photo.edit("demo"), sigmas_of(base, 8)
    wanted = custom(edit, base, samplers.lanpaint, sigmas)
    assert torch.equal(custom(edit, patch_model(base, WHOLE), samplers.lanpaint, sigmas), wanted)
    with seen_by_blocks(base) as sets:
        out = custom(edit, patch_model(base, Patch(BALANCED)), samplers.lanpaint, sigmas)
    assert len(sets) == 32 and all(a != b for a, b in itertools.pairwise(sets)), "no turns"
    inside = photo.editable(edit, out)
    assert (out - wanted)[~inside].abs().max() < 1e-5  # its last step adds and takes away what it made of the outside
    dense = edit.sample(base, steps=8)
    alone = photo.psnr(edit.sample(patch_model(base, Patch(BALANCED)), steps=8), dense, inside)
    assert photo.psnr(out, wanted, inside) > alone - 4.0


def crop(edit: Case, top: int, left: int, height: int, width: int) -> Case:
    """A part of a photo's edit, in latent pixels, as a detailer or an upscaler takes it."""

    def part(latent: torch.Tensor, scale: int = 1) -> torch.Tensor:
        rows = slice(top * scale, (top + height) * scale)
        return latent[..., rows, left * scale : (left + width) * scale].clone()

    def cond(conds: list) -> list:
        keys = (("concat_latent_image", 1), ("concat_mask", 8))
        return [[text, {**values, **{key: part(values[key], scale) for key, scale in keys}}] for text, values in conds]

    return Case(part(edit.latent), part(edit.mask, 8), cond(edit.positive), cond(edit.negative), part(edit.noise))


def test_detailer(base, run_log):
    """Impact Pack: crops of one picture, each with a soft mask, denoise 0.5 and the same MODEL, one after another."""
    whole, patched = photo.edit("demo"), patch_model(base, Patch(BALANCED))
    with_difference = DifferentialDiffusion.execute(patched).args[0]
    for number, (top, left) in enumerate(((0, 0), (6, 4), (4, 8))):
        edit = crop(whole, top, left, 26, 22)
        edit.mask = torch.zeros_like(edit.mask)
        edit.mask[..., 64:128, 56:120] = torch.linspace(0.3, 1, 64)
        plain = DifferentialDiffusion.execute(base).args[0]
        dense = edit.sample(plain, steps=4, denoise=0.5)
        every = DifferentialDiffusion.execute(patch_model(base, WHOLE)).args[0]
        assert torch.equal(edit.sample(every, steps=4, denoise=0.5), dense)
        out = edit.sample(with_difference, steps=4, denoise=0.5)
        assert torch.equal(out[~photo.editable(edit, out)], dense[~photo.editable(edit, out)]), number
        assert photo.psnr(out, dense, photo.editable(edit, out)) > 35.0
        assert " 0 dense + 4 compressed" in run_log()[-1] and "of 143 tokens" in run_log()[-1], run_log()[-1]


def test_tiles_of_an_upscaler(base, run_log):
    """Ultimate SD Upscale: one run for each tile, without a noise mask. What lies outside the tokens of
    a tile's own Fill mask stays; a tile that it does not touch is dense, as it is without the node."""
    whole, patched = photo.edit("coffee"), patch_model(base, Patch(BALANCED))
    compressed = 0
    for top, left in ((0, 0), (0, 16), (16, 0), (16, 16)):
        tile = crop(whole, top, left, 16, 16)
        tokens = torch.nn.functional.max_pool2d(tile.mask, 16)  # of 2x2 latent pixels
        tile.mask = None
        dense, out = (tile.sample(model, steps=3, denoise=0.3) for model in (base, patched))
        if not tokens.any():
            assert torch.equal(out, dense) and "dense run: nothing is painted yet" in run_log()[-1]
            continue
        outside = (tokens.repeat_interleave(2, -1).repeat_interleave(2, -2) == 0).expand_as(out)
        assert (out - tile.latent)[outside].abs().max() < 1e-5 and (out - tile.latent)[~outside].abs().max() > 0.01
        compressed += "dense run: " not in run_log()[-1]
    assert 0 < compressed < 4


@pytest.mark.parametrize("first", [WHOLE, Patch(BALANCED)], ids=["all kept", "balanced"])
def test_split_sigmas(base, first, run_log):
    """The second half gets no noise and a latent that is no clean picture: dense, with the reason."""
    edit, sigmas = photo.edit("demo"), sigmas_of(base, 8)
    patched, nothing = patch_model(base, first), torch.zeros_like(edit.noise)
    halves = [custom(edit, model, "euler", sigmas[:5]) for model in (base, patched)]
    if first is WHOLE:
        assert torch.equal(*halves)
    assert torch.isfinite(halves[1]).all() and " 0 dense + 4 compressed" in run_log()[-1]
    dense, beside = (custom(edit, m, "euler", sigmas[4:], nothing, halves[1]) for m in (base, patched))
    assert torch.equal(dense, beside) and "dense run: " in run_log()[-1] and "noise" in run_log()[-1]


@pytest.mark.parametrize("add, start, end, leftover", [("enable", 0, 5, "enable"), ("enable", 3, 10000, "disable")])
def test_start_and_end_of_the_advanced_sampler(base, add, start, end, leftover, run_log):
    """KSampler (Advanced) with its noise: all kept is dense, and a part of the run is compressed as the whole is."""
    edit = photo.edit("demo")
    latent = {"samples": edit.latent, "noise_mask": edit.mask}
    sampler = host_nodes.KSamplerAdvanced()

    def sample(model: Any) -> torch.Tensor:
        names = ("euler", "simple", edit.positive, edit.negative)
        (out,) = sampler.sample(model, add, 3, 8, 1.0, *names, latent, start, end, leftover)
        return out["samples"]

    dense = sample(base)
    assert torch.equal(sample(patch_model(base, WHOLE)), dense)
    out = sample(patch_model(base, Patch(BALANCED)))
    inside = photo.editable(edit, out)
    assert torch.equal(out[~inside], dense[~inside]) and photo.psnr(out, dense, inside) > 40.0
    assert " 0 dense + 5 compressed" in run_log()[-1], run_log()[-1]


def test_prompts_by_step(model, holds):
    """Prompt scheduling: prompts of other lengths for a part of the steps, one of them with a LoRA of its own."""
    edit = case(FLUX, *SIZE)
    text, values = edit.positive[0]
    key = "diffusion_model.double_blocks.0.img_attn.qkv"
    shape = model.model.state_dict()[f"{key}.weight"].shape
    made = torch.Generator().manual_seed(12)
    lora = {
        f"{key}.lora_up.weight": torch.randn(shape[0], 4, generator=made),
        f"{key}.lora_down.weight": torch.randn(4, shape[1], generator=made),
    }
    early = [[text, {**values, "start_percent": 0.0, "end_percent": 0.5}]]
    later = [[torch.randn(1, 11, 48, generator=made), {**values, "start_percent": 0.5, "end_percent": 1.0}]]
    edit.positive = early + comfy.hooks.set_hooks_for_conditioning(later, comfy.hooks.create_hook_lora(lora, 1.0, 0.0))
    dense, _ = holds(model, edit, steps=4, cfg=2.0)
    assert not torch.equal(dense, case(FLUX, *SIZE).sample(model, steps=4, cfg=2.0))
