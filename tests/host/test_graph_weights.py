"""Where weights lie: what stays, what moved, and the pages of dynamic VRAM, by a stand-in for comfy-aimdo."""

from __future__ import annotations

import ctypes

import pytest
import torch
from hilo_token.comfy_bridge.weights import Unfixed, Weights

CPU, PAGE = torch.device("cpu"), 64


class Pages:
    """Pages of `PAGE` bytes, each with a signature that changes when it is taken away and given again."""

    def __init__(self, count):
        self.base_addr, self.offset = 4096, 0
        self.signatures, self.resident, self.pins, self.full = list(range(1, count + 1)), [True] * count, 0, False

    def alloc(self, size):
        self.offset += size
        return self, self.base_addr + self.offset - size, size

    def fault(self, start, size):
        if self.full:
            return None
        first = (start - self.base_addr) // PAGE
        pages = range(first, (start - self.base_addr + size - 1) // PAGE + 1)
        for page in pages:
            if not self.resident[page]:
                self.resident[page], self.signatures[page] = True, self.signatures[page] + 1000
        self.pins += 1
        return (ctypes.c_uint32 * (size // PAGE + 2))(*[self.signatures[page] for page in pages])

    def unpin(self, start, size):
        self.pins -= 1


class Paged(torch.nn.Module):
    """Two layers whose weights are pages, and a small one that is not."""

    def __init__(self):
        super().__init__()
        self.large, self.other, self.small = (torch.nn.Linear(4, 4) for _ in range(3))
        self.vbar = Pages(3)
        self.dynamic_vbars, self.current_weight_patches_uuid = {CPU: self.vbar}, "a"
        for layer in (self.large, self.other):
            layer._v = self.vbar.alloc(PAGE)
            layer._v_signature = self.vbar.fault(layer._v[1], PAGE)
            self.vbar.unpin(layer._v[1], PAGE)


def holds(weights, model):
    """Whether a graph may be replayed."""
    with weights.in_place(model) as same:
        return same


def test_pages_that_stay():
    """Run after run, also where small weights are loaded anew; pinned within, and only within."""
    model = Paged()
    weights = Weights(model, CPU)
    model.small.weight = torch.nn.Parameter(model.small.weight.clone())
    assert holds(weights, model) and model.vbar.pins == 0
    with weights.in_place(model):
        assert model.vbar.pins == 1
    assert weights.known().holds(model.vbar.base_addr + 5) and not weights.known().holds(
        model.vbar.base_addr + 2 * PAGE
    )


def taken(model):
    model.vbar.resident[1] = False


def full(model):
    model.vbar.full = True


def loaded_anew(model):
    model.other._v_signature = model.vbar.fault(*model.other._v[1:])


def dirty(model):
    model.large._v_signature = None


def other_lora(model):
    model.current_weight_patches_uuid = "b"


def no_page(model):
    del model.other._v


@pytest.mark.parametrize("change", [taken, full, loaded_anew, dirty, other_lora, no_page])
def test_pages_that_moved(change):
    """A page taken away, a full card, weights written anew, other weight patches: no replay, nothing stays pinned."""
    model = Paged()
    weights = Weights(model, CPU)
    change(model)
    pins = model.vbar.pins
    assert not holds(weights, model) and model.vbar.pins == pins


@pytest.mark.parametrize("change", [taken, full, dirty])
def test_pages_that_are_not_there(change):
    """No capture, until the model has run and they are."""
    model = Paged()
    change(model)
    with pytest.raises(Unfixed, match="not on the GPU"):
        Weights(model, CPU)
    assert model.vbar.pins == 0


def test_offloaded_weights():
    """One layer on another device."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4, device="meta"))
    with pytest.raises(Unfixed, match="not on the GPU"):
        Weights(model, CPU)


def test_weights_that_are_made_anew():
    """By functions of the host's, in each layer."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    model[0].weight_function = [lambda weight: weight]
    with pytest.raises(Unfixed, match="patched"):
        Weights(model, CPU)


def test_tensors_that_are_no_parameters():
    """A constant that a module keeps as an attribute counts as a weight, as long as it is the same."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    model[0].table = torch.ones(3)
    weights = Weights(model, CPU)
    assert holds(weights, model) and weights.known().holds(model[0].table.untyped_storage().data_ptr())
    model[0].table = torch.ones(3)
    assert not holds(weights, model)
