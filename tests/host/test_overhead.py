"""What a compressed step costs beside the model, counted and never timed: a busy machine counts the same.

On a GPU each operation is a launch, and a short strip is bound by launches; an operation that waits for the GPU
costs more than all of them. Views launch nothing and are left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from hilo_token.comfy_bridge.patch import Patch, patch_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from .cases import case, patcher
from .conftest import BALANCED
from .models import SMALL, flux

CELLS = replace(BALANCED, tokens=replace(BALANCED.tokens, native=False))  # low-frequency tokens are averages
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal.default", "_unique")
CONVERTING = ("_to_copy", "lift_fresh")  # from a number, a list, another device or type


@dataclass
class Counted(TorchDispatchMode):
    """The operations of one model call: how many of each name, elements that they wrote."""

    names: Counter = field(default_factory=Counter)
    written: int = 0

    def __post_init__(self):
        super().__init__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Count one, and do it."""
        out = function(*args, **(kwargs or {}))
        name = str(function).removeprefix("aten.")
        if not function.is_view or name.startswith(CONVERTING):
            if "index" in name and any(t.dtype == torch.bool for t in _tensors(args[1:])):
                name = f"nonzero by {name}"  # what a boolean index does inside
            self.names[name] += 1
            self.written += sum(t.numel() for t in _tensors([out]))
        return out


def _tensors(values):
    """Tensors in nested lists."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def calls(model, edit, steps=3, **sampling):
    """What each model call of a run did: [(Counted, floating-point operations)]."""
    counted = []

    def count(executor, *args, **kwargs):
        with FlopCounterMode(display=False) as flops, Counted() as one:
            out = executor(*args, **kwargs)
        counted.append((one, flops.get_total_flops()))
        return out

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
    edit.sample(clone, steps=steps, **sampling)
    return counted


def masked(model):
    """The model with a mask of zeros in each attention that has none: it changes nothing, and the host takes it into
    account."""
    zeros = {}

    def attend(function, q, k, v, heads, mask=None, *args, **kwargs):
        keys = k.shape[2] if kwargs.get("skip_reshape") else k.shape[1]
        mask = zeros.setdefault(keys, torch.zeros(1, 1, 1, keys)) if mask is None else mask
        return function(q, k, v, heads, mask, *args, **kwargs)

    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = attend
    return clone


def more(compressed, dense):
    """What the one did and the other did not."""
    difference = Counter(compressed.names)
    difference.subtract(dense.names)
    return {name: number for name, number in difference.items() if number > 0}


@pytest.mark.parametrize("preset_", [BALANCED, CELLS], ids=["native", "cells"])
@pytest.mark.parametrize("small", SMALL, ids=lambda s: s.build.__name__)
def test_few_operations_beside_the_model(small, preset_):
    """Two gathers and a sum; averages are noised and joined on besides. Nothing waits, nothing is converted. Beside a
    dense call whose attention has a mask as well, for which some of the host's own code copies keys and values."""
    model, edit = patcher(small.build()), case(small, *small.allowed(48, 48))
    (dense, _), *_ = calls(masked(model), edit, steps=1)
    reports, more_pictures = [], 12 * (small.build.__name__ == "vace")  # its own input on the picture's grid
    counted = calls(patch_model(model, Patch(preset_, on_report=reports.append)), edit)[1:]
    if reports[0].reason:
        assert "averaged" in reports[0].reason and preset_ is CELLS
        return
    for compressed, _ in counted:
        extra = more(compressed, dense)
        assert extra["gather.default"] >= 2 and "scatter.src" not in extra  # it did run as a strip
        assert sum(extra.values()) <= (4 if preset_ is BALANCED else 11) + more_pictures, (
            extra
        )  # newer hosts noise with more
        assert not [name for name in extra if name.startswith((*WAITING, *CONVERTING))], extra


def test_no_conversion_in_a_half_precision_model():
    """The bias has the type of the model's attention, which a conversion in each attention call would be for."""
    model = flux().to(torch.bfloat16)
    model.diffusion_model.dtype = torch.bfloat16
    model, edit = patcher(model), case(SMALL[0], 48, 48)
    (dense, _), *_ = calls(model, edit, steps=1)
    compressed = calls(patch_model(model, Patch(BALANCED)), edit)[-1][0]
    extra = more(compressed, dense)
    assert "gather.default" in extra and not [n for n in extra if n.startswith(CONVERTING)], extra


@pytest.mark.parametrize("kind", ["fill", "references"])
@pytest.mark.parametrize("preset_", [BALANCED, CELLS], ids=["native", "cells"])
def test_conditioning_on_the_grid(preset_, kind):
    """Fill's channels, references, for two conditionings of a batch: still a handful, still without waiting."""
    model, edit = patcher(flux(in_channels=96 if kind == "fill" else 16)), case(SMALL[0], 48, 48, batch=2)
    for cond in (*edit.positive, *edit.negative):
        cond[1] |= {
            "concat_latent_image": edit.latent.flip(-1),
            "concat_mask": torch.nn.functional.interpolate(edit.mask, scale_factor=8),
        } if kind == "fill" else {"reference_latents": [edit.latent[:1], edit.latent[:1, :, :20, :20]]}  # fmt: skip
    (dense, _), *_ = calls(model, edit, steps=1, cfg=2.0)
    for compressed, _ in calls(patch_model(model, Patch(preset_, coarse_references=2)), edit, cfg=2.0)[1:]:
        extra = more(compressed, dense)
        assert extra["gather.default"] >= 2 and sum(extra.values()) <= (16 if preset_ is BALANCED else 32), extra
        assert not [name for name in extra if name.startswith((*WAITING, *CONVERTING))], extra


def test_the_count_finds_what_it_looks_for():
    """The checks above would see an item, a boolean index, a conversion, a table made anew."""
    x = torch.arange(4.0)
    with Counted() as one:
        x.max().item()
        x[x > 1]
        x.double()
        torch.tensor([1.0, 2.0])
    found = {word for word in (*WAITING, *CONVERTING) for name in one.names if name.startswith(word)}
    assert found == {"_local_scalar_dense", "nonzero", "_to_copy", "lift_fresh"}


def test_strip_costs_what_its_tokens_cost():
    """A strip of n tokens of a 1024x1024 picture beside a dense run of a picture of n tokens, on a wider model:
    floating-point operations, operations, and elements written (the whole latent is touched twice, not more)."""
    model, edit = patcher(flux(hidden_size=1024, num_heads=8)), case(SMALL[0], 128, 128, edit=(40, 60, 40, 72))
    reports = []
    strip, strip_flops = calls(patch_model(model, Patch(BALANCED, on_report=reports.append)), edit)[-1]
    count = reports[0].kept
    assert 64 <= count < 1024
    dense, dense_flops = calls(model, case(SMALL[0], 2, 2 * count, edit=(0, 2, 0, 8)), steps=1)[0]
    assert dense_flops > 1e9 and strip_flops <= 1.02 * dense_flops
    assert strip.names.total() <= dense.names.total() + 3
    assert strip.written <= 1.10 * dense.written
