"""What a run reuses of the one before it."""

from __future__ import annotations

import torch
from hilo_token.comfy_bridge import codec, planning
from hilo_token.comfy_bridge.memo import Memo
from hilo_token.comfy_bridge.patch import Patch, patch_model

from .cases import case
from .conftest import BALANCED, FLUX, SIZE


def test_found_by_what_arguments_hold():
    """Equal tensors are the same argument, a changed one, another type or another object is not; few are kept."""
    calls = []
    double = Memo(lambda x, n, thing: calls.append(1) or x * n, most=2)
    x, thing = torch.arange(3.0), object()
    first = double(x, 2, thing)
    assert double(x.clone(), 2, thing) is first and len(calls) == 1
    x[0] = 5
    assert double(x, 2, thing)[0] == 10 and double(torch.arange(3.0), 2, thing) is first
    for args in ((x, 3, thing), (x.double(), 2, thing), (x, 2, object()), (x, 2.0, thing)):
        before = len(calls)
        double(*args)
        assert len(calls) == before + 1
    assert len(double._known) == 2


def test_same_mask_again(model, monkeypatch):
    """No second plan, no second index maps, the same result; another mask or picture is planned anew."""
    made = []
    for module, name in ((planning, "_detail"), (planning, "_make_plan"), (codec, "_maps")):
        plain = getattr(module, name).function
        memo = Memo(lambda *args, plain=plain, name=name: made.append(name) or plain(*args))
        monkeypatch.setattr(module, name, memo)
    patched, edit = patch_model(model, Patch(BALANCED)), case(FLUX, *SIZE)
    first = edit.sample(patched)
    assert sorted(set(made)) == ["_detail", "_make_plan", "_maps"]
    made.clear()
    assert torch.equal(edit.sample(patched), first) and not made
    edit.mask = edit.mask.flip(-1)
    edit.sample(patched)
    assert made == ["_make_plan", "_maps"]
    made.clear()
    edit.latent = edit.latent.flip(-2)
    edit.sample(patched)
    assert made == ["_detail", "_make_plan", "_maps"]
