"""Edits through references, placed in each way that the host knows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hilo_token.comfy_bridge.patch import Patch, patch_model

from .cases import case, patcher
from .conftest import ALL, BALANCED
from .models import SMALL
from .test_run import request_for

METHODS = (None, "offset", "index", "uxo", "index_timestep_zero", "negative_index")
EDITED = [
    pytest.param(small, method, id=f"{small.build.__name__} {method}")
    for small in SMALL
    if small.references
    for method in (METHODS if small.family in {"FLUX.1", "FLUX.2", "Qwen-Image", "Krea 2"} else (None,))
]


@pytest.mark.parametrize(("small", "method"), EDITED)
@pytest.mark.parametrize("extra", [False, True])
def test_references_and_empty_latent(small, method, extra, run_log):
    """Edit models: no noise mask, an empty latent, the source as a reference. The outside becomes the source."""
    model = small.build()
    if method == "index_timestep_zero" and hasattr(model.diffusion_model, "params"):
        model.diffusion_model.params.guidance_embed = False  # ComfyUI 0.29 doubles sigma there, and not the guidance
    patch = small.patch
    height, width = 16 * patch, 20 * patch
    network, edit = patcher(model), case(small, height, width, edit=(6 * patch, 10 * patch, 5 * patch, 11 * patch))
    source, edit.latent, edit.mask = edit.latent, torch.zeros_like(edit.latent), None
    references = [source] + (
        [torch.randn(1, small.channels, *source.shape[2:-2], 10 * patch, 11 * patch)] if extra else []
    )
    for cond in (*edit.positive, *edit.negative):
        cond[1]["reference_latents"] = references
        if method:
            cond[1]["reference_latents_method"] = method
    plan = request_for(32, 40)
    every = replace(plan, settings=ALL.tokens, edit=torch.ones_like(plan.edit))
    try:
        dense = edit.sample(network, steps=2, cfg=2.0)
    except RuntimeError:  # the host itself, without the patch: 0.29 has this method for FLUX.2's modulation only
        assert (small.family, method) == ("FLUX.1", "index_timestep_zero")
        return
    assert (
        edit.sample(patch_model(network, Patch(ALL, every, longest=1.0)), steps=2, cfg=2.0) - dense
    ).abs().max().item() == 0.0
    out = edit.sample(patch_model(network, Patch(BALANCED, plan)), steps=2, cfg=2.0)
    assert "2 compressed steps" in run_log()[-1]
    changed = (
        plan.edit.repeat_interleave(patch, 0)
        .repeat_interleave(patch, 1)
        .reshape(1, 1, *[1] * (out.ndim - 4), height, width)
        .expand_as(out)
    )
    assert (out - source)[~changed].abs().max().item() < 1e-5
    assert (out - source)[changed].abs().mean().item() > 0.01
