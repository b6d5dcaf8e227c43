"""Attention that other nodes, or the host itself, put in the place of the model's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from comfy.ldm.modules import attention
from comfy.patcher_extension import WrappersMP
from hilo_token.comfy_bridge import run
from hilo_token.comfy_bridge.features import FEATURES
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.reasons import DenseRun

from .cases import case
from .conftest import BALANCED, FLUX, SIZE


def test_attention_override(model, holds):
    """An override that is already there is called, on the strip, with the bias in its mask."""
    masks = []

    def double(function, q, k, v, heads, mask=None, *args, **kw):
        masks.append(mask)
        return function(q * 1.3, k, v, heads, mask, *args, **kw)

    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = double
    holds(clone, case(FLUX, *SIZE), plain=model)
    assert masks[0] is None and any(mask is not None and mask.max() > 0 for mask in masks)


def test_override_that_is_a_kernel_without_masks(model, holds, run_log):
    """As SageAttention nodes do it: plain attention, whatever the mask. The bias holds nevertheless."""
    plain, lengths = attention.attention_pytorch.__wrapped__, []

    def no_masks(function, q, k, v, heads, mask=None, *args, **kw):
        lengths.append(k.shape[2] if kw.get("skip_reshape") else k.shape[1])
        return plain(q, k, v, heads, None, **kw)

    def with_kernel(m):
        clone = m.clone()
        clone.model_options["transformer_options"]["optimized_attention_override"] = no_masks
        return clone

    edit = case(FLUX, *SIZE)
    _, out = holds(with_kernel(model), edit)
    assert FEATURES["override_kernel"].text in run_log()[-1]
    assert torch.equal(out, edit.sample(patch_model(model, Patch(BALANCED)), steps=2))
    assert not torch.equal(out, edit.sample(patch_model(model, Patch(replace(BALANCED, mass_bias=0.0))), steps=2))
    lengths.clear()
    edit.sample(patch_model(with_kernel(model), Patch(BALANCED)), steps=6)
    first = len(lengths)
    lengths.clear()
    edit.sample(patch_model(with_kernel(model), Patch(BALANCED)), steps=3)
    assert len(lengths) == first == 2  # tried once in a run, with a mask and without


@pytest.mark.parametrize("needed", ["block_index", "of the third block"])
def test_override_that_asks_where_it_is(model, holds, needed):
    """It reads what the model says of the block; where that is not there it fails, which is not this pack's business
    as long as it does not happen in the model."""
    inside = []

    def stronger(function, q, k, v, heads, *args, transformer_options, **kw):
        if needed not in transformer_options:
            assert inside, "outside the model"
        scale = 1.5 if transformer_options.get("block_index") == 1 else 1.0
        return function(q * scale, k, v, heads, *args, transformer_options=transformer_options, **kw)

    def marked(executor, *args, **kw):
        inside.append(True)
        try:
            return executor(*args, **kw)
        finally:
            inside.clear()

    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = stronger
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "torch.compile", marked)  # a key that is known
    holds(clone, case(FLUX, *SIZE), plain=model)


def test_override_that_refuses_a_mask(model, run_log):
    plain = attention.attention_pytorch.__wrapped__

    def strict(function, q, k, v, heads, mask=None, *args, **kw):
        assert mask is None
        return plain(q, k, v, heads, None, **kw)

    clone, edit = model.clone(), case(FLUX, *SIZE)
    clone.model_options["transformer_options"]["optimized_attention_override"] = strict
    out = edit.sample(patch_model(clone, Patch(BALANCED)), steps=2)
    assert torch.equal(out, edit.sample(patch_model(model, Patch(BALANCED)), steps=2))


@pytest.mark.parametrize("name", ["basic", "sub_quad", "split", "pytorch"])
def test_attention_backends(model, holds, monkeypatch, name):
    from comfy.ldm.flux import math

    monkeypatch.setattr(math, "optimized_attention", getattr(attention, f"attention_{name}"))
    edit = case(FLUX, *SIZE)
    _, out = holds(model, edit)
    monkeypatch.setattr(math, "optimized_attention", attention.attention_pytorch)
    assert (out - edit.sample(patch_model(model, Patch(BALANCED)), steps=2)).abs().max() < 1e-3


def test_out_of_memory_on_trial_is_no_answer(model):
    """An override is tried on noise; a card that is full says nothing of what it does with a mask."""

    def full(function, q, k, v, heads, mask=None, *args, **kw):
        if mask is not None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return function(q, k, v, heads, mask, *args, **kw)

    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = full
    with pytest.raises(torch.cuda.OutOfMemoryError):
        case(FLUX, *SIZE).sample(patch_model(clone, Patch(BALANCED)), steps=2)


def test_each_note_of_a_run_is_told(model, run_log):
    """What keeps features, and a kernel without masks: one does not take the other's place."""
    plain = attention.attention_pytorch.__wrapped__

    def no_masks(function, q, k, v, heads, mask=None, *args, **kw):
        return plain(q, k, v, heads, None, **kw)

    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = no_masks
    clone.set_model_unet_function_wrapper(lambda apply_model, a: apply_model(a["input"], a["timestep"], **a["c"]))
    case(FLUX, *SIZE).sample(patch_model(clone, Patch(BALANCED)), steps=3)
    line = run_log()[-1]
    assert line.count(FEATURES["override_kernel"].text) == 1 and line.count("may keep features between steps") == 1


def test_a_layout_that_there_is_not_is_looked_for_once(model, monkeypatch, run_log):
    """Not in each call of each step."""
    asked = []

    def none(*args):
        asked.append(args)
        raise DenseRun("no")

    monkeypatch.setattr(run, "find_layout", none)
    case(FLUX, *SIZE).sample(patch_model(model, Patch(BALANCED)), steps=4)
    assert "dense run: no" in run_log()[-1] and len(asked) == 1
