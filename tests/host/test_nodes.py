"""The nodes, called as the host calls them: good input, and bad input with its message."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

from tools import host
from tools.pack import load_pack

from .cases import case, patcher
from .models import SMALL, flux


@pytest.fixture(scope="module")
def nodes():
    load_pack()

    class Nodes:
        dilate = load_pack("nodes.mask_dilate").HiLoMaskDilate
        select = load_pack("nodes.token_select").HiLoTokenSelect
        patch = load_pack("nodes.model_patch").HiLoModelPatch

    return Nodes


@pytest.fixture
def edit():
    torch.manual_seed(0)
    mask = torch.zeros(1, 256, 320)
    mask[:, 60:120, 80:180] = 1
    return torch.rand(1, 256, 320, 3), mask


def test_dilate(nodes, edit):
    clean, dilated = nodes.dilate.execute(edit[1], 32, "pixels").args
    assert torch.equal(clean, edit[1])
    assert bool((dilated >= clean).all()) and dilated.sum() > clean.sum()
    assert dilated.shape == clean.shape and set(dilated.unique().tolist()) == {0.0, 1.0}


def test_select(nodes, edit):
    plan, picture, text = nodes.select.execute(*edit, "balanced", 0.0).args
    assert picture.shape == (1, 256, 320, 3)
    assert f"{plan.plan.count} of 320 tokens" in text and "edit: " in text and "predicted speed-up" in text
    faster, _, _ = nodes.select.execute(*edit, "balanced", 2.5).args
    assert faster.plan.count < plan.plan.count


def test_speedup_that_cannot_be_met_is_said(nodes, edit):
    _, _, text = nodes.select.execute(*edit, "balanced", 19.0).args
    most = float(text.split("19x is out of reach with this mask; the most is ")[1].split("x")[0])
    assert f"predicted speed-up of a step: {most:.1f}" in text and 1 < most < 19
    _, _, text = nodes.select.execute(*edit, "balanced", 0.0, budget=1).args
    assert "more than the budget of 1" in text


def test_plan_drives_the_patch(nodes, edit):
    small, model = SMALL[0], patcher(flux())
    plan, _, _ = nodes.select.execute(*edit, "balanced", 0.0).args
    work = case(small, 32, 40)
    patched = nodes.patch.execute(model, "balanced", plan=plan, dense_steps="first").args[0]
    assert torch.isfinite(work.sample(patched)).all()


def settings_of(nodes, edit, **widgets):
    """The plan's settings with these widgets, and without."""
    return [nodes.select.execute(*edit, "balanced", **given).args[0].settings for given in (widgets, {})]


def test_each_widget_has_an_effect_and_nothing_leaves_the_preset(nodes, edit):
    """0 and "as preset" are the preset's own; any other value changes the plan."""
    preset = load_pack("hilo_core.presets").preset("balanced").tokens
    for widgets in ({"margin": 48}, {"detail": 12.5}, {"context": "averages, 4x4"}, {"budget": 200}, {"speedup": 2.0}):
        changed, plain = settings_of(nodes, edit, **widgets)
        assert plain == preset != changed, widgets
    assert settings_of(nodes, edit, margin=48)[0].dilation == 3.0, "in tokens of 16 px"
    contexts = next(one for one in nodes.select.define_schema().inputs if one.id == "context").options[1:]
    found = [settings_of(nodes, edit, context=name)[0] for name in contexts]
    assert len({(one.levels, one.native) for one in found}) == len(contexts) and found[-1].levels == ()


def test_the_plan_brings_its_preset(nodes, edit):
    """Who decides with a plan wired: the plan, for the tokens, the schedule and the bias; but off is off."""
    presets, model = load_pack("hilo_core.presets"), patcher(flux())
    plan = nodes.select.execute(*edit, "paper").args[0]
    seen = []
    patch = load_pack("nodes.model_patch")
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(patch, "patch_model", lambda model, asked: seen.append(asked) or model)
        nodes.patch.execute(model, "quality", plan=plan)
        nodes.patch.execute(model, "off", plan=plan)
        nodes.patch.execute(model, "quality", plan=plan, mass_bias="0.5", dense_steps="first")
        nodes.patch.execute(model, "quality", speedup=3.0)
    paper, off, changed, alone = seen
    assert paper.preset == presets.preset("paper") and paper.request is plan
    assert off.preset.off and off.request is plan
    assert changed.preset.mass_bias == 0.5 and changed.preset.schedule.dense(3) == [True, False, False]
    assert alone.preset == presets.preset("quality") and alone.speedup == 3.0


