"""Copies of a patched model, several threads with one model, and the host's split over devices (of the CPU here)."""

from __future__ import annotations

import copy
import importlib.util
import threading
import traceback

import comfy.model_management
import pytest
import torch
from hilo_token.comfy_bridge.patch import Patch, patch_model

from .cases import case, patcher
from .conftest import BALANCED, FLUX, SIZE
from .models import SMALL, flux


def test_deep_copy_of_a_patched_model():
    model, edit = patcher(flux()), case(FLUX, *SIZE)
    try:
        copy.deepcopy(model)
    except TypeError:  # a patcher of newer hosts cannot be copied, patched or not
        return
    patched = patch_model(model, Patch(BALANCED))
    assert torch.equal(edit.sample(copy.deepcopy(patched)), edit.sample(patched))


def test_two_threads_with_one_model():
    """The host itself fails at times then; a result is never wrong, and no failure is the pack's."""
    patched = patch_model(patcher(flux()), Patch(BALANCED))
    edits = [case(FLUX, *SIZE), case(FLUX, *SIZE, edit=(12, 20, 16, 28))]
    wanted = [edit.sample(patched) for edit in edits]
    wrong, errors = [], []

    def sample(edit, want):
        try:
            with torch.no_grad():
                if not torch.equal(edit.sample(patched), want):
                    wrong.append(edit)
        except Exception as error:
            errors.append(traceback.extract_tb(error.__traceback__)[-1].filename)

    for _ in range(8):
        threads = [threading.Thread(target=sample, args=pair) for pair in zip(edits, wanted, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong and not [name for name in errors if "hilo_core" in name or "comfy_bridge" in name], errors
    assert len(errors) < 12
    assert all(torch.equal(edit.sample(patched), want) for edit, want in zip(edits, wanted, strict=True))


if importlib.util.find_spec("comfy.multigpu"):  # hosts from 0.23
    from comfy.multigpu import create_multigpu_deepclones

    @pytest.mark.parametrize("split_first", [True, False])
    @pytest.mark.parametrize("name", ["flux", "qwen", "sd3", "wan", "z_image"])
    def test_split_over_devices(name, split_first, monkeypatch):
        """Two conditionings on two devices give what one device gives, run after run."""
        devices = [torch.device("cpu"), torch.device("cpu", 1)]
        monkeypatch.setattr(comfy.model_management, "get_all_torch_devices", lambda exclude_current=False: devices)
        small = next(s for s in SMALL if s.build.__name__ == name)
        model, edit, reports = patcher(small.build()), case(small, 32, 40), []
        model.cached_patcher_init = (lambda disable_dynamic=False: patcher(small.build()), ())
        want = edit.sample(patch_model(model, Patch(BALANCED)), steps=2, cfg=3.0)
        patch = Patch(BALANCED, on_report=reports.append)
        both = (
            patch_model(create_multigpu_deepclones(model, 2), patch)
            if split_first
            else create_multigpu_deepclones(patch_model(model, patch), 2)
        )
        for _ in range(2):
            assert (edit.sample(both, steps=2, cfg=3.0) - want).abs().max() < 1e-4
            assert reports[-1].compressed_steps == 2 and not reports[-1].reason
