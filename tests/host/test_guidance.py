"""Guidance that takes statistics over the whole prediction: a strip has to give it a sensible one outside, too.

With the demo model, CFG 3 and a blank source as the negative. The projection of CFGZeroStar, the deviation of
RescaleCFG, the norm of RenormCFG and Mahiro's cosine see much of the picture outside the strip.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pytest
import torch
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.planning import PlanRequest
from hilo_token.demo import model as demo_model
from hilo_token.hilo_core.frequency import detail
from hilo_token.hilo_core.mask import mask_to_tokens
from hilo_token.hilo_core.plan import make_plan

from .cases import Case
from .conftest import ALL, BALANCED
from .neighbours import photo
from .neighbours.guidance import GUIDANCE

STEPS, CFG = 6, 3.0
NEAR = 4.0  # dB of the mean of two photos that a guidance may cost beside a strip, over plain CFG
PICTURES = ("demo", "coffee")


@pytest.fixture(scope="module")
def base() -> Any:
    return demo_model.load()


@lru_cache(maxsize=32)
def _near(base: Any, name: str) -> float:
    """dB inside the masks, the mean of the photos, of the compressed run to the dense run with the same guidance."""
    put, found = GUIDANCE.get(name, lambda m: m), []
    for picture in PICTURES:
        edit = photo.edit(picture)
        dense = edit.sample(put(base), steps=STEPS, cfg=CFG)
        out = edit.sample(patch_model(put(base), Patch(BALANCED)), steps=STEPS, cfg=CFG)
        inside = photo.editable(edit, out)
        assert torch.equal(out[~inside], dense[~inside]), "outside of the mask"
        found.append(photo.psnr(out, dense, inside))
    return sum(found) / len(found)


@pytest.mark.parametrize("name", GUIDANCE)
def test_guidance_sees_a_sensible_prediction(base, name):
    """As near to its own dense run as plain CFG is."""
    assert _near(base, name) > _near(base, "plain") - NEAR, f"{_near(base, name):.1f}, plain {_near(base, 'plain'):.1f}"


@pytest.mark.parametrize("name", GUIDANCE)
def test_guidance_with_all_kept(base, name):
    edit, put = photo.edit("demo"), GUIDANCE[name]
    dense = edit.sample(put(base), steps=3, cfg=CFG)
    assert torch.equal(edit.sample(patch_model(put(base), Patch(ALL, longest=1.0)), steps=3, cfg=CFG), dense)


@dataclass
class Watcher:
    """A guidance that changes nothing and keeps what the first step of a run showed it."""

    seen: dict[str, torch.Tensor] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> Watcher:
        return self  # the host copies what is in the options

    def __call__(self, args: dict[str, Any]) -> torch.Tensor:
        for name in ("cond_denoised", "uncond_denoised", "denoised"):
            self.seen.setdefault(name, args[name].clone())
        return args["denoised"]

    def put(self, model: Any) -> Any:
        clone = model.clone()
        clone.set_model_sampler_post_cfg_function(self)
        return clone


def test_dropped_tokens_change_as_the_kept_one_that_stands_for_them(base):
    """In the first step's prediction every token outside the strip has moved off the source, by cond and uncond apart,
    and by an amount that another token moved by."""
    edit, watcher = photo.edit("demo"), Watcher()
    edit.sample(patch_model(watcher.put(base), Patch(BALANCED)), steps=2, cfg=CFG)
    source = base.model.process_latent_in(edit.latent)
    for name in ("cond_denoised", "uncond_denoised"):
        change = torch.nn.functional.unfold(watcher.seen[name] - source, 2, stride=2)[0].T  # (tokens, numbers)
        assert bool((change.abs().amax(1) > 1e-4).all()), f"{name}: a token that stays the source"
        grid = (change * 1e4).round()
        kinds = len(grid.unique(dim=0))
        assert kinds < 0.9 * len(grid), f"{name}: {kinds} changes of {len(grid)} tokens"  # shared by those that are out
    assert not torch.equal(watcher.seen["cond_denoised"], watcher.seen["uncond_denoised"])


def _planned(edit: Case) -> PlanRequest:
    """A plan for the photo's own mask, as HiLo Token Select makes it from the picture."""
    rows, columns = (n // 2 for n in edit.latent.shape[-2:])
    tokens = mask_to_tokens(edit.mask[:, 0], rows, columns, 16)
    score = detail(edit.latent, rows, columns)
    return PlanRequest(BALANCED.tokens, tokens, score, make_plan(tokens, score, BALANCED.tokens))


@pytest.mark.parametrize("name", GUIDANCE)
def test_a_plan_alone_protects_after_guidance(base, name):
    """Without a noise mask nothing but the plan keeps the outside: it is the source to the bit, whatever guidance did
    to it, and the guidance has not seen the source there."""
    masked, watcher = photo.edit("demo"), Watcher()
    edit = Case(masked.latent, None, masked.positive, masked.negative, masked.noise)
    model = patch_model(watcher.put(GUIDANCE[name](base)), Patch(BALANCED, request=_planned(masked)))
    out = edit.sample(model, steps=4, cfg=CFG)
    edited = torch.nn.functional.max_pool2d(masked.mask, 16)  # a token with an editable pixel
    outside = (torch.nn.functional.interpolate(edited, scale_factor=2) == 0).expand_as(out)
    assert torch.equal(out[outside], edit.latent[outside]) and torch.isfinite(out).all()
    source = base.model.process_latent_in(edit.latent)
    assert bool((watcher.seen["cond_denoised"] != source)[outside].float().mean() > 0.9)
