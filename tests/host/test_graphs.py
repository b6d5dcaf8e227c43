"""CUDA graphs of compressed calls, without CUDA: a stand-in records a call's inputs and repeats it from its buffers.

Whatever a real graph would repeat wrongly (a turn's positions, another step's sigma) is repeated wrongly here as well.
`lab/checks/graphs.py` shows the same on a GPU.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from hilo_token.comfy_bridge import graph, graph_rules, graph_store
from hilo_token.comfy_bridge.patch import Patch, patch_model

from .cases import case, patcher
from .conftest import BALANCED, FLUX, SIZE
from .models import SMALL, flux

CELLS = replace(BALANCED, tokens=replace(BALANCED.tokens, native=False))


class Repeated:
    """A captured function that is called again, on the same buffers, for each replay."""

    def __init__(self, function):
        self.function, self.out = function, function()
        self.live = True

    def replay(self):
        assert self.live
        self.out = self.function()

    def reset(self):
        self.live = False


class Machine:
    """The CPU in place of CUDA. limit: bytes of all graphs; each takes `size`."""

    size, limit, captures, fails, slow = 1, 1000, 0, None, False

    def __init__(self, device):
        self.device, self.held = device, 0

    def pool(self):
        return object()

    def capture(self, function, pool):
        Machine.captures += 1
        if Machine.fails is not None:
            raise Machine.fails
        self.held += Machine.size
        return Repeated(function)

    def mark(self):
        return None

    def between(self, start, stop):
        return 100.0 if Machine.slow else 0.0

    def reserved(self):
        return self.held

    def budget(self):
        return Machine.limit

    def tidy(self):
        pass

    def wait(self):
        pass


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    """Graphs for every device, by the stand-in."""
    monkeypatch.setattr(graph_store, "CudaMachine", Machine)
    monkeypatch.setattr(graph_store, "wanted", lambda device: True)
    for name, value in {"size": 1, "limit": 1000, "captures": 0, "fails": None, "slow": False}.items():
        monkeypatch.setattr(Machine, name, value)
    yield
    graph_store._found.clear()


def store_of(model):
    return graph_store._found[model.model]


def eager(monkeypatch, model, edit, patch, **sampling):
    with monkeypatch.context() as off:
        off.setattr(graph_store, "wanted", lambda device: False)
        return edit.sample(patch_model(model, patch), **sampling)


@pytest.mark.parametrize("preset_", [BALANCED, CELLS], ids=["native", "cells"])
@pytest.mark.parametrize("small", SMALL, ids=lambda s: s.build.__name__)
def test_every_family(small, preset_, monkeypatch):
    """Turns, steps, two runs: the same as without graphs, bit for bit, and all but the first call are replays."""
    reports = []
    model, edit, patch = patcher(small.build()), case(small, 48, 48, batch=2), Patch(preset_, on_report=reports.append)
    want = eager(monkeypatch, model, edit, patch, steps=6, cfg=3.5)
    patched = patch_model(model, patch)
    assert torch.equal(edit.sample(patched, steps=6, cfg=3.5), want)
    assert torch.equal(edit.sample(patched, steps=6, cfg=3.5), want)
    store = store_of(model)  # as many shapes as the host found memory to batch conditionings in
    assert store.count == Machine.captures == len(store._trials) and store.replays >= 11, reports[-1].line()
    assert all(trial.calls == 1 for trial in store._trials.values())
    assert " calls replayed as CUDA graphs" in reports[-1].line()


def sampled(patched, edit, **sampling):
    """(result, the report's line)"""
    reports = []
    return edit.sample(patched(Patch(BALANCED, on_report=reports.append)), **sampling), reports[-1].line()


def lora(model, strength):
    """The model with another weight in its place."""
    clone, name = model.clone(), "diffusion_model.img_in.weight"
    change = torch.randn(model.model.state_dict()[name].shape, generator=torch.Generator().manual_seed(3))
    clone.add_patches({name: ("diff", (change,))}, strength)
    return clone


def test_lora_after_lora(model, monkeypatch):
    """Graphs end with the weights that they were captured with; what comes after is right again."""
    edit = case(FLUX, *SIZE)
    for one in (model, lora(model, 0.5), model, lora(model, 1.0)):
        want = eager(monkeypatch, one, edit, Patch(BALANCED), steps=5)
        for _ in range(2):
            out, line = sampled(lambda patch, one=one: patch_model(one, patch), edit, steps=5)
            assert torch.equal(out, want) and "replayed as CUDA graphs" in line, line


def test_unloaded_and_loaded_again(monkeypatch):
    """Memory is given back with the model's; the next run captures again."""
    import comfy.model_management as management

    model, edit = patcher(flux()), case(FLUX, *SIZE)
    patched = patch_model(model, Patch(BALANCED))
    want = eager(monkeypatch, model, edit, Patch(BALANCED))
    edit.sample(patched)
    captured = [g.captured for g in store_of(model)._kept.values()]
    assert captured and store_of(model).bytes
    management.unload_all_models()
    patched.detach()
    assert not any(c.live for c in captured) and not store_of(model).bytes and not store_of(model).count
    assert torch.equal(edit.sample(patched), want) and store_of(model).count == 1


def moved(model):
    """Each weight at another address."""
    for parameter in model.model.diffusion_model.parameters():
        parameter.data = parameter.data.clone()


def replaced(model):
    """One weight by another of the same shape."""
    network = model.model.diffusion_model
    network.img_in.weight = torch.nn.Parameter(network.img_in.weight + 0.1, requires_grad=False)


@pytest.mark.parametrize("change", [moved, replaced])
def test_weights_elsewhere(change, monkeypatch):
    """A graph that would read old addresses is not used."""
    model, edit = patcher(flux()), case(FLUX, *SIZE)
    patched = patch_model(model, Patch(BALANCED))
    edit.sample(patched)
    old = next(iter(store_of(model)._kept.values())).captured
    change(model)
    want = eager(monkeypatch, model, edit, Patch(BALANCED))
    assert torch.equal(edit.sample(patched), want) and not old.live and store_of(model).count == 1


def test_new_mask_of_the_same_length(model, monkeypatch):
    """No capture for it."""
    patched = patch_model(model, Patch(BALANCED))
    for top in (2, 10, 14):
        edit = case(FLUX, 48, 48, edit=(top, top + 8, 4, 12))
        assert torch.equal(edit.sample(patched), eager(monkeypatch, model, edit, Patch(BALANCED)))
    assert store_of(model).count == len(store_of(model)._trials) <= 2


def test_many_shapes(model, monkeypatch):
    """Few are kept at once, each is right."""
    monkeypatch.setattr(graph_store, "MOST", 2)
    patched = patch_model(model, Patch(BALANCED))
    for size in ((16, 24), (32, 40), (48, 24), (16, 24)):
        edit = case(FLUX, *size)
        assert torch.equal(edit.sample(patched), eager(monkeypatch, model, edit, Patch(BALANCED)))
        assert store_of(model).count <= 2


def test_over_budget(model, monkeypatch):
    """A graph that takes too much is given back at once; other models' graphs go before it."""
    other, edit = patcher(flux()), case(FLUX, *SIZE)
    edit.sample(patch_model(other, Patch(BALANCED)))
    monkeypatch.setattr(Machine, "size", 600)
    edit.sample(patch_model(model, Patch(BALANCED)))
    assert store_of(model).count == 1 and store_of(other).count == 1
    monkeypatch.setattr(Machine, "limit", 600)
    graph_store.release(model.model)
    edit.sample(patch_model(model, Patch(BALANCED)))
    assert store_of(model).count == 1 and store_of(other).count == 0
    monkeypatch.setattr(Machine, "limit", 599)
    graph_store.release(model.model)
    out, line = sampled(lambda patch: patch_model(model, patch), edit)
    assert store_of(model).count == 0 and "too little memory" in line
    assert torch.equal(out, eager(monkeypatch, model, edit, Patch(BALANCED)))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "too little memory"),
        (RuntimeError("no"), "be captured (no)"),
    ],
)
def test_capture_that_fails(error, words, model, monkeypatch):
    """The run goes on without, asks once only, and says so."""
    edit = case(FLUX, *SIZE)
    monkeypatch.setattr(Machine, "fails", error)
    out, line = sampled(lambda patch: patch_model(model, patch), edit, steps=6)
    assert torch.equal(out, eager(monkeypatch, model, edit, Patch(BALANCED), steps=6))
    assert Machine.captures == 1 and words in line


