"""Which calls are not captured, and why: whatever is not known to be the model's own."""

from __future__ import annotations

import pytest
import torch
from hilo_token.comfy_bridge import graph, graph_rules
from hilo_token.comfy_bridge.patch import Patch, patch_model

from .cases import case, patcher
from .conftest import BALANCED, FLUX, SIZE
from .graph_machine import eager, on_cpu, sampled  # noqa: F401
from .models import flux


def hooked(model):
    model.model.diffusion_model.double_blocks[0].register_forward_hook(lambda *_: None)
    return model


def shadowed(model):
    block = model.model.diffusion_model.double_blocks[0]
    block.img_attn.qkv.forward = block.img_attn.qkv.forward
    return model


def foreign_module(model):
    class Linear(torch.nn.Linear):
        pass

    Linear.__module__ = "gguf_nodes.ops"
    model.model.diffusion_model.double_blocks[0].img_attn.qkv.__class__ = Linear
    return model


def keeping(model):
    """A model whose code keeps a tensor from call to call, out of sight."""
    network, kept = model.model.diffusion_model, []
    forward = type(network.img_in).forward

    class Linear(type(network.img_in)):
        def forward(self, x):
            kept.append(x.mean())
            return forward(self, x) + 0 * kept[0]

    Linear.__module__ = "comfy.ops"
    network.img_in.__class__ = Linear
    return model


def asking_for_sigmas(model):
    """A model whose code looks up the run's sigmas."""
    network = model.model.diffusion_model
    forward = type(network).forward

    class Flux(type(network)):
        def forward(self, x, *args, transformer_options=None, **kwargs):
            assert len(transformer_options["sample_sigmas"])
            return forward(self, x, *args, transformer_options=transformer_options, **kwargs)

    Flux.__module__, Flux.__qualname__ = type(network).__module__, type(network).__qualname__
    network.__class__ = Flux
    return model


def weight_function(model):
    clone = model.clone()
    clone.add_weight_wrapper("diffusion_model.img_in.weight", lambda weight: weight * 1.5)
    return clone


def with_patch(model):
    clone = model.clone()
    clone.set_model_attn1_patch(lambda q, k, v, *args, **kw: (q, k, v) if not kw else {"q": q, "k": k, "v": v})
    return clone


def with_replacement(model):
    clone = model.clone()
    clone.set_model_patch_replace(lambda args, extra: extra["original_block"](args), "dit", "double_block", 0)
    return clone


def with_override(model):
    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = lambda f, *a, **k: f(*a, **k)
    return clone


def with_option(model):
    clone = model.clone()
    clone.model_options["transformer_options"]["something"] = object()
    return clone


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (hooked, "put code into the model"),
        (shadowed, "put code into the model"),
        (foreign_module, "modules of another node"),
        (keeping, "keeps tensors"),
        (asking_for_sigmas, "differs from call to call"),
        (weight_function, "patched while"),
        (with_patch, "patches among"),
        (with_replacement, "replace"),
        (with_override, "overrides the attention"),
        (with_option, "unknown kind"),
    ],
)
def test_what_is_not_known_runs_without(change, words, monkeypatch):
    """Right, and with the reason."""
    model, edit = change(patcher(flux())), case(FLUX, *SIZE)
    out, line = sampled(lambda patch: patch_model(model, patch), edit)
    assert "no CUDA graphs" in line and words in line, line
    assert torch.equal(out, eager(monkeypatch, model, edit, Patch(BALANCED)))


def test_switch(monkeypatch):
    """HILO_GRAPHS=0, and devices that are not CUDA."""
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert graph_rules.wanted(torch.device("cuda")) and not graph_rules.wanted(torch.device("cpu"))
    monkeypatch.setenv(graph_rules.SWITCH, "0")
    assert not graph_rules.wanted(torch.device("cuda"))


def test_shape_keys():
    """Equal for equal shapes, layouts, types and values; whatever is not known has none."""
    one = {"x": torch.zeros(2, 3), "n": [1, None, "a", (True, 1.5)]}
    assert graph.shape_key(one) == graph.shape_key({"x": torch.ones(2, 3), "n": [1, None, "a", (True, 1.5)]})
    others = [torch.zeros(3, 2).T, torch.zeros(2, 3).half(), torch.zeros(2, 4)]
    assert len({graph.shape_key(other) for other in others} | {graph.shape_key(one["x"])}) == 4
    assert graph.shape_key(1) != graph.shape_key(True)
    with pytest.raises(graph_rules.Eager):
        graph.shape_key({"x": object()})
