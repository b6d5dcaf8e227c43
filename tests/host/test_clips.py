"""Clips of several latent frames: the same method over one more axis, in each family named for it."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
import torch
from comfy.ldm.wan.model import WanModel
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from hilo_token.comfy_bridge.families import FAMILIES
from hilo_token.comfy_bridge.features import FEATURES
from hilo_token.comfy_bridge.memory import strip_shape
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.hilo_core.errors import HiLoError
from hilo_token.hilo_core.grid import TokenGrid
from hilo_token.hilo_core.plan import make_plan
from hilo_token.hilo_core.presets import preset
from hilo_token.hilo_core.schedule import Schedule

from lab.checks.families import TOLERANCE
from lab.tables import result
from tools.pack import load_pack

from .cases import case, patcher
from .models import CLIPS, wan22
from .reference import compare

BALANCED = replace(preset("balanced"), schedule=Schedule())
ALL = replace(BALANCED, tokens=replace(BALANCED.tokens, dilation=1000.0))
FRAMES = 5


@pytest.fixture(scope="module", params=CLIPS, ids=[s.build.__name__ for s in CLIPS])
def small(request):
    return request.param


@pytest.fixture(scope="module")
def model(small):
    return patcher(small.build())


def whole(small, **sizes):
    """A clip whose mask leaves nothing to drop, since a margin of all tokens grows by one frame only."""
    edit = case(small, frames=FRAMES, **sizes)
    edit.mask[:, :, 1::2, :2, :2] = 1
    return edit


@pytest.mark.parametrize(("batch", "cfg"), [(1, 1.0), (2, 3.0)])
def test_all_kept_is_dense(small, model, batch, cfg):
    edit = whole(small, batch=batch)
    dense = edit.sample(model, steps=2, cfg=cfg)
    assert torch.isfinite(dense).all()
    kept = edit.sample(patch_model(model, Patch(ALL, longest=1.0)), steps=2, cfg=cfg)
    assert (kept - dense).abs().max().item() == 0.0


@pytest.mark.parametrize(("batch", "cfg"), [(1, 1.0), (2, 3.0)])
def test_outside_is_the_source(small, model, run_log, batch, cfg):
    edit = case(small, batch=batch, frames=FRAMES)
    dense = edit.sample(model, steps=2, cfg=cfg)
    out = edit.sample(patch_model(model, Patch(BALANCED)), steps=2, cfg=cfg)
    outside = (edit.mask == 0).expand_as(out)
    assert torch.isfinite(out).all()
    assert torch.equal(out[outside], dense[outside])
    assert (out - dense)[~outside].abs().max().item() > 0.0
    assert "2 compressed steps" in run_log()[-1], run_log()


@pytest.mark.parametrize(
    "setting",
    [
        {"preset": "balanced"},
        {"preset": "quality", "batch": 2, "cfg": 3.0, "text": (7, 23), "odd": True},
        {"preset": "fast", "bias": 0.75, "text": (23, 23), "size": (12, 16)},
    ],
    ids=lambda setting: setting["preset"],
)
def test_strip_is_the_dense_step_with_fewer_keys(small, setting):
    """With a mask that appears, moves and vanishes."""
    result = compare(small, frames=FRAMES, **setting)
    assert not result.faults(), f"{'; '.join(result.faults())} ({result})"


@pytest.mark.parametrize("small", [s for s in CLIPS if s.build is not wan22], ids=lambda small: small.build.__name__)
def test_averages_stand_at_the_centre_of_their_cell(small):
    """In time too. Frames are even, since `averages` knows whole cells only; and the size is one at which no cell has
    one known token alone, whose average nobody can tell from it."""
    result = compare(small, preset="paper", size=(8, 24), frames=4)
    assert not result.faults(), f"{'; '.join(result.faults())} ({result})"
    assert result.kept[0] < 0.7 * result.totals[0]


@pytest.fixture(scope="module")
def select():
    load_pack()
    return load_pack("nodes.token_select").HiLoTokenSelect


def pictures(frames=9):
    """A clip of 128 x 160 px, and a mask for each of its frames, with a box that is there from the third on."""
    torch.manual_seed(8)
    masks = torch.zeros(frames, 128, 160)
    for frame in range(2, frames):
        masks[frame, 40:70, 8 * frame : 8 * frame + 30] = 1
    return torch.rand(frames, 128, 160, 3), masks


def test_a_plan_from_pixels_drives_a_clip(select, run_log):
    small = CLIPS[0]
    model, (clip, masks) = patcher(small.build()), pictures()
    plan, drawn, text = select.execute(clip, masks, "balanced", model=model).args
    assert plan.edit.shape == (3, 8, 10) and drawn.shape == (3, 128, 160, 3) and "of 240 tokens" in text
    assert not plan.edit[0].any() and plan.edit[1].any(0).nonzero()[0] == 1 and plan.edit[2].any(0).nonzero()[0] == 2
    edit = case(small, 16, 20, frames=3)
    outside = ~TokenGrid(16, 20, 2, 3).pixels(plan.edit)
    edit.mask = None
    out = edit.sample(patch_model(model, Patch(BALANCED, plan)), steps=2)
    assert "2 compressed steps" in run_log()[-1]
    assert torch.equal(out[..., outside], edit.latent[..., outside])


def test_masks_of_a_clip(select):
    model, (clip, masks) = patcher(CLIPS[0].build()), pictures()
    one = select.execute(clip, masks[4:5], "balanced", model=model).args[0]
    assert torch.equal(one.edit, one.edit[:1].expand(3, -1, -1)), "one mask holds for all frames"
    with pytest.raises(HiLoError, match="There are 8 masks for 9 images"):
        select.execute(clip, masks[:8], "balanced", model=model)
    with pytest.raises(HiLoError, match="The clip has 8 frames, of which this model's VAE leaves out the last 3"):
        select.execute(clip[:8], masks[:8], "balanced", model=model)
    batch = select.execute(clip, masks, "balanced").args[0]
    assert batch.edit.shape == (8, 10), "without a video model, pictures are a batch"


def test_a_mask_on_the_patch_holds_for_the_frames_it_is_of(run_log):
    """The sampler gets no noise mask; outside each frame's own mask the clip stays."""
    small, (_, masks) = CLIPS[0], pictures()
    model, edit = patcher(small.build()), case(small, 16, 20, frames=3)
    edit.mask = None
    out = edit.sample(patch_model(model, Patch(BALANCED, mask=masks)), steps=2)
    assert "2 compressed steps" in run_log()[-1]
    groups = torch.stack([masks[:1].amax(0), masks[1:5].amax(0), masks[5:].amax(0)])
    painted = torch.nn.functional.max_pool2d(groups, 8) > 0
    assert torch.equal((out != edit.latent).any(1)[0], painted)
    with pytest.raises(HiLoError, match="There are 4 masks for a clip of 9 frames"):
        edit.sample(patch_model(model, Patch(BALANCED, mask=masks[-4:])), steps=2)


