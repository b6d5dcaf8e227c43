"""CUDA graphs of compressed calls, without CUDA (`graph_machine.py`): when they are made, and how long they live.

`lab/checks/graphs.py` shows on a GPU that they are right there.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from hilo_token.comfy_bridge import graph_store
from hilo_token.comfy_bridge.call import KEY
from hilo_token.comfy_bridge.patch import Patch, patch_model

from .cases import case, patcher
from .conftest import BALANCED, FLUX, SIZE
from .graph_machine import Machine, eager, on_cpu, sampled, store_of  # noqa: F401
from .models import SMALL, flux

EAGER = {  # small models whose calls are not captured, and why
    "radiance": "the model keeps tensors from one call to the next",
    "z_image_pixel": "the model keeps tensors from one call to the next",
    "predict2": "the model's weights are not where they were",
    "anima": "the model has modules of another node (_NoAdapter)",  # in the place of its text adapter, in tests
    "ernie": "this model's attention takes its mask in another way",
}
CELLS = replace(BALANCED, tokens=replace(BALANCED.tokens, native=False))


@pytest.mark.parametrize("preset_", [BALANCED, CELLS], ids=["native", "cells"])
@pytest.mark.parametrize("small", SMALL, ids=lambda s: s.build.__name__)
def test_every_family(small, preset_, monkeypatch):
    """Turns, steps, two runs: the same as without graphs, bit for bit, and all but the first call are replays."""
    reports = []
    model, edit, patch = (
        patcher(small.build()),
        case(small, *small.allowed(48, 48), batch=2),
        Patch(preset_, on_report=reports.append),
    )
    want = eager(monkeypatch, model, edit, patch, steps=6, cfg=3.5)
    patched = patch_model(model, patch)
    assert torch.equal(edit.sample(patched, steps=6, cfg=3.5), want)
    assert torch.equal(edit.sample(patched, steps=6, cfg=3.5), want)
    if reports[-1].reason:
        assert "averaged tokens need" in reports[-1].reason and preset_ is CELLS
        return
    if (why := EAGER.get(small.build.__name__)) is not None:
        assert f"no CUDA graphs, since {why}" in reports[-1].line(), reports[-1].line()
        return
    store = store_of(model)  # as many shapes as the host found memory to batch conditionings in
    assert store.count == Machine.captures == len(store._trials) and store.replays >= 11, reports[-1].line()
    assert all(trial.calls == 1 for trial in store._trials.values())
    assert " calls replayed as CUDA graphs" in reports[-1].line()


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


def test_unloaded_when_the_clone_that_ran_is_gone():
    """The host then unloads the model through the patcher that the clone was made of, or the one before."""
    model, edit = patcher(flux()), case(FLUX, *SIZE)
    middle = model.clone()
    for owner in (middle, model):
        edit.sample(patch_model(middle, Patch(BALANCED)))
        captured = [g.captured for g in store_of(model)._kept.values()]
        owner.detach(unpatch_all=False)
        assert captured and all(c.live for c in captured)
        owner.detach()
        assert not any(c.live for c in captured) and not store_of(model).count
    assert len(model.get_callbacks(CallbacksMP.ON_DETACH, KEY)) == 1


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


def test_cancel_within_the_capture(model, monkeypatch):
    """A user's Cancel ends the run; it is no reason against a graph."""
    import comfy.model_management as management

    edit, patched = case(FLUX, *SIZE), patch_model(model, Patch(BALANCED))
    monkeypatch.setattr(Machine, "fails", management.InterruptProcessingException())
    with pytest.raises(management.InterruptProcessingException):
        edit.sample(patched, steps=6)
    assert Machine.captures == 1
    monkeypatch.setattr(Machine, "fails", None)
    out, line = sampled(lambda patch: patch_model(model, patch), edit, steps=6)
    assert torch.equal(out, eager(monkeypatch, model, edit, Patch(BALANCED), steps=6)) and "replayed" in line


def calls_of(graphs, *outcomes):
    """What calls of one shape give whose model gives, or raises, these."""
    left = list(outcomes)

    def execute(inputs, captured):
        outcome = left.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome() if callable(outcome) else outcome

    return [graphs(None, "a shape", None, execute) for _ in outcomes]


def test_a_first_call_that_fails_does_not_count(monkeypatch):
    """Out of memory, or Cancel, in the very first call: the next one is a first call again."""
    graphs = graph_store.Graphs(Machine(torch.device("cpu")))
    with pytest.raises(MemoryError):
        calls_of(graphs, MemoryError())
    assert calls_of(graphs, 1) == [1] and graphs._trials["a shape"].calls == 1


def test_memory_asked_for_during_a_call_is_given_back_as_at_any_other_time():
    """Shapes that had too little memory are tried again, whenever it was asked for."""
    graphs = graph_store.Graphs(Machine(torch.device("cpu")))
    graphs._refuse("another shape", "too little memory")
    calls_of(graphs, graphs.release)
    assert not graphs._refused
    for number in range(1000):
        graphs._refuse(number, "no")
    assert len(graphs._refused) <= 64, "a table with a bound"