def test_slow_gpu(model, monkeypatch):
    """Where the GPU is the slower part, a graph is for shapes that come again and again."""
    edit = case(FLUX, *SIZE)
    monkeypatch.setattr(Machine, "slow", True)
    _, line = sampled(lambda patch: patch_model(model, patch), edit, steps=8)
    assert Machine.captures == 0 and "no CUDA graphs, since the GPU is the slower part" in line
    for _ in range(3):
        _, line = sampled(lambda patch: patch_model(model, patch), edit, steps=8)
    assert Machine.captures == 1 and "replayed" in line


def test_out_of_memory_gives_all_back(model, monkeypatch):
    """An error for want of memory anywhere in a run."""
    edit, patched = case(FLUX, *SIZE), patch_model(model, Patch(BALANCED))
    edit.sample(patched)
    assert store_of(model).count == 1

    def fail(executor, *args, **kwargs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    failing = patched.clone()
    failing.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "fail", fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        edit.sample(failing)
    assert store_of(model).count == 0


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [0, 1, 2, 4])
def test_interrupt_at_a_step(at, model, monkeypatch):
    """In the first call, the capture, a replay: the next run is as ever."""
    import comfy.model_management as management

    edit, calls = case(FLUX, *SIZE), []

    def interrupt(executor, *args, **kwargs):
        if len(calls) == at:
            management.interrupt_current_processing()
        calls.append(1)
        return executor(*args, **kwargs)

    patched = patch_model(model, Patch(BALANCED))
    failing = patched.clone()
    failing.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "interrupt", interrupt)
    with pytest.raises(management.InterruptProcessingException):
        edit.sample(failing, steps=6)
    assert len(calls) == at + 1
    assert torch.equal(edit.sample(patched, steps=6), eager(monkeypatch, model, edit, Patch(BALANCED), steps=6))


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
