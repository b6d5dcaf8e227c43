"""The preset `auto`: what is kept of comparisons, of which model, and what a run, a plan and a map make of it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import comfy.sample
import folder_paths
import pytest
import torch
from hilo_token.comfy_bridge import auto, known
from hilo_token.comfy_bridge.known import Comparisons, comparisons, identity
from hilo_token.hilo_core.auto import Setting, Trial
from PIL import Image

from tools.pack import load_pack

from .cases import case, patcher
from .models import SMALL, flux, qwen

EDIT = (4, 14, 6, 20)  # 35 of 192 tokens


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty user folder."""
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    return tmp_path


@pytest.fixture
def nodes():
    return SimpleNamespace(
        patch=load_pack("nodes.model_patch").HiLoModelPatch, select=load_pack("nodes.token_select").HiLoTokenSelect
    )


def trials(preset, fault="", **setting):
    where = {"share": 35 / 192, "total": 192, "steps": 4, "sampler": "sample_euler"} | setting
    return [Trial(preset, f"picture {n}", Setting(**where), 41.0, fault, 2.0) for n in range(3)]


def run(nodes, model, run_log, steps=4, **widgets):
    """The latent of an edit with `auto`, and the last line of the log."""
    patched = nodes.patch.execute(model, "auto", **widgets).args[0]
    return case(SMALL[0], 24, 32, edit=EDIT).sample(patched, steps=steps), run_log()[-1]


def test_unknown_model_takes_balanced(folder, nodes, run_log):
    model = patcher(flux())
    out, line = run(nodes, model, run_log)
    balanced = nodes.patch.execute(model, "balanced").args[0]
    assert torch.equal(out, case(SMALL[0], 24, 32, edit=EDIT).sample(balanced))
    assert "auto took balanced: this model has not been compared" in line


def test_what_was_compared_decides(folder, nodes, run_log):
    model = patcher(flux())
    comparisons.remember(identity(model), trials("fast"))
    out, line = run(nodes, model, run_log)
    assert "auto took fast: close to dense in 3 of 3" in line
    assert torch.equal(out, case(SMALL[0], 24, 32, edit=EDIT).sample(nodes.patch.execute(model, "fast").args[0]))
    _, other = run(nodes, model, run_log, steps=1)
    assert "auto took balanced: compared on 0 of the 3" in other, "three comparisons of four steps say nothing of one"


def test_dense_where_every_preset_has_failed(folder, nodes, run_log):
    model = patcher(flux())
    for name in ("fast", "balanced", "quality"):
        comparisons.remember(identity(model), trials(name, "softens the edit"))
    out, line = run(nodes, model, run_log)
    assert "dense run: auto stays with dense: fast softens the edit in 3 of 3" in line
    assert torch.equal(out, case(SMALL[0], 24, 32, edit=EDIT).sample(model))


def test_dense_where_a_strip_was_measured_as_no_faster(folder, nodes, run_log, monkeypatch):
    model = patcher(flux())
    monkeypatch.setattr(auto, "gain_of", lambda *_: 0.9)
    _, line = run(nodes, model, run_log)
    assert "dense run: auto stays with dense: a step of" in line and "0.90 times as fast" in line
    case(SMALL[0], 24, 32, edit=EDIT).sample(nodes.patch.execute(model, "balanced").args[0])
    assert "compressed steps" in run_log()[-1], "whoever names a preset gets it"


def test_a_run_that_was_timed_both_ways_is_remembered(folder, nodes, run_log):
    model = patcher(flux())
    case(SMALL[0], 24, 32, edit=EDIT).sample(nodes.patch.execute(model, "off").args[0], steps=3)
    run(nodes, model, run_log)
    (found,) = known._gains[model.model].items()
    assert found[0][1] == 192 and found[1] == known.gain_of(model.model, *found[0]) > 0


def test_other_settings_of_the_node_stay(folder, nodes, run_log):
    _, line = run(nodes, patcher(flux()), run_log, dense_steps="first")
    assert "1 dense + 3 compressed steps" in line


