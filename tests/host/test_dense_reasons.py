"""With everything else in the graph: what runs dense, exactly as without this patch, and says why; what is refused."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from comfy.ldm.modules import attention
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfy_extras.nodes_model_patch import DiffSynthCnetPatch
from hilo_token.comfy_bridge.features import DENSE, FEATURES, REFUSED, WORKS, table
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.positions import Positions
from hilo_token.hilo_core.errors import HiLoError
from hilo_token.hilo_core.grid import TokenGrid

import nodes as host_nodes

from .cases import case, patcher
from .conftest import BALANCED, FLUX, SIZE
from .models import SMALL
from .test_run import request_for
from .test_weights import QWEN, Residuals

PREDICT2 = next(s for s in SMALL if s.family == "Cosmos-Predict2")

WAN = next(s for s in SMALL if s.family == "Wan")


@pytest.fixture
def dense_with(run_log):
    """Checks that a run is bit for bit the dense one, and that its log line has the reason of a table row, once."""

    def check(model, edit, row, *values, **sampling):
        sampling.setdefault("steps", 2)
        dense = edit.sample(model, **sampling)
        before = len(run_log())
        assert torch.equal(edit.sample(patch_model(model, Patch(BALANCED)), **sampling), dense)
        lines = run_log()[before:]
        assert len(lines) == 1 and f"dense run: {FEATURES[row].text.format(*values)}" in lines[0], lines

    return check


def test_area_conditioning(model, dense_with):
    edit = case(FLUX, *SIZE)
    (area,) = host_nodes.ConditioningSetArea().append(edit.positive, 128, 128, 64, 32, 1.0)
    edit.positive = edit.positive + area
    dense_with(model, edit, "area")
    edit = case(FLUX, *SIZE)
    mask = torch.zeros(1, *SIZE)
    mask[:, 4:20, 4:20] = 1
    edit.positive += host_nodes.ConditioningSetMask().append(edit.positive, mask, "mask bounds", 1.0)[0]
    dense_with(model, edit, "area")


def test_tiled_model_calls(model, dense_with):
    """A wrapper of another node that calls the model on two halves."""

    def tiled(apply_model, args):
        halves = args["input"].chunk(2, dim=-1)
        return torch.cat([apply_model(half, args["timestep"], **args["c"]) for half in halves], dim=-1)

    clone = model.clone()
    clone.set_model_unet_function_wrapper(tiled)
    dense_with(clone, case(FLUX, *SIZE), "tiles")


@pytest.mark.parametrize(("dim", "cfg"), [(2, 1.0), (0, 2.0)])
def test_context_windows(model, dense_with, dim, cfg):
    """Windows over the height, and over a batch, where two conds of half the batch have the size of all of it."""
    wanted = inspect.signature(ContextWindowsManualNode.execute).parameters
    newer = {"freenoise": False} if "freenoise" in wanted else {}
    windows = ContextWindowsManualNode.execute(
        model,
        context_length=2 if dim == 0 else 16,
        context_overlap=0,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        dim=dim,
        **newer,
    ).args[0]
    edit = case(FLUX, *SIZE, batch=4 if dim == 0 else 1)
    dense_with(windows, edit, "tiles" if dim else "context_windows", cfg=cfg, steps=3)


def test_part_of_the_batch_with_a_plan_alone(model, run_log):
    """A wrapper of another node that calls the model picture by picture; no noise mask protects the outside."""

    def one_by_one(apply_model, args):
        calls = zip(args["input"].split(1), args["timestep"].split(1), strict=True)
        return torch.cat([apply_model(x, t, **{**args["c"], **_first(args["c"])}) for x, t in calls])

    def _first(conds):
        return {k: v[:1] for k, v in conds.items() if isinstance(v, torch.Tensor)}

    clone = model.clone()
    clone.set_model_unet_function_wrapper(one_by_one)
    edit = case(FLUX, 32, 40, batch=2)
    edit.mask = None
    plan = request_for(32, 40)
    out = edit.sample(patch_model(clone, Patch(BALANCED, plan)), steps=2)
    assert FEATURES["batch"].text in run_log()[-1] and torch.isfinite(out).all()
    outside = ~TokenGrid(32, 40, 2).pixels(plan.edit)
    assert torch.equal(out[..., outside], edit.latent[..., outside])


def test_a_trainer_hangs_its_forward_on_the_modules_and_takes_it_back(model):
    """As the host's Train LoRA does, by attributes of every module below the network's."""
    embedder = model.model.diffusion_model.pe_embedder
    positions, forward = Positions(embedder), embedder.forward
    embedder.org_forward, embedder.forward = forward, lambda ids: forward(ids)
    try:
        assert not hasattr(positions, "org_forward") and positions.axes_dim == embedder.axes_dim
        ids = torch.rand(1, 5, 3)
        assert torch.equal(positions(ids), forward(ids))
    finally:
        del embedder.org_forward, embedder.forward


def test_redux(model, dense_with):
    """Style model with a strength: an attention mask over text and image tokens."""
    edit = case(FLUX, *SIZE)
    mask = torch.zeros(1, 7 + 6, 7 + 6)
    mask[:, 7:, 3:7] = -2.0
    for cond in edit.positive:
        cond[1] |= {"attention_mask": mask, "attention_mask_img_shape": (2, 3)}
    dense_with(model, edit, "redux")


def test_full_grid_patch(model, dense_with):
    """The host's own DiffSynth patch with a stand-in for its network, and a patch kind that nobody knows."""

    class Network(torch.nn.Module):
        additional_in_dim = 0

        def process_input_latent_image(self, latent):
            return latent.flatten(2).transpose(1, 2).repeat(1, 1, 128 // latent.shape[1])

        def control_block(self, img, hint, index):
            return torch.tanh(img + hint)

    class Vae:
        def encode(self, image):
            return torch.nn.functional.avg_pool2d(image.movedim(-1, 1), 16).repeat(1, 6, 1, 1)[:, :16]

        def spacial_compression_encode(self):
            return 8

    qwen = patcher(QWEN.build())
    patch = DiffSynthCnetPatch(
        SimpleNamespace(model=Network()), Vae(), torch.rand(1, SIZE[0] * 8, SIZE[1] * 8, 3), 0.5
    )  # fmt: skip
    patch.models = list
    clone = qwen.clone()
    clone.set_model_double_block_patch(patch)
    edit = case(QWEN, *SIZE)
    assert not torch.equal(edit.sample(clone, steps=2), edit.sample(qwen, steps=2))
    dense_with(clone, edit, "grid_patch", "double_block")
    clone = model.clone()
    clone.set_model_patch(lambda *a: None, "of_the_future")
    dense_with(clone, case(FLUX, *SIZE), "grid_patch", "of_the_future")


def test_override_that_drops_the_mask(model, dense_with):
    """It changes what attention gives, so it cannot be left out; and it drops the mask, so the bias would be lost."""
    plain = attention.attention_pytorch.__wrapped__
    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = (
        lambda function, q, k, v, heads, mask=None, *args, **kw: plain(q, k, v * 0.5, heads, None, **kw)
    )
    dense_with(clone, case(FLUX, *SIZE), "override_no_mask")


def test_attention_that_no_override_reaches(model, dense_with, monkeypatch):
    """Another pack has put its own function into the model's module."""
    from comfy.ldm.flux import math

    monkeypatch.setattr(math, "optimized_attention", attention.attention_pytorch.__wrapped__)
    dense_with(model, case(FLUX, *SIZE), "foreign_attention")


def test_full_grid_input(dense_with):
    model, edit = patcher(WAN.build()), case(WAN, *SIZE)
    for cond in (*edit.positive, *edit.negative):
        cond[1]["reference_latents"] = [edit.latent]
    dense_with(model, edit, "grid_input", "reference_latent")


def test_unknown_wrapper(model, dense_with):
    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "stranger", lambda executor, *a, **kw: executor(*a, **kw))
    dense_with(clone, case(FLUX, *SIZE), "unknown_wrapper", "stranger")


