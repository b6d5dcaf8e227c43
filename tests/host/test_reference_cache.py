"""FLUX.2 klein with FluxKVCache, which keeps keys and values of the references from the first step on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch as patched_attribute

import comfy.supported_models
import pytest
import torch
from comfy_extras import nodes_flux
from hilo_token.comfy_bridge.patch import Patch, patch_model

from .cases import case, patcher
from .conftest import BALANCED
from .models import SMALL, flux2

if hasattr(nodes_flux, "FluxKVCache"):  # hosts from 0.29

    def test_flux_kv_cache(run_log):
        """Keys and values of the references are kept from the first step on: each sees the same tokens of them, even of
        the picture that is edited."""
        small = next(s for s in SMALL if s.family == "FLUX.2")
        edit, model = case(small, 24, 32), patcher(flux2(guidance_embed=False))
        for cond in (*edit.positive, *edit.negative):
            cond[1]["reference_latents"] = [edit.latent]
        seen, plain = set(), model.model._apply_model

        def note(x: Any, *args: Any, **kwargs: Any) -> Any:
            seen.add((x.shape[-2:] == edit.latent.shape[-2:], *(z.shape[-2:] for z in kwargs["ref_latents"])))
            return plain(x, *args, **kwargs)

        def sample(tokens: Any) -> Any:
            asked = Patch(replace(BALANCED, tokens=tokens), longest=1.0)
            return edit.sample(patch_model(nodes_flux.FluxKVCache.execute(model).args[0], asked), steps=4)

        wanted = edit.sample(nodes_flux.FluxKVCache.execute(model).args[0], steps=4)
        assert torch.equal(sample(replace(BALANCED.tokens, dilation=1000.0)), wanted)
        with patched_attribute.object(model.model, "_apply_model", note):
            strip = sample(BALANCED.tokens)
        assert "4 compressed steps" in run_log()[-1], run_log()[-1]
        assert torch.isfinite(strip).all() and not torch.equal(strip, wanted)
        assert (False, (24, 32)) in seen and all(size == (24, 32) for _, size in seen)


if hasattr(comfy.supported_models, "QwenImage21"):  # hosts from 0.37

    @pytest.mark.parametrize("slots", [(), (3,), (2, 5)])
    def test_qwen_prefix_cache(run_log, slots):
        """What Qwen-Image 2.1 keeps of text and references, wherever they lie in the text, is the same for all steps of
        a strip: with and without it a run is the same."""
        small = next(s for s in SMALL if s.family == "Qwen-Image 2.1")
        edit, model = case(small, 24, 32), patcher(small.build())
        network, references = model.model.diffusion_model, [edit.latent, edit.latent.flip(-1)[..., :20]][: len(slots)]
        for cond in (*edit.positive, *edit.negative):
            cond[1] |= {"reference_latents": references, "image_slots": list(slots)} if slots else {}

        def sample(cached: bool, patched: Any) -> torch.Tensor:
            network.reset_prefix_cache(cached)
            return edit.sample(patched, steps=4)

        every = Patch(replace(BALANCED, tokens=replace(BALANCED.tokens, dilation=1000.0)), longest=1.0)
        dense = sample(True, model)
        assert torch.equal(sample(True, patch_model(model, every)), dense)
        plain, kept = (sample(cached, patch_model(model, Patch(BALANCED))) for cached in (False, True))
        assert "4 compressed steps" in run_log()[-1], run_log()[-1]
        assert (kept - plain).abs().max() < 1e-5 * plain.abs().max() and not torch.equal(plain, dense)
        assert len(network.prefix_cache.slots) == 1, "a trial on a tiny picture left its keys there"


if hasattr(comfy.supported_models, "Krea2"):  # hosts from 0.26

    def test_references_that_a_model_ignores(run_log):
        """Without a method Krea 2 sees no reference: a strip then is as if none were there."""
        small = next(s for s in SMALL if s.family == "Krea 2")
        model, edit, plain = patcher(small.build()), case(small, 24, 32), case(small, 24, 32)
        for cond in (*edit.positive, *edit.negative):
            cond[1]["reference_latents"] = [edit.latent, edit.latent.flip(-1)]
        out = edit.sample(patch_model(model, Patch(BALANCED)))
        assert "4 compressed steps" in run_log()[-1], run_log()[-1]
        assert torch.equal(out, plain.sample(patch_model(model, Patch(BALANCED))))
