"""Ideogram 4's guider: one model for the prompt, another with weights of its own for the run without it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy_extras import nodes_custom_sampler
from hilo_token.comfy_bridge.patch import Patch, patch_model

from .cases import case, patcher
from .conftest import BALANCED
from .models import SMALL
from .recording import caught

EVERY = Patch(replace(BALANCED, tokens=replace(BALANCED.tokens, dilation=1000.0)), longest=1.0)

if hasattr(nodes_custom_sampler, "DualModelGuider"):  # hosts from 0.24
    SMALLER = next(s for s in SMALL if s.family == "Ideogram 4")

    @pytest.fixture(scope="module")
    def models():
        torch.manual_seed(4)
        found = patcher(SMALLER.build()), patcher(SMALLER.build())
        for weight in found[1].model.diffusion_model.parameters():
            weight.data += 0.02 * torch.randn_like(weight)
        return found

    def sample(model: Any, other: Any) -> torch.Tensor:
        edit = case(SMALLER, 16, 20, edit=(4, 8, 6, 12))
        guider = nodes_custom_sampler.DualModelGuider.execute(model, edit.positive, 3.0, other).args[0]
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 4)
        sampler = comfy.samplers.sampler_object("euler")
        out: torch.Tensor = guider.sample(
            edit.noise, edit.latent, sampler, sigmas, denoise_mask=edit.mask, disable_pbar=True, seed=3
        )
        return out

    def test_both_models_see_the_strip(models, run_log):
        """Where both are patched, the one that has no text too."""
        dense = sample(*models)
        assert torch.equal(sample(*(patch_model(m, EVERY) for m in models)), dense)
        calls = [0, 0]

        def count(which: int) -> Any:
            def note(dense: Any, strip: Any, plain: Any) -> Any:
                calls[which] += 1
                return strip.run(plain)

            return note

        with caught(models[0].model, 1, count(0)), caught(models[1].model, 1, count(1)):
            out = sample(*(patch_model(m, Patch(BALANCED)) for m in models))
        assert calls == [4, 4] and "4 compressed steps" in run_log()[-1], run_log()[-1]
        assert torch.isfinite(out).all() and not torch.equal(out, dense)

    def test_model_that_is_not_patched_is_dense(models, run_log):
        """And the node says which, and what to do."""
        out = sample(patch_model(models[0], Patch(BALANCED)), models[1])
        assert torch.isfinite(out).all() and "second model" in run_log()[-1], run_log()[-1]