def test_controlnet_of_another_grid(model, dense_with):
    edit = case(FLUX, *SIZE)
    for cond in edit.positive:
        cond[1] |= {"control": Residuals(20, 128), "control_apply_to_uncond": True}
    dense_with(model, edit, "control_grid")


def test_several_frames(dense_with):
    """Of a model whose clips are not compressed."""
    dense_with(patcher(PREDICT2.build()), case(PREDICT2, *SIZE, frames=3), "frames")


def test_unknown_model_is_refused(model):
    network = UNetModel.__new__(UNetModel)
    torch.nn.Module.__init__(network)
    unet = model.clone()
    unet.add_object_patch("diffusion_model", network)
    unet.model = SimpleNamespace(diffusion_model=network)
    with pytest.raises(HiLoError, match="UNetModel is a UNet, which has no tokens to drop"):
        patch_model(unet, Patch(BALANCED))


def test_others_are_listed_once(model, run_log):
    """The report names what else is on the model."""
    clone = model.clone()
    clone.set_model_sampler_post_cfg_function(lambda args: args["denoised"])
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "stranger", lambda executor, *a, **kw: executor(*a, **kw))
    edit = case(FLUX, *SIZE)
    edit.sample(patch_model(clone, Patch(BALANCED)), steps=2)
    assert run_log()[-1].endswith("also on the model: sampler_post_cfg_function, stranger")
    edit.sample(patch_model(model, Patch(BALANCED)), steps=2)
    assert "also on the model" not in run_log()[-1]


def test_every_row_of_the_table_has_its_test():
    tests = "\n".join(p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)", tests, re.MULTILINE))
    for key, row in FEATURES.items():
        assert row.test in there, f"{key}: no {row.test}"
        assert row.verdict in (WORKS, DENSE, REFUSED) and row.name
        assert row.text or row.verdict != DENSE
    assert len({name for name, *_ in table()}) == len(FEATURES)
