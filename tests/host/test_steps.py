"""What all model calls of a step have in common, what follows the source, and what a plan protects."""

from __future__ import annotations

import copy

import comfy.samplers
import pytest
import torch
from comfy_extras import nodes_slg
from hilo_token.comfy_bridge.call import Call
from hilo_token.comfy_bridge.families import find_family
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.reasons import DenseRun
from hilo_token.comfy_bridge.refuse import refuse
from hilo_token.hilo_core.grid import TokenGrid
from hilo_token.hilo_core.presets import preset
from node_helpers import conditioning_set_values

from .cases import case, patcher
from .conftest import ALL, BALANCED, FLUX, SIZE
from .models import flux
from .test_run import request_for

EMBEDDER = "diffusion_model.pe_embedder"


@pytest.fixture
def network():
    return patcher(flux())


def strips(model, edit, **sampling):
    """The strips of each step's model calls: [[(B, C, H, W)]]; a call without conds of its own is one."""
    base, steps = model.model, {}
    plain = base._apply_model

    def note(x, t, *args, **kwargs):
        if x.shape[-2] == 2:
            steps.setdefault(float(t.max()), []).append(x[:1].clone())
        return plain(x, t, *args, **kwargs)

    base._apply_model = note
    try:
        edit.sample(patch_model(model, Patch(BALANCED)), **sampling)
    finally:
        del base._apply_model
    return list(steps.values())


def test_all_calls_of_a_step_see_the_same_tokens(network):
    """Skip layer guidance calls the model once more, conds of other lengths cannot be batched, a prompt changes."""
    slg = nodes_slg.SkipLayerGuidanceDiT.execute(network, 3.0, 0.0, 1.0, "0", "1", 0.0).args[0]
    guided, changing = case(FLUX, *SIZE), case(FLUX, *SIZE)
    guided.negative = [[torch.randn(1, 12, 48), guided.negative[0][1]]]
    late = [[torch.randn(1, 9, 48), changing.positive[0][1]]]
    changing.positive = [
        *conditioning_set_values(changing.positive, {"start_percent": 0.0, "end_percent": 0.3}),
        *conditioning_set_values(late, {"start_percent": 0.3, "end_percent": 1.0}),
    ]
    for model, edit, cfg, calls in (
        (slg, case(FLUX, *SIZE), 1.0, 2),
        (slg, guided, 2.0, 3),
        (network, changing, 2.0, 2),
    ):
        steps = strips(model, edit, steps=8, cfg=cfg)
        assert len(steps) == 8 and max(len(step) for step in steps) >= calls
        assert all(torch.equal(x, step[0]) for step in steps for x in step)


@pytest.mark.parametrize("width", [40, 38])
def test_only_the_source_follows_the_plan(network, width):
    """A second reference, of the target's size or another, keeps its content."""
    edit, shapes = case(FLUX, 32, 40), []
    for cond in (*edit.positive, *edit.negative):
        cond[1]["reference_latents"] = [torch.randn(1, 16, 32, width), edit.latent]
    plain = network.model._apply_model

    def note(x, t, *args, ref_latents=None, **kwargs):
        shapes.append((x.shape[-2], [tuple(z.shape[-2:]) for z in ref_latents or ()]))
        return plain(x, t, *args, ref_latents=ref_latents, **kwargs)

    network.model._apply_model = note
    edit.sample(patch_model(network, Patch(BALANCED)), steps=1)
    (other, source) = next(refs for height, refs in shapes if height == 2)
    assert other == (32, width) and source[0] == 2 < source[1] < 32 * 40 / 2


class Halved(torch.nn.Module):
    """Another node's embedder."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, ids):
        return self.inner(ids * 0.5)


def halved(model, inner):
    clone = model.clone()
    clone.add_object_patch(EMBEDDER, Halved(inner))
    return clone


def test_off_leaves_the_embedder_of_another_node(network):
    edit, own = case(FLUX, *SIZE), network.model.diffusion_model.pe_embedder
    other = halved(network, own)
    dense = edit.sample(other)
    for patched in (other, patch_model(other, Patch(BALANCED))):
        assert torch.equal(edit.sample(patch_model(patched, Patch(preset("off")))), dense)
    assert torch.equal(edit.sample(patch_model(other, Patch(ALL, longest=1.0))), dense)


def test_an_embedder_put_over_the_pack_is_dense(network, run_log):
    edit, own = case(FLUX, *SIZE), network.model.diffusion_model.pe_embedder
    out = edit.sample(halved(patch_model(network, Patch(BALANCED)), own))
    assert "another node's embedder is in its place" in run_log()[-1]
    assert torch.equal(out, edit.sample(halved(network, own)))


@pytest.mark.parametrize("kind", ["compressed", "too many tokens", "off"])
def test_a_plan_protects_in_every_run(network, kind):
    edit = case(FLUX, 32, 40)
    source, edit.latent, edit.mask = edit.latent, torch.zeros_like(edit.latent), None
    for cond in (*edit.positive, *edit.negative):
        cond[1]["reference_latents"] = [source]
    plan = request_for(32, 40)
    inside = plan.edit.repeat_interleave(2, 0).repeat_interleave(2, 1)
    patch = {
        "compressed": Patch(BALANCED, plan),
        "too many tokens": Patch(BALANCED, plan, longest=0.01),
        "off": Patch(preset("off"), plan),
    }[kind]
    out = edit.sample(patch_model(network, patch), steps=2)
    assert torch.equal(out[..., ~inside], source[..., ~inside]) and not torch.equal(out, source)


def test_options_may_be_copied_within_a_run(network):
    """By a post-CFG function that calls the model with a deep copy of its options."""

    def again(args):
        options = copy.deepcopy(args["model_options"])
        (one,) = comfy.samplers.calc_cond_batch(args["model"], [args["cond"]], args["input"], args["sigma"], options)
        return args["denoised"] + (args["cond_denoised"] - one) + 0.5 * one

    clone, edit = network.clone(), case(FLUX, *SIZE)
    clone.set_model_sampler_post_cfg_function(again)
    dense = edit.sample(clone, steps=2)
    assert torch.equal(edit.sample(patch_model(clone, Patch(ALL, longest=1.0)), steps=2), dense)


def test_a_near_black_mask_is_no_edit(network):
    """3/255, as JPEG leaves it."""
    edit, reports = case(FLUX, 32, 40), []
    edit.mask = edit.mask.clamp_min(3 / 255)
    edit.sample(patch_model(network, Patch(BALANCED, on_report=reports.append)), steps=1)
    assert reports[0].compressed_steps == 1 and reports[0].counts["edit"] < 60


@pytest.mark.parametrize("size", [(24, 32), (16, 20)])
def test_pictures_of_an_unknown_kind_are_refused(network, size):
    """Wan's context latents for example, of the target's size or another; text of many layers is no picture."""
    family, grid = find_family(network.model.diffusion_model), TokenGrid(*SIZE, 2)
    layers = {"encoder_hidden_states_llama3": torch.zeros(1, 2, 9, 40), "y": torch.zeros(1, 32)}
    call = Call(torch.zeros(1, 16, *SIZE), torch.ones(1), None, torch.zeros(1, 7, 48), None, {}, layers)
    refuse(call, network.model.diffusion_model, family, grid, 1)
    pictures = {"context_latents": [torch.zeros(1, 16, *size)]}
    with pytest.raises(DenseRun, match="'context_latents' input works on the full token grid"):
        refuse(call._replace(kwargs=pictures), network.model.diffusion_model, family, grid, 1)
