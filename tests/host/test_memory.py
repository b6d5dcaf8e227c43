"""What the host is told about memory before it loads a model, and what happens where a call is dense after all."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management as management
import pytest
from comfy.patcher_extension import WrappersMP
from hilo_token.comfy_bridge import memory
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.hilo_core.presets import preset
from hilo_token.hilo_core.schedule import Schedule

from .cases import case, patcher
from .conftest import BALANCED, FLUX
from .models import SMALL, flux


@pytest.fixture
def asked(monkeypatch):
    """Bytes that the host reserves for each run: (wanted, at least)."""
    found, load = [], management.load_models_gpu

    def record(models, memory_required=0, *args, **kwargs):
        found.append((memory_required, kwargs.get("minimum_memory_required")))
        return load(models, memory_required, *args, **kwargs)

    monkeypatch.setattr(management, "load_models_gpu", record)
    return found


@pytest.mark.parametrize("small", SMALL, ids=lambda s: s.build.__name__)
def test_room_for_a_strip(small, asked):
    """As much less as there are fewer tokens, and again for each run."""
    model, edit, reports = patcher(small.build()), case(small, *small.allowed(64, 64)), []
    patched = patch_model(model, Patch(preset("balanced"), on_report=reports.append))
    for one in (model, patched, patched, model):
        edit.sample(one, steps=1)
    dense, strip, again, last = asked
    share = reports[-1].kept / reports[-1].total
    assert dense == last and strip == again
    assert strip[0] == pytest.approx(share * dense[0]) and strip[1] == pytest.approx(share * dense[1])


@pytest.mark.parametrize("kind", ["dense step", "spot check", "refused", "off"])
def test_room_for_dense_steps(kind, asked):
    """Where the whole picture will be seen, the host keeps what it always keeps."""
    model, edit = patcher(flux()), case(FLUX, 64, 64)
    chosen = {"dense step": replace(BALANCED, schedule=Schedule(last=1)), "off": preset("off")}.get(kind, BALANCED)
    edit.sample(model, steps=1)
    if kind == "refused":
        edit.mask = edit.mask.zero_()
    edit.sample(patch_model(model, Patch(chosen, spot_check=kind == "spot check")), steps=2)
    assert asked[0] == asked[1]


def test_dense_after_all(monkeypatch):
    """Weights are offloaded until a dense call has its room, once the host has freed what others hold."""
    model, edit, freed = patcher(flux()), case(FLUX, 64, 64), []
    left = [1000]
    monkeypatch.setattr(memory.management, "get_free_memory", lambda device: left[0])

    def free(wanted, device, keep_loaded=()):
        freed.append(("others", [loaded.model for loaded in keep_loaded]))
        left[0] += 500

    monkeypatch.setattr(memory.management, "free_memory", free)
    network = model.model
    network.current_patcher = model
    monkeypatch.setattr(model, "partially_unload", lambda device, missing: freed.append(("own", missing)))
    x = edit.latent.to("meta")  # a device that is not the CPU
    needed = network.memory_required(list(x.shape))
    memory.make_room(network, x)
    assert freed[0][0] == "others" and freed[1] == ("own", needed - 1500)
    freed.clear()
    left[0] = needed + 1
    memory.make_room(network, x)
    assert not freed


def test_a_call_that_has_to_be_dense_asks_for_room(monkeypatch):
    """Before it, and only then."""
    from hilo_token.comfy_bridge import run

    model, edit, asked = patcher(flux()), case(FLUX, 32, 40), []
    monkeypatch.setattr(run, "make_room", lambda network, x: asked.append(tuple(x.shape)))
    edit.sample(patch_model(model, Patch(BALANCED)))
    assert not asked
    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "unknown", lambda executor, *a, **k: executor(*a, **k))
    edit.sample(patch_model(clone, Patch(BALANCED)), steps=2)
    assert asked == [tuple(edit.latent.shape)] * 2
