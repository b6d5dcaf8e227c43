"""When a compressed call becomes a CUDA graph, and how long graphs are kept.

The second call of a shape is captured where the processor is the slower part; later calls, also those of later runs,
are replayed for as long as the model's weights stay where they are. Graphs are kept for each model and within a budget
of memory; the host's requests for memory, an error for want of it, a change of weights and an unloaded model end them.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import comfy.model_management
import torch
from comfy.patcher_extension import CallbacksMP
from torch import Tensor

from .call import KEY, Call
from .graph import CudaMachine, Execute, Graph, names, shape_key
from .graph_rules import Eager, refuse_call, refuse_run, settings, wanted
from .reasons import out_of_memory
from .weights import Unfixed, Weights

MOST = 12  # graphs of one model
PATIENT = 24  # so many calls of a shape are worth a graph even where the GPU is the slower part
BOUND = 1.5  # a call whose kernels take more than this times its launching is not slowed down by the processor
_SHAPES = 64  # of calls that are remembered
_SMALL = "there is too little memory for a graph"
_MOVES = "the model's weights are not where they were a call before"


class Trial:
    """The first call of a shape, made as it is, and how many such calls there were."""

    def __init__(self, machine: Any) -> None:
        self.machine, self.calls = machine, 0
        self.start, self.stop, self.launching = None, None, 0.0

    def run(self, execute: Execute, inputs: Any) -> Tensor:
        """Make one call; one that fails does not count."""
        start, clock = None if self.calls else self.machine.mark(), time.perf_counter()
        out = execute(inputs, False)
        if not self.calls:
            self.start, self.launching, self.stop = start, time.perf_counter() - clock, self.machine.mark()
        self.calls += 1
        return out

    def pays(self) -> bool:
        """Whether a graph would be faster, as far as is known. Does not wait for the GPU."""
        if self.calls == 0:
            return False
        spent = self.machine.between(self.start, self.stop)
        return self.calls >= PATIENT or (spent is not None and spent <= BOUND * self.launching)


class Graphs:
    """The graphs of one model on one device.

    made: a `CudaMachine`. `note` says why the last call was made without a graph, '' after one with a graph or where
    one is still to come.
    """

    def __init__(self, machine: Any) -> None:
        self.machine, self.note, self.replays = machine, "", 0
        self._kept: dict[Any, Graph] = {}
        self._trials: dict[Any, Trial] = {}
        self._refused: dict[Any, str] = {}
        self._watched: set[Any] = set()  # kinds of calls that were found to read nothing but weights and inputs
        self._pool: Any = None
        self.bytes = 0
        self._lock, self._ending = threading.Lock(), False

    def __call__(self, model: Any, key: Any, inputs: Any, execute: Execute) -> Tensor:
        """execute(inputs, False), by a graph where there is one or one is worth capturing."""
        if not self._lock.acquire(blocking=False):
            self.note = "another run uses the same model"
            return execute(inputs, False)
        try:
            return self._call(model, key, inputs, execute)
        finally:
            self._lock.release()
            if self._ending:
                self.release()

    def _call(self, model: Any, key: Any, inputs: Any, execute: Execute) -> Tensor:
        self.note = ""
        if key in self._kept:
            if (out := self._replay(model, key, inputs)) is not None:
                return out
            self._drop()  # the weights are elsewhere
        if key in self._refused:
            self.note = self._refused[key]
            return execute(inputs, False)
        if key not in self._trials:
            self._forget_oldest(self._trials, _SHAPES)
            self._trials[key] = Trial(self.machine)
        trial = self._trials[key]
        if trial.pays():
            try:
                return self._captured(model, key, inputs, execute)
            except Unfixed as reason:
                self.note = str(reason)
        out = trial.run(execute, inputs)
        if trial.calls > 1:
            self.note = self.note or "the GPU is the slower part"
        return out

    def _replay(self, model: Any, key: Any, inputs: Any) -> Tensor | None:
        """None where its weights are not in place."""
        self._kept[key] = graph = self._kept.pop(key)  # the last one used is the last to go
        with graph.weights.in_place(model) as same:
            if not same:
                return None
            self.replays += 1
            return graph(inputs)

    def _captured(self, model: Any, key: Any, inputs: Any, execute: Execute) -> Tensor:
        """Capture a call, then make it. Unfixed where the weights have no place of their own."""
        weights, kind = Weights(model, self.machine.device), names(inputs)
        if len(self._kept) >= MOST:
            self.machine.wait()
            self._forget_oldest(self._kept, MOST)
        self.machine.tidy()
        before = self.machine.reserved()
        if not self._kept:
            self._pool = self.machine.pool()
        try:
            graph = Graph(self.machine, execute, inputs, self._pool, weights, kind not in self._watched)
        except comfy.model_management.InterruptProcessingException:
            raise
        except (Eager, Exception) as error:
            if out_of_memory(error):
                self._drop()
            self._refuse(key, _words(error))
            return execute(inputs, False)
        self._watched.add(kind)
        self.bytes += max(0, self.machine.reserved() - before)
        self._kept[key] = graph
        out = self._replay(model, key, inputs)
        if out is None or not fits(self):
            self._drop()
            self._refuse(key, _MOVES if out is None else _SMALL)
            self.note = _MOVES if out is None else ""
        return execute(inputs, False) if out is None else out

    def _refuse(self, key: Any, why: str) -> None:
        self._forget_oldest(self._refused, _SHAPES)
        self.note = self._refused[key] = why

    def _forget_oldest(self, table: dict[Any, Any], most: int) -> None:
        while len(table) >= most:
            table.pop(next(iter(table)))

    def _drop(self) -> None:
        """Give all memory back; shapes that were seen are captured at once when they come again."""
        if self._kept:
            self.machine.wait()
        for graph in self._kept.values():
            graph.captured.reset()
        self._kept.clear()
        self._pool = None
        self.bytes, self._ending = 0, False

    def release(self) -> None:
        """Give all memory back: at once, or at the end of the call that is under way."""
        self._ending = True
        if self._lock.acquire(blocking=False):
            self._drop()
            self._refused.clear()
            self._lock.release()

    @property
    def count(self) -> int:
        """Graphs that are kept."""
        return len(self._kept)


def _words(error: BaseException) -> str:
    """Why a call could not be captured."""
    if out_of_memory(error):
        return _SMALL
    return str(error) if isinstance(error, Eager) else f"the model cannot be captured ({_first_line(error)})"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:80]


_found: WeakKeyDictionary[Any, Graphs] = WeakKeyDictionary()


def graphs_of(model: Any, device: torch.device) -> Graphs:
    """The graphs of the host's BaseModel; those of another device are given back."""
    found = _found.get(model)
    if found is None or found.machine.device != device:
        if found is not None:
            found.release()
        found = _found[model] = Graphs(CudaMachine(device))
    return found


