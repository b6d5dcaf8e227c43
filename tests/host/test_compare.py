"""HiLo Compare on the demo model through the host's sampler: pictures, figures, verdict, and wrong input."""

from __future__ import annotations

import re

import comfy.model_management
import comfy.samplers
import comfy.utils
import pytest
import torch
from hilo_token.demo import model as demo
from hilo_token.hilo_core import HiLoError
from hilo_token.hilo_core.likeness import likeness

import nodes as host_nodes
from tools.pack import load_pack

from .cases import case, patcher
from .models import SMALL, flux

SIDE = 384


@pytest.fixture(scope="module")
def compare():
    return load_pack("nodes.compare").HiLoCompare


@pytest.fixture(scope="module")
def given():
    """What a workflow would wire into the node: the demo model, a picture and a box."""
    torch.manual_seed(0)
    small = torch.rand(1, 3, 12, 12)
    picture = torch.nn.functional.interpolate(small, (SIDE, SIDE), mode="bicubic").clamp(0, 1).movedim(1, -1)
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 144:224, 160:256] = 1
    vae, conditioning = demo.load_vae(), demo.empty_conditioning()
    positive, _, latent = host_nodes.InpaintModelConditioning().encode(
        conditioning, conditioning, picture, vae, mask, noise_mask=True
    )
    return dict(
        model=demo.load(), seed=5, steps=3, cfg=1.0, sampler_name="euler", scheduler="simple", positive=positive,
        latent_image=latent, denoise=1.0, vae=vae, presets="fast, balanced",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def every_update(monkeypatch):
    """Newer hosts leave out updates of a progress bar that come soon after one another."""
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0.0, raising=False)


@pytest.fixture(scope="module")
def answer(compare, given):
    return compare.execute(**given)


def test_pictures_and_words(answer):
    dense, compressed, difference, text = answer.args
    assert dense.shape == (1, SIDE, SIDE, 3) and compressed.shape == difference.shape == (2, SIDE, SIDE, 3)
    lines = text.splitlines()
    assert lines[0].startswith("'") and lines[0].endswith(".")
    assert [line.split(":")[0] for line in lines[1:]] == ["fast", "balanced"]
    assert all("largest change outside the edit 0" in line for line in lines[1:]), text
    assert all("faster" in line for line in lines[1:]), text
    names = answer.ui["hilo_compare_names"]
    assert names[0] == "dense" and len(names) == len(answer.ui["hilo_compare"])
    assert sorted(names) == ["balanced", "balanced - dense, x8", "dense", "fast", "fast - dense, x8"]


def test_dense_is_the_hosts_own_run(answer, given):
    (latent,) = host_nodes.common_ksampler(
        given["model"], 5, 3, 1.0, "euler", "simple", given["positive"], given["positive"], given["latent_image"]
    )
    plain = given["vae"].decode(latent["samples"])
    assert torch.equal(answer.args[0], plain.float().clamp(0, 1))


def test_figures_are_the_labs(answer, given):
    from lab.quality.metrics import compare as lab_figures

    dense, compressed, _, text = answer.args
    mask = given["latent_image"]["noise_mask"].reshape(SIDE, SIDE) > 0.5
    for picture, line in zip(compressed, text.splitlines()[1:], strict=True):
        one, other = (p.movedim(-1, 0)[None] for p in (picture, dense[0]))
        lab = lab_figures(one, other, other, mask, full=False)
        numbers = {k: float(re.search(rf"{k} ([\d.]+)", line)[1]) for k in ("PSNR", "SSIM", "sharpness", "border")}
        assert numbers["PSNR"] == pytest.approx(lab["psnr_dense"], abs=6e-3)  # as printed
        assert likeness(picture, dense[0], mask).psnr == pytest.approx(lab["psnr_dense"], abs=1e-3)
        assert numbers["SSIM"] == pytest.approx(lab["ssim_dense"], abs=1e-3)
        assert numbers["sharpness"] == pytest.approx(lab["sharpness"], abs=1e-3)
        assert numbers["border"] == pytest.approx(lab["border"], abs=1e-3)


