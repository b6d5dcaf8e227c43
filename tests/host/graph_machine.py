"""Graphs without CUDA, for tests: a stand-in records a call's inputs and repeats it from its buffers.

Whatever a real graph would repeat wrongly (a turn's positions, another step's sigma) is repeated wrongly here as well.
"""

from __future__ import annotations

import pytest
from hilo_token.comfy_bridge import graph_store
from hilo_token.comfy_bridge.patch import Patch, patch_model

from .conftest import BALANCED


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
        return object()

    def between(self, start, stop):
        assert start is not None and stop is not None
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


def sampled(patched, edit, **sampling):
    """(result, the report's line)"""
    reports = []
    return edit.sample(patched(Patch(BALANCED, on_report=reports.append)), **sampling), reports[-1].line()
