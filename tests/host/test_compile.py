"""With torch.compile: the host's own wrapper and node, before and after this patch; compiled once, not in each step."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_torch_compile import TorchCompileModel
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.positions import eagerly
from hilo_token.hilo_core.schedule import Schedule

from .cases import case, patcher
from .conftest import BALANCED, FLUX, SIZE
from .models import flux

FIRST = Patch(replace(BALANCED, schedule=Schedule(first=1)))


@pytest.fixture(autouse=True)
def graphs():
    """The number of graphs compiled so far, from 0 in each test."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield lambda: torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


@pytest.mark.parametrize("first", ["compile", "hilo"])
def test_torch_compile(holds, first):
    """The host's own compile wrapper, before and after this patch; the eager backend traces as the others do."""
    model = patcher(flux())

    def compiled(m):
        clone = m.clone()
        set_torch_compile_wrapper(clone, backend="eager", dynamic=False)
        return clone

    def patched(patch):
        return patch_model(compiled(model), patch) if first == "compile" else compiled(patch_model(model, patch))

    holds(compiled(model), case(FLUX, *SIZE), patched, steps=3)


def test_compiled_steps_do_not_recompile(graphs):
    """Dense steps and strips have as many graphs each as the model alone, however many steps and runs follow."""
    clone, edit = patcher(flux()), case(FLUX, *SIZE)
    set_torch_compile_wrapper(clone, backend="eager", dynamic=False)
    edit.sample(clone, steps=2)
    alone = graphs()
    patched = patch_model(clone, FIRST)
    edit.sample(patched, steps=4)
    both = graphs() - alone
    edit.sample(patched, steps=8)
    assert 0 < alone < both <= 2 * alone and graphs() - alone == both


def test_trials_of_two_threads_that_overlap_leave_compiling_on(graphs):
    """The first to come is the first to go: torch's stance is of the whole process."""
    one, other = eagerly(), eagerly()
    one.__enter__()
    other.__enter__()
    twice = torch.compile(lambda x: 2 * x, backend="eager")
    for trial in (one, other):
        twice(torch.ones(1))
        assert graphs() == 0
        trial.__exit__(None, None, None)
    twice(torch.ones(1))
    assert graphs() == 1


def test_inductor(graphs):
    """The host's TorchCompileModel node and its default backend, for strips. Without a GPU it compiles C++: about
    ten seconds."""
    compilers = [name for name in ("g++", "clang++", "cl") if shutil.which(name)]
    assert compilers or torch.cuda.is_available(), "torch.compile needs a C++ compiler: install g++, clang or MSVC"
    model, edit = patcher(flux(depth_single_blocks=1)), case(FLUX, *SIZE)
    patched = patch_model(model, Patch(BALANCED))
    compiled = TorchCompileModel.execute(patched, "inductor").args[0]
    out = edit.sample(compiled, steps=2)
    once = graphs()
    assert torch.equal(edit.sample(compiled, steps=2), out)
    edit.sample(compiled, steps=5)
    assert 0 < once == graphs()
    strip, dense = edit.sample(patched, steps=2), edit.sample(model, steps=2)
    assert (out - strip).abs().max() < 1e-3 < (strip - dense).abs().max()
    assert (out - dense)[(edit.mask == 0).expand_as(out)].abs().max().item() == 0.0