def test_windows_over_the_frames_run_dense(run_log):
    """Each sees a part of the clip only."""
    model, edit = patcher(CLIPS[0].build()), case(CLIPS[0], frames=FRAMES)
    wanted = inspect.signature(ContextWindowsManualNode.execute).parameters
    given = {"context_length": 3, "context_overlap": 1, "context_schedule": "standard_static", "context_stride": 1}
    newer = {"freenoise": False} if "freenoise" in wanted else {}
    windows = ContextWindowsManualNode.execute(
        model, **given, closed_loop=False, fuse_method="pyramid", dim=2, **newer
    ).args[0]
    dense = edit.sample(windows, steps=2)
    assert torch.equal(edit.sample(patch_model(windows, Patch(BALANCED)), steps=2), dense)
    assert f"dense run: {FEATURES['tiles'].text}" in run_log()[-1]


@pytest.mark.parametrize("name", ["reference_latents", "context_latents"])
def test_further_frames_in_the_sequence_run_dense(name, run_log):
    """Their tokens lie beside the clip's."""
    if name == "context_latents" and "context_latents" not in inspect.getsource(WanModel):
        pytest.skip("this host's Wan does not know them")
    model, edit = patcher(CLIPS[0].build()), case(CLIPS[0], frames=FRAMES)
    for conds in (edit.positive, edit.negative):
        conds[0][1][name] = [torch.randn(1, 16, FRAMES, 20, 28)]
    dense = edit.sample(model, steps=2)
    assert torch.equal(edit.sample(patch_model(model, Patch(BALANCED)), steps=2), dense)
    assert "input works on the full token grid" in run_log()[-1]


def test_a_step_checked_both_ways(run_log):
    edit = case(CLIPS[0], frames=FRAMES)
    edit.sample(patch_model(patcher(CLIPS[0].build()), Patch(BALANCED, spot_check=True)), steps=4)
    assert "agreement with dense at step" in run_log()[-1]


def test_the_host_keeps_memory_for_one_picture():
    """A strip of a clip has one frame, however many the clip has."""
    grid = TokenGrid(20, 28, 2, frames=5)
    plan = make_plan(torch.zeros(grid.shape, dtype=torch.bool), torch.rand(grid.shape), BALANCED.tokens)
    assert strip_shape((1, 16, 5, 20, 28), grid, plan) == [1, 16, 1, 2, 2 * plan.count]


def test_every_family_with_clips_is_proved():
    """On the hosts at hand; `python -m lab.checks.clips` stores it."""
    hosts = result("clips")["hosts"]
    assert {family.name for family in FAMILIES if family.clips} == {small.family for small in CLIPS}
    for small in CLIPS:
        for name, stored in hosts.items():
            row = stored["families"][small.family]
            assert small.build.__name__ in row["models"] and row["difference"] <= TOLERANCE, (small.family, name)


def test_no_average_of_frames_with_a_level_of_noise_each(run_log):
    """Wan 2.2 5B takes the level of noise of each frame from the mask."""
    small = next(s for s in CLIPS if s.build is wan22)
    edit = case(small, 32, 40, frames=FRAMES)
    model = patcher(small.build())
    out = edit.sample(patch_model(model, Patch(preset("paper"))), steps=2)
    assert "have no one level of noise" in run_log()[-1]
    assert torch.equal(out, edit.sample(model, steps=2))
