"""A run's state lives in the run: nothing is left by exceptions, interrupts, clones, second prompts, many sizes."""

from __future__ import annotations

import gc
from dataclasses import replace

import comfy.model_management
import psutil
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from hilo_token.comfy_bridge.call import KEY
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.positions import idle
from hilo_token.hilo_core.schedule import Schedule

from .cases import case, patcher
from .conftest import ALL, BALANCED, FLUX, SIZE
from .models import flux


class Broken(Exception):
    """Raised by a model on purpose."""


def live_tensors():
    """Tensors that Python still knows."""
    gc.collect()
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())


def assert_idle(patched):
    """No state of a run on a patched model."""
    assert KEY not in patched.model_options["transformer_options"]
    assert idle()


@pytest.mark.parametrize("error", [Broken, comfy.model_management.InterruptProcessingException])
@pytest.mark.parametrize("calls", [1, 2, 3, 5])
def test_failure_in_a_model_call(error, calls):
    """While positions are asked for (the first call of the embedding), or in a strip; the next run is as ever."""
    model = patcher(flux())
    edit = case(FLUX, *SIZE)
    patched = patch_model(model, Patch(BALANCED))
    good, dense = edit.sample(patched), edit.sample(model)
    edit.sample(patched)
    tensors, left = live_tensors(), [calls]

    def fail(*_):
        left[0] -= 1
        if left[0] == 0:
            raise error

    handle = model.model.diffusion_model.img_in.register_forward_pre_hook(fail)
    with pytest.raises(error):
        edit.sample(patched)
    handle.remove()
    assert_idle(patched)
    assert live_tensors() <= tensors
    assert torch.equal(edit.sample(patched), good)
    assert torch.equal(edit.sample(model), dense)


def test_clones_of_clones(model, run_log):
    """Each clone runs for itself, with its own settings, also interleaved; the original stays dense."""
    edit = case(FLUX, *SIZE)
    first = patch_model(model, Patch(BALANCED))
    whole = patch_model(first.clone().clone(), Patch(replace(ALL, schedule=Schedule(first=1)), longest=1.0))
    third = first.clone().clone()
    dense = edit.sample(model)
    strip = edit.sample(first)
    assert torch.equal(edit.sample(whole), dense)
    assert torch.equal(edit.sample(third), strip)
    assert torch.equal(edit.sample(first.clone()), strip)
    assert torch.equal(edit.sample(model), dense)
    assert all(" compressed steps" in line for line in run_log()[-4:] if "patched before" not in line)
    for one in (first, whole, third):
        assert_idle(one)
    assert not model.object_patches


def test_same_model_for_the_next_prompt(model, run_log):
    """The host keeps a node's output: the same MODEL samples again, other picture, other size, and is not dense."""
    patched = patch_model(model, Patch(BALANCED))
    results = []
    for size in (SIZE, (36, 20), SIZE, (36, 20)):
        results.append(case(FLUX, *size).sample(patched, steps=2))
        assert "2 compressed steps" in run_log()[-1]
    assert torch.equal(results[0], results[2]) and torch.equal(results[1], results[3])


def growth(patched, runs=50):
    """(tensors, bytes) that runs of varied sizes leave, after a warm-up over some of the same sizes."""
    sizes = [(16 + 2 * (i * 7 % 13), 16 + 2 * (i * 5 % 11)) for i in range(runs)]

    def run_all(some):
        for height, width in some:
            case(FLUX, height, width).sample(patched, steps=2)

    run_all(sizes[:12])
    tensors, memory = live_tensors(), psutil.Process().memory_info().rss
    run_all(sizes)
    return live_tensors() - tensors, psutil.Process().memory_info().rss - memory


def test_fifty_runs_of_varied_size_keep_nothing(model):
    """Counted tensors and measured memory."""
    patched = patch_model(model, Patch(replace(BALANCED, schedule=Schedule(first=1))))
    tensors, memory = growth(patched)
    assert tensors <= 0
    assert memory < 48 * 2**20
    assert_idle(patched)


@pytest.mark.parametrize(("size", "counted"), [(0, "tensors"), (12 * 2**20, "bytes")])
def test_a_leak_is_found(model, size, counted):
    """A patch that keeps one tensor of each run, or as many bytes without a tensor: the check above would see it."""
    patched, kept = patch_model(model, Patch(BALANCED)), []

    def keep(executor, noise, *args, **kwargs):
        kept.append(bytearray(b"x" * size) if size else noise.clone())
        return executor(noise, *args, **kwargs)

    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "leak", keep)
    tensors, memory = growth(patched, runs=16)
    if counted == "tensors":
        assert tensors >= 16
    else:  # less than 16 times the size where the process had memory to spare
        assert memory >= 48 * 2**20


def test_patched_twice_is_said(model, run_log):
    """The last patch counts, in the result and in the log; the first model is as it was."""
    first, edit = patch_model(model, Patch(ALL, longest=1.0)), case(FLUX, *SIZE)
    second = patch_model(first, Patch(BALANCED))
    assert run_log()[-1] == "HiLo-Token: the model was patched before; the last patch counts."
    assert torch.equal(edit.sample(second), edit.sample(patch_model(model, Patch(BALANCED))))
    assert torch.equal(edit.sample(first), edit.sample(model))
