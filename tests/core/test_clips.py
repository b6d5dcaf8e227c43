"""The method over frames: a clip is a grid with one more axis, a picture the clip of one frame."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hilo_core.cells import choose_cells, first_tokens, pool_tokens, real_tokens
from hilo_core.errors import HiLoError
from hilo_core.frequency import SCORES, detail
from hilo_core.grid import TokenGrid, to_tokens
from hilo_core.mask import FRAME, dilate_tokens, distance_to, latent_frames, mask_to_tokens, nearest
from hilo_core.plan import EDIT, make_plan
from hilo_core.presets import PRESETS
from hilo_core.strip import StripMap, average_tokens

SETTINGS = {name: one.tokens for name, one in PRESETS.items() if not one.off}


def moving(frames=6, rows=18, columns=22):
    """A box that is there from the second frame to the last but one, and moves to the right."""
    edit = torch.zeros(frames, rows, columns, dtype=torch.bool)
    for frame in range(1, frames - 1):
        edit[frame, 5:9, 2 * frame : 2 * frame + 3] = True
    return edit


def plan_of(name="balanced", **changes):
    torch.manual_seed(3)
    edit = moving()
    return edit, make_plan(edit, torch.rand(edit.shape), replace(SETTINGS[name], **changes))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("changes", [{}, {"budget": 700}, {"levels": ()}, {"dilation": 0.5, "dilation_relative": True}])
def test_a_clip_of_one_frame_has_the_plan_of_the_picture(name, changes):
    torch.manual_seed(4)
    edit, score, settings = moving()[2], torch.rand(18, 22), replace(SETTINGS[name], **changes)
    picture, clip = make_plan(edit, score, settings), make_plan(edit[None], score[None], settings)
    for one, other in zip((picture, *picture.later_turns), (clip, *clip.later_turns), strict=True):
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("kept", "kind", "mass", "owner"))


@pytest.mark.parametrize("name", SETTINGS)
def test_every_token_is_stood_for_once(name):
    edit, first = plan_of(name)
    for plan in (first, *first.later_turns):
        assert plan.total == edit.numel() and plan.shape == edit.shape
        assert torch.equal(plan.owner.bincount(minlength=plan.count).float(), plan.mass)
        assert torch.equal(plan.owner[plan.kept], torch.arange(len(plan.kept)))
        assert bool(plan.kind[plan.owner[edit.flatten()]].eq(EDIT).all())


def test_a_margin_reaches_into_the_frames_beside():
    edit = torch.zeros(5, 7, 9, dtype=torch.bool)
    edit[2, 3, 4] = True
    grown = dilate_tokens(edit, 1.0)
    assert grown.flatten(1).sum(1).tolist() == [0, 5, 5, 5, 0]
    assert torch.equal(grown[1], dilate_tokens(edit[2], 1.0))
    assert torch.equal(dilate_tokens(edit, 0.0), edit)
    relative = torch.zeros(1, 20, 30, dtype=torch.bool)
    relative[0, 4:14, 4:14] = relative[0, 8, 25] = True
    assert torch.equal(dilate_tokens(relative, 0.5, True)[0], dilate_tokens(relative[0], 0.5, True))


def test_frames_are_some_tokens_apart():
    edit = torch.zeros(3, 4, 4, dtype=torch.bool)
    edit[0, 0, 0] = True
    assert distance_to(edit)[:, 0, 0].tolist() == [0.0, FRAME, 2 * FRAME]
    assert distance_to(edit)[1, 0, 3].item() == pytest.approx((FRAME**2 + 9) ** 0.5)
    edit[2, 3, 3] = True
    assert nearest(edit).reshape(3, 4, 4)[1, 0, 0] == 0 and nearest(edit)[-1] == edit.numel() - 1


def test_coarse_cells_hold_two_frames():
    kept = torch.zeros(5, 8, 8, dtype=torch.bool)
    for factor, cells, mass in ((2, 5 * 16, 4), (4, 3 * 4, 32), (8, 3, 128)):
        (one,) = choose_cells(kept, torch.full(kept.shape, factor))
        assert len(one.index) == cells and one.mass[0] == mass and one.mass[-1] == mass / (1 + (factor > 2))
        first = first_tokens(kept.shape, factor)
        assert len(first.unique()) == cells and bool((first.flatten() <= torch.arange(kept.numel())).all())


def test_real_tokens_take_turns_in_time_too():
    whole = torch.zeros(2, 8, 8, dtype=torch.bool)
    turns = [int(index) for index in real_tokens(whole, torch.full(whole.shape, 8))]
    assert [token // 64 for token in turns] == [0, 1, 1, 0]
    assert [token % 64 for token in turns] == [int(index) for index in real_tokens(whole[0], torch.full((8, 8), 8))]
    whole[1] = True  # of a frame that is kept, no token stands for the other
    assert all(int(index) < 64 for index in real_tokens(whole, torch.full(whole.shape, 8)))


@pytest.mark.parametrize("score", SCORES)
def test_what_changes_in_time_is_detail(score):
    """Also where no frame has detail of its own, and for the first frame of two that differ."""
    torch.manual_seed(5)
    clip = 0.1 * torch.rand(1, 3, 1, 24, 24).repeat(1, 1, 4, 1, 1)
    assert torch.allclose(detail(clip, 6, 6, score), detail(clip[:, :, 0], 6, 6, score).expand(4, -1, -1))
    clip[:, :, 2:, :, 12:] += 1
    found = detail(clip, 6, 6, score)[:, :, 4:]
    assert found[2].min() > 5 * found[3].max() and torch.allclose(found[1], found[3])
    clip[:, :, 1:, :, 12:] = clip[:, :, 2:3, :, 12:]
    found = detail(clip, 6, 6, score)[:, :, 4:]
    assert torch.allclose(found[0], found[1], atol=0.1) and found[0].min() > 5 * found[2].max()


def test_masks_of_a_clip_become_those_of_its_latent_frames():
    masks = torch.zeros(9, 4, 6)
    for frame in range(9):
        masks[frame, 0, min(frame, 5)] = 1
    found = latent_frames(masks, 3)
    assert found.shape == (3, 4, 6)
    assert [frame[0].tolist() for frame in found] == [[1, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1]]
    assert torch.equal(latent_frames(masks[:3], 3), masks[:3])
    assert torch.equal(latent_frames(masks[4:5], 3), masks[4:5].expand(3, -1, -1))
    assert torch.equal(latent_frames(masks, 1), masks.amax(0, keepdim=True))
    with pytest.raises(HiLoError, match="There are 8 masks for a clip of 9 frames"):
        latent_frames(masks[:8], 3)


@pytest.mark.parametrize("size", [2, None])
def test_tokens_of_a_mask_are_those_of_each_frame(size):
    masks = (torch.rand(2, 3, 9, 12) > 0.9).float()
    found = mask_to_tokens(masks, 5, 6, size)
    assert torch.equal(found, torch.stack([mask_to_tokens(masks[:, frame], 5, 6, size) for frame in range(3)]))


@pytest.mark.parametrize(("height", "width", "patch"), [(12, 16, 2), (13, 15, 2), (7, 9, 1)])
@pytest.mark.parametrize("name", ["balanced", "paper"])
def test_a_strip_goes_there_and_back(name, height, width, patch):
    torch.manual_seed(6)
    grid, clip = TokenGrid(height, width, patch, frames=5), torch.randn(2, 3, 5, height, width)
    edit = torch.zeros(grid.shape, dtype=torch.bool)
    edit[1:3, 1:3, 1:3] = True
    plan = make_plan(edit, torch.rand(grid.shape), SETTINGS[name])
    known = torch.ones(grid.latent_shape, dtype=torch.bool)
    strip_map = StripMap(grid, plan, clip.device, known)
    strip = strip_map.compress(clip)
    assert strip.shape == (2, 3, patch, plan.count * patch)
    tokens = strip.unflatten(3, (plan.count, patch)).permute(0, 3, 1, 2, 4)
    assert torch.equal(tokens[:, : len(plan.kept)], to_tokens(clip, grid)[:, plan.kept])
    assert torch.allclose(strip[..., len(plan.kept) * patch :], average_tokens(clip, known, grid, plan), atol=1e-6)
    back = strip_map.restore(strip, strip_map.offset(clip))
    assert torch.equal(back[..., strip_map.kept()], clip[..., strip_map.kept()])
    assert torch.allclose(back, clip, atol=1e-6)


def test_pooled_tokens_are_means_over_frames():
    tokens = torch.arange(3 * 4 * 4.0).reshape(1, 48, 1)
    pooled = pool_tokens(tokens, 4, 4, 4, frames=3)[0, :, 0]
    assert pooled.tolist() == [tokens[0, :32].mean().item(), tokens[0, 32:].mean().item()]