def test_a_plan_chooses_when_it_is_made(folder, nodes, run_log):
    """Its map shows what the run then takes, and a node that was run is run again once more is known."""
    model, image, mask = patcher(flux()), torch.rand(1, 192, 256, 3), torch.zeros(1, 192, 256)
    mask[:, 32:112, 48:160] = 1
    before = nodes.select.fingerprint_inputs(preset="auto")
    comparisons.remember(identity(model), trials("fast", steps=4))
    assert nodes.select.fingerprint_inputs(preset="auto") != before
    assert nodes.select.fingerprint_inputs(preset="fast") == nodes.select.fingerprint_inputs(preset="balanced")
    plan, _, text = nodes.select.execute(image, mask, "auto", model=model).args
    fast = nodes.select.execute(image, mask, "fast", model=model).args[0]
    assert plan.settings == fast.settings and plan.preset == fast.preset and "auto took fast" in text
    _, line = run(nodes, model, run_log, plan=plan)
    assert "auto took fast" in line
    assert "auto took balanced" in nodes.select.execute(image, mask, "auto").args[2], "no model is wired"
    for name in ("fast", "balanced", "quality"):
        comparisons.remember(identity(model), trials(name, "adds grain in the edit"))
    _, line = run(nodes, model, run_log, plan=nodes.select.execute(image, mask, "auto", model=model).args[0])
    assert "dense run: auto stays with dense" in line


def test_compare_takes_from_such_a_plan_only_where_the_edit_is(folder, nodes):
    model, edit, mask = patcher(flux()), case(SMALL[0], 24, 32, edit=EDIT), torch.zeros(1, 192, 256)
    mask[:, 32:112, 48:160] = 1
    for name in ("fast", "balanced", "quality"):
        comparisons.remember(identity(model), trials(name, "softens the edit"))
    plan = nodes.select.execute(torch.rand(1, 192, 256, 3), mask, "auto", model=model).args[0]
    compare, latent = load_pack("nodes.compare").HiLoCompare, {"samples": edit.latent}
    given = (model, 0, 2, 1.0, "euler", "simple", edit.positive, latent)
    assert "of 192 tokens" in compare.execute(*given, presets="fast", plan=plan).args[3]


def test_the_live_map_shows_what_would_be_taken(folder, nodes, monkeypatch):
    select, route = load_pack("nodes.token_select").HiLoTokenSelect, load_pack("nodes.preview.route")
    schema = select.define_schema()
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda *_: str(folder))
    picture, hole = Image.effect_noise((256, 192), 60).convert("RGBA"), Image.new("L", (256, 192), 255)
    hole.paste(0, (48, 32, 160, 112))
    picture.putalpha(hole)
    picture.save(folder / "a.png")
    image, mask = ({"node": "LoadImage", "slot": slot, "inputs": {"image": "a.png"}} for slot in (0, 1))
    asked = {"image": image, "mask": mask, "values": {"preset": "auto"}}
    assert "auto took balanced" in route.preview(asked, schema)["notes"][0]
    model = patcher(flux())
    comparisons.remember(identity(model), trials("fast"))
    key = select.execute(torch.rand(1, 192, 256, 3), torch.ones(1, 192, 256), "fast", model=model).ui["hilo_key"][0]
    ran = route.preview({**asked, "run": key}, schema)
    fast = route.preview({**asked, "run": key, "values": {"preset": "fast"}}, schema)
    assert "auto took fast" in ran["notes"][0] and ran["kinds"] == fast["kinds"]
    for name in ("fast", "balanced", "quality"):
        comparisons.remember(identity(model), trials(name, "softens the edit"))
    with pytest.raises(load_pack("nodes.preview.sources").Hint) as hint:
        route.preview({**asked, "run": key}, schema)
    assert hint.value.code == "dense" and "auto stays with dense" in hint.value.facts["reason"]


def test_identity_is_the_weights():
    torch.manual_seed(1)
    model = patcher(flux())
    same, name = model.clone(), next(k for k, v in model.model.named_parameters() if v.ndim == 2 and "img" in k)
    first = identity(model)
    assert identity(same) == first and identity(patcher(qwen())) != first
    same.add_patches({name: ("diff", (torch.ones_like(model.model.get_parameter(name)),))}, 0.5)
    with_lora = identity(same)
    case(SMALL[0], 24, 32).sample(same, steps=1)  # loaded, with the patch in its weights
    assert identity(same) == with_lora != first == identity(model)
    weaker = model.clone()
    weaker.add_patches({name: ("diff", (torch.ones_like(model.model.get_parameter(name)),))}, 0.25)
    assert identity(weaker) != with_lora
    state = model.model.diffusion_model.state_dict()
    before = {key: value.clone() for key, value in state.items()}
    for value in state.values():
        if value.ndim == 1 and value.is_floating_point():
            value.add_(0.01)
    assert identity(model) != first
    model.model.diffusion_model.load_state_dict(before)
    assert identity(model) == first


