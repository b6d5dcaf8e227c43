"""Shared by the tests on small models."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management as management
import folder_paths
import pytest
import torch
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.hilo_core.presets import preset
from hilo_token.hilo_core.schedule import Schedule

from tools.pack import load_pack

from .cases import patcher
from .models import SMALL, flux

FLUX = SMALL[0]
BALANCED = replace(preset("balanced"), schedule=Schedule())
ALL = replace(BALANCED, tokens=replace(BALANCED.tokens, dilation=1000.0))
SIZE = (24, 32)


@pytest.fixture(scope="session", autouse=True)
def enough_memory():
    """The host batches conditionings by the memory that is free, which changes while other programs run."""

    def free(device=None, torch_free_too=False):
        return (1 << 40, 1 << 40) if torch_free_too else 1 << 40

    with pytest.MonkeyPatch.context() as patching:
        if management.get_torch_device().type == "cpu":
            patching.setattr(management, "get_free_memory", free)
        yield


@pytest.fixture(scope="module")
def model():
    """One small FLUX for all tests of a module."""
    return patcher(flux())


@pytest.fixture
def holds(run_log):
    """Checks a model with something on it: all kept == dense, outside unchanged, compressed. Gives dense and strip."""

    def check(model, edit, patched=None, plain=None, words="compressed steps", outside=0.0, **sampling):
        sampling.setdefault("steps", 2)
        patched = patched or (lambda patch: patch_model(model, patch))
        dense = edit.sample(model, **sampling)
        every = edit.sample(patched(Patch(ALL, longest=1.0)), **sampling)
        assert (every - dense).abs().max().item() == 0.0
        out = edit.sample(patched(Patch(BALANCED)), **sampling)
        assert torch.isfinite(out).all()
        kept = (edit.mask == 0).reshape(edit.mask.shape[0], 1, *[1] * (out.ndim - 4), *out.shape[-2:]).expand_as(out)
        assert (out - dense)[kept].abs().max().item() <= outside
        assert words in run_log()[-1], run_log()[-1]
        if plain is not None:  # the feature reaches the strip
            assert not torch.equal(dense, edit.sample(plain, **sampling))
            assert not torch.equal(out, edit.sample(patch_model(plain, Patch(BALANCED)), **sampling))
        return dense, out

    return check


@pytest.fixture(scope="session", autouse=True)
def user_folder(tmp_path_factory):
    """The host's user folder, so that no test finds or leaves comparisons in a real one."""
    before, found = folder_paths.get_user_directory(), tmp_path_factory.mktemp("user")
    folder_paths.set_user_directory(str(found))
    yield found
    folder_paths.set_user_directory(before)


@pytest.fixture(scope="module")
def sources():
    return load_pack("nodes.preview.sources")


@pytest.fixture(scope="module")
def preview():
    schema = load_pack("nodes.token_select").HiLoTokenSelect.define_schema()
    return lambda asked: load_pack("nodes.preview.route").preview({"values": {}} | asked, schema)


@pytest.fixture(scope="module")
def select():
    return load_pack("nodes.token_select").HiLoTokenSelect


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The host's input folder, empty."""
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda *_: str(tmp_path))
    return tmp_path