def test_without_a_vae_previews_are_compared(compare, given):
    dense, _, _, text = compare.execute(**{**given, "vae": None, "presets": "fast"}).args
    assert dense.shape == (1, SIDE // 8, SIDE // 8, 3) and "rough previews" in text


def test_advanced_gives_the_same(answer, given):
    node = load_pack("nodes.compare_guider").HiLoCompareAdvanced

    class Noise:
        seed = 5

        def generate_noise(self, latent):
            return comfy.sample.prepare_noise(latent["samples"], self.seed)

    guider = comfy.samplers.CFGGuider(given["model"])
    guider.set_conds(given["positive"], given["positive"])
    sigmas = comfy.samplers.calculate_sigmas(given["model"].get_model_object("model_sampling"), "simple", 3)
    sampler, more = comfy.samplers.sampler_object("euler"), (given["latent_image"], "fast, balanced", given["vae"])
    found = node.execute(Noise(), guider, sampler, sigmas, *more)
    assert torch.equal(found.args[0], answer.args[0]) and torch.equal(found.args[1], answer.args[1])
    assert guider.model_patcher is given["model"]


def test_one_bar_spans_all_runs(compare, given, monkeypatch):
    seen = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: seen.append((value, total)))
    compare.execute(**given)
    assert seen == sorted(seen) and seen[-1] == (9, 9) and {total for _, total in seen} == {9}


def test_interrupt_ends_it(compare, given, monkeypatch):
    def hook(value, *_, **__):
        if value == 4:  # within the second run
            comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        compare.execute(**given)
    monkeypatch.undo()
    assert compare.execute(**{**given, "presets": "fast"}).args  # and leaves nothing behind


def changed(given, what):
    """The same with one wrong input."""
    latent = given["latent_image"]
    return {
        "no mask": {"latent_image": {"samples": latent["samples"]}, "positive": demo.empty_conditioning()},
        "empty mask": {"latent_image": {**latent, "noise_mask": torch.zeros(1, 1, 64, 64)}},
        "another size": {"latent_image": {**latent, "noise_mask": torch.ones(1, 1, SIDE, 2 * SIDE)}},
        "no negative": {"cfg": 3.0},
        "unknown preset": {"presets": "fast, best"},
        "no preset": {"presets": " , "},
        "off": {"presets": "off"},
        "no model": {"model": None},
        "no plan": {"plan": "plan"},
        "no latent": {"latent_image": {}},
        "nothing to do": {"denoise": 0.0},
    }[what]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no mask", "has no noise mask. Put Set Latent Noise Mask"),
        ("empty mask", "Nothing is painted yet"),
        ("another size", "The mask is 768x384 px, of other proportions"),
        ("no negative", "cfg is 3, which needs a negative prompt"),
        ("unknown preset", "'best' is no preset to compare. Write some of: "),
        ("no preset", "No preset is named"),
        ("off", "'off' is no preset to compare"),
        ("no model", "Connect a node with a MODEL output"),
        ("no plan", "not one of HiLo Token Select's"),
        ("no latent", "not samples"),
        ("nothing to do", "denoise is 0"),
    ],
)
def test_wrong_input_is_one_sentence_before_any_run(compare, given, what, words, monkeypatch):
    monkeypatch.setattr(comfy.sample, "sample", lambda *_, **__: pytest.fail("it sampled"))
    with pytest.raises(HiLoError, match=re.escape(words)):
        compare.execute(**{**given, **changed(given, what)})


def test_a_run_that_would_be_dense_is_said_and_not_run(compare, monkeypatch):
    """The whole picture painted: one dense run, and why."""
    model, edit = patcher(flux()), case(SMALL[0], 16, 16, edit=(0, 16, 0, 16))
    runs, sample = [], comfy.sample.sample
    monkeypatch.setattr(comfy.sample, "sample", lambda *a, **k: runs.append(1) or sample(*a, **k))
    latent = {"samples": edit.latent, "noise_mask": edit.mask}
    found = compare.execute(model, 0, 2, 1.0, "euler", "simple", edit.positive, latent, presets="fast, quality")
    dense, compressed, difference, text = found.args
    assert text.startswith("Every preset runs at normal speed here: ") and "nothing to save" in text
    assert torch.equal(compressed, dense.expand_as(compressed)) and not difference.any()
    assert len(runs) == 3  # the two presets end before their first step


def test_only_a_plan_says_where(compare, given):
    """An edit model's empty latent: the plan decides, each preset keeps what it keeps, and the outside stays."""
    select = load_pack("nodes.token_select").HiLoTokenSelect
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 144:224, 160:256] = 1
    plan = select.execute(torch.rand(1, SIDE, SIDE, 3), mask, "quality").args[0]
    latent = {"samples": given["latent_image"]["samples"]}
    text = compare.execute(**{**given, "latent_image": latent, "plan": plan, "presets": "fast, quality"}).args[3]
    kept = [int(re.search(r"(\d+) of 576 tokens", line)[1]) for line in text.splitlines()[1:]]
    assert kept[0] < kept[1] and all("outside the edit 0" in line for line in text.splitlines()[1:]), text