def test_what_is_kept_is_small_and_survives(folder, monkeypatch):
    monkeypatch.setattr(known, "MOST_TRIALS", 4)
    monkeypatch.setattr(known, "MOST_MODELS", 2)
    store = Comparisons()
    for number in range(3):
        store.remember(f"model {number}", trials("fast"))
        store.remember(f"model {number}", trials("balanced"))
        store.remember(f"model {number}", trials("balanced", "softens the edit"))
    found = Comparisons()._read()
    assert list(found) == ["model 1", "model 2"] and [len(one) for one in found.values()] == [4, 4]
    assert found["model 2"][-3:] == trials("balanced", "softens the edit"), "the last comparison of a picture counts"
    assert [path.name for path in folder.iterdir()] == [known.FILE]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"m": [{}]}', '{"m": 3}', "[" * 10**5, "\udcff"])
def test_a_broken_file_counts_as_empty_and_is_told_once(folder, run_log, text):
    (folder / known.FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    store = Comparisons()
    for _ in range(3):
        assert store.decide("m", Setting(0.1, 192)).preset == "balanced"
    assert len(run_log()) == 1 and "cannot be read" in run_log()[0]
    store.remember("m", trials("fast"))
    assert Comparisons().decide("m", trials("fast")[0].setting).preset == "fast"


def test_too_large_a_file_is_not_read(folder, run_log, monkeypatch):
    monkeypatch.setattr(known, "MOST_BYTES", 10)
    (folder / known.FILE).write_text('{"m": []}     ', encoding="utf-8")
    assert Comparisons().decide("m", Setting(0.1, 192)).preset == "balanced" and len(run_log()) == 1


def test_a_folder_that_cannot_be_written_ends_nothing(folder, run_log, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(folder / "none"))
    Comparisons().remember("m", trials("fast"))
    assert "could not be kept" in run_log()[0]


def test_a_write_that_is_cut_off_leaves_the_old_file(folder, monkeypatch):
    Comparisons().remember("m", trials("fast"))
    before = (folder / known.FILE).read_bytes()
    monkeypatch.setattr(known.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("cut off")))
    Comparisons().remember("m", trials("balanced"))
    assert (folder / known.FILE).read_bytes() == before


def test_compare_tells_auto(folder, run_log):
    """What the node found is found again by a run of the same model, with figures only."""
    from hilo_token.demo import model as demo

    import nodes as host_nodes

    compare = load_pack("nodes.compare").HiLoCompare
    vae, cond, model = demo.load_vae(), demo.empty_conditioning(), demo.load()
    mask, generator = torch.zeros(1, 256, 256), torch.Generator().manual_seed(0)
    mask[:, 96:160, 96:160] = 1

    def given(picture):
        encode = host_nodes.InpaintModelConditioning().encode
        positive, _, latent = encode(cond, cond, picture, vae, mask, noise_mask=True)
        return {"positive": positive, "latent_image": latent}

    pictures = [given(torch.rand(1, 256, 256, 3, generator=generator)) for _ in range(3)]
    for one in (*pictures, pictures[0]):
        compare.execute(model, 1, 2, 1.0, "euler", "simple", vae=vae, presets="fast", **one)
    compare.execute(model, 1, 2, 1.0, "euler", "simple", vae=None, presets="balanced", **pictures[0])  # rough previews
    (found,) = json.loads((folder / known.FILE).read_text(encoding="utf-8")).values()
    assert [one["preset"] for one in found] == ["fast"] * 3 and len({one["picture"] for one in found}) == 3
    assert all(one["setting"]["total"] == 256 and one["setting"]["sampler"] == "sample_euler" for one in found)
    again = load_pack("nodes.model_patch").HiLoModelPatch.execute(demo.load(), "auto").args[0]
    positive, latent = pictures[0]["positive"], pictures[0]["latent_image"]
    comfy.sample.sample(
        again, torch.randn_like(latent["samples"]), 2, 1.0, "euler", "simple", positive, positive, latent["samples"],
        noise_mask=latent["noise_mask"], disable_pbar=True,
    )  # fmt: skip
    assert "auto took" in run_log()[-1] and "has not been compared" not in run_log()[-1]