def test_references_setting(nodes):
    small, model = SMALL[0], patcher(flux())
    work = case(small, 32, 40)
    for cond in (*work.positive, *work.negative):
        cond[1]["reference_latents"] = [work.latent, torch.randn(1, 16, 23, 31)]
    whole, coarse = (
        work.sample(nodes.patch.execute(model, "balanced", references=name).args[0]) for name in ("whole", "coarse 4x4")
    )
    assert torch.isfinite(coarse).all() and not torch.equal(whole, coarse)


def test_inputs_are_not_changed(nodes, edit):
    image, mask = edit
    before = image.clone(), mask.clone()
    nodes.dilate.execute(mask, 200, "percent")
    nodes.select.execute(image, mask, "quality", 0.0)
    assert torch.equal(image, before[0]) and torch.equal(mask, before[1])


def test_image_with_alpha_grey_or_one_channel(nodes, edit):
    image, mask = edit
    for shaped in (torch.cat([image, image[..., :1]], -1), image[..., :1], image.expand(3, -1, -1, -1)):
        assert nodes.select.execute(shaped, mask, "balanced", 0.0).args[1].shape == (1, 256, 320, 3)


@pytest.mark.parametrize(
    ("image", "mask", "words"),
    [
        (torch.rand(1, 64, 64, 3), torch.zeros(1, 64, 64), "Nothing is painted yet"),
        (torch.rand(1, 64, 64, 3), torch.ones(1, 64, 60), "Resize the mask"),
        (torch.rand(2, 64, 64, 3), torch.ones(3, 64, 64), "3 masks for 2 images"),
        (torch.rand(1, 64, 64, 3), torch.full((1, 64, 64), float("nan")), "NaN"),
        (torch.full((1, 64, 64, 3), float("nan")), torch.ones(1, 64, 64), "NaN"),
        (torch.rand(1, 64, 64, 2), torch.ones(1, 64, 64), "expected"),
        (torch.rand(1, 0, 64, 3), torch.ones(1, 0, 64), "expected"),
    ],
)
def test_bad_input(nodes, image, mask, words):
    with pytest.raises(ValueError, match=words):
        nodes.select.execute(image, mask, "balanced", 0.0)


def test_full_mask_keeps_all(nodes):
    plan, _, text = nodes.select.execute(torch.rand(1, 64, 64, 3), torch.ones(1, 64, 64), "balanced", 0.0).args
    assert plan.plan.complete and "16 of 16 tokens (100.0 %)" in text


def test_empty_mask_is_refused(nodes):
    with pytest.raises(ValueError, match="paint what is to change"):
        nodes.dilate.execute(torch.zeros(1, 64, 64), 32, "pixels")
    with pytest.raises(ValueError, match="lower 'black'"):
        nodes.dilate.execute(torch.full((1, 64, 64), 0.2), 32, "pixels", black=0.3)


def test_unsupported_model_is_refused(nodes):
    model = patcher(flux())
    model.model.diffusion_model = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"does not know this model.*report"):
        nodes.patch.execute(model, "balanced")


def test_found_by_what_it_does(nodes):
    """The host's search looks at aliases; a host that has none is not given the word."""
    schema = nodes.patch.define_schema()
    if "search_aliases" in type(schema).__dataclass_fields__:
        assert {"inpaint", "faster", "generative fill"} <= set(schema.search_aliases)
        assert nodes.patch.GET_NODE_INFO_V1()["search_aliases"] == schema.search_aliases


def test_every_input_has_a_tooltip(nodes):
    for node in (nodes.dilate, nodes.select, nodes.patch, load_pack("nodes.demo_model").HiLoDemoModel):
        schema = node.define_schema()
        for item in (*schema.inputs, *schema.outputs):
            assert item.tooltip and len(item.tooltip) > 15, f"{schema.node_id}.{item.id}"


@pytest.mark.parametrize(
    ("module", "version", "told"),
    [
        ("comfyui_version", "0.3.40", "needs ComfyUI 0.3.75 or newer; this is 0.3.40"),
        ("torch", "2.3.1+cu121", "needs PyTorch 2.4 or newer; this is 2.3.1+cu121"),
        ("torch", "2.4.0a0+git123", ""),
        ("torch", "2.11.0+cu130", ""),
        ("comfyui_version", "0.33.0", ""),
        ("comfyui_version", "1.0", ""),
    ],
)
def test_old_versions_are_told_and_the_host_starts(monkeypatch, caplog, module, version, told):
    """Nothing is installed over a user's torch: `requirements.txt` has no bounds, this speaks instead."""
    monkeypatch.setattr(importlib.import_module(module), "__version__", version)
    spec = importlib.util.spec_from_file_location(
        "hilo_old", host.ROOT / "__init__.py", submodule_search_locations=[str(host.ROOT)]
    )
    pack = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hilo_old", pack)
    spec.loader.exec_module(pack)
    assert hasattr(pack, "comfy_entrypoint") != bool(told)
    assert told in caplog.text and bool(caplog.text) == bool(told)
