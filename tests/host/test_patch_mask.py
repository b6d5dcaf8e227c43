"""A mask on HiLo Model Patch itself: an edit through a reference picture needs no other node of the pack."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.source import mask_on_latent
from hilo_token.hilo_core.errors import HiLoError
from hilo_token.hilo_core.presets import preset

from .cases import case, patcher
from .conftest import BALANCED
from .models import SMALL

QWEN = next(s for s in SMALL if s.family == "Qwen-Image")
HEIGHT, WIDTH = 32, 40  # of the latent
BOX = (slice(64, 160), slice(96, 224))  # in pixels


@pytest.fixture(scope="module")
def model():
    return patcher(QWEN.build())


def painted(height=HEIGHT * 8, width=WIDTH * 8):
    mask = torch.zeros(1, height, width)
    mask[0, BOX[0], BOX[1]] = 1
    return mask


def reference_edit(empty=True):
    """No noise mask; the picture is a reference, the latent empty, as official edit templates have it."""
    edit = case(QWEN, HEIGHT, WIDTH)
    for cond in (*edit.positive, *edit.negative):
        cond[1]["reference_latents"] = [edit.latent]
    picture, edit.mask = edit.latent, None
    edit.latent = torch.zeros_like(picture) if empty else picture
    return edit, picture


def outside(out):
    keep = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    keep[8:20, 12:28] = False
    return keep.expand_as(out)


@pytest.mark.parametrize("empty", [True, False])
def test_mask_alone_is_enough(model, run_log, empty):
    edit, picture = reference_edit(empty)
    out = edit.sample(patch_model(model, Patch(BALANCED, mask=painted())))
    assert "4 compressed steps" in run_log()[-1], run_log()
    assert torch.equal(out[outside(out)], picture[outside(out)])
    assert not torch.isclose(out[~outside(out)], picture[~outside(out)]).any()


def test_tokens_are_those_of_a_noise_mask(model, run_log):
    """The same mask on the latent chooses the same tokens, and counts where both are given."""
    edit, _ = reference_edit(empty=False)
    edit.sample(patch_model(model, Patch(BALANCED, mask=painted())))
    edit.mask = painted()[:, None, ::8, ::8]
    edit.sample(patch_model(model, Patch(BALANCED)))
    edit.sample(patch_model(model, Patch(BALANCED, mask=torch.ones_like(painted()))))
    tokens = [re.search(r"\d+ of \d+ tokens \(.*?\)", line)[0] for line in run_log()[-3:]]
    assert len(set(tokens)) == 1, tokens


def test_nothing_painted_is_a_dense_run_of_the_whole_picture(model, run_log):
    """Load Image gives 64x64 zeros, whatever the picture's size."""
    edit, _ = reference_edit()
    dense = edit.sample(model)
    assert torch.equal(edit.sample(patch_model(model, Patch(BALANCED, mask=torch.zeros(1, 64, 64)))), dense)
    assert "dense run: nothing is painted yet" in run_log()[-1]


def test_off_still_protects(model):
    edit, picture = reference_edit()
    dense, out = edit.sample(model), edit.sample(patch_model(model, Patch(replace(preset("off")), mask=painted())))
    assert torch.equal(out[outside(out)], picture[outside(out)]) and not torch.equal(out, dense)


def test_mask_of_another_picture_is_an_error(model):
    edit, _ = reference_edit()
    with pytest.raises(HiLoError, match=r"400x300 px.*40:32"):
        edit.sample(patch_model(model, Patch(BALANCED, mask=painted(300, 400))))


@pytest.mark.parametrize(("height", "width"), [(256, 320), (261, 327), (512, 640), (300, 370)])
def test_every_painted_pixel_counts(height, width):
    """Cropped around the middle as VAE Encode crops, or scaled: never a pixel of the edit less."""
    mask = torch.zeros(1, height, width)
    mask[0, height // 2, width // 2] = 1
    found = mask_on_latent(mask, torch.Size((1, 16, 1, 32, 40)))
    assert found is not None and found.shape == (1, 1, 32, 40)
    assert 1 <= found.sum() <= 4 and found[..., 14:18, 18:22].sum() == found.sum()