def fits(newest: Graphs) -> bool:
    """Whether all graphs on a device fit into its budget, without those of other models where need be."""
    budget = newest.machine.budget()
    others = [g for g in _found.values() if g is not newest and g.machine.device == newest.machine.device]
    if newest.bytes + sum(g.bytes for g in others) > budget:
        for graphs in others:
            graphs.release()
    return bool(newest.bytes <= budget)


def release(model: Any) -> None:
    """Give back the memory of a model's graphs."""
    if (found := _found.get(model)) is not None:
        found.release()


def detached(patcher: Any, unpatch_all: bool = True) -> None:
    """The host's callback: it unloads the model, or, without `unpatch_all`, another clone takes this one's place."""
    if unpatch_all:
        release(patcher.model)


def end_with_the_model(patcher: Any) -> None:
    """Give graphs back when the host unloads the model: through this patcher or, once it is gone, through the one that
    it was made of."""
    while patcher is not None:
        if not patcher.get_callbacks(CallbacksMP.ON_DETACH, KEY):
            patcher.add_callback_with_key(CallbacksMP.ON_DETACH, KEY, detached)
        patcher = patcher.parent


def release_all() -> None:
    """Give back the memory of all graphs."""
    for graphs in list(_found.values()):
        graphs.release()


@dataclass
class GraphUse:
    """What one run makes of graphs."""

    replayed: int = 0  # calls that were a graph
    note: str = ""  # why the last call was not
    refused: dict[Any, str] = field(default_factory=dict)  # for the whole run, by model

    def __call__(self, executor: Any, model: Any, call: Call, inputs: Any, execute: Execute) -> Tensor:
        """execute(inputs, False), by a graph where that may be. call: as the host made it."""
        device = call.x.device
        if not wanted(device):
            return execute(inputs, False)
        try:
            self._refuse(model, call.options)
            refuse_call(executor, call)
            key = (model.model_sampling, settings(), shape_key(inputs))
        except Eager as reason:
            self.note = str(reason)
            return execute(inputs, False)
        graphs = graphs_of(model, device)
        comfy.model_management.throw_exception_if_processing_interrupted()  # which the model's layers do else
        before = graphs.replays
        out = graphs(model, key, inputs, execute)
        self.replayed += graphs.replays - before
        self.note = graphs.note
        return out

    def _refuse(self, model: Any, options: dict[str, Any]) -> None:
        """`refuse_run`, once."""
        if id(model) not in self.refused:
            try:
                refuse_run(model, options)
                self.refused[id(model)] = ""
            except Eager as reason:
                self.refused[id(model)] = str(reason)
        if self.refused[id(model)]:
            raise Eager(self.refused[id(model)])

    def line(self) -> str:
        """For the report; '' where graphs are not in question."""
        why = f"no {'more ' if self.replayed else ''}CUDA graphs, since {self.note}" if self.note else ""
        made = (
            f"{self.replayed} call{'s' if self.replayed > 1 else ''} replayed as CUDA graphs" if self.replayed else ""
        )
        return ", ".join(text for text in (made, why) if text)
