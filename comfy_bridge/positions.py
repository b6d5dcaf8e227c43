"""True positions for the tokens of a strip.

The host computes positions from the shape of the latent, and a strip has another shape. So the host is asked once for
the positions of the dense picture, and the strip's are gathered from them. References, text positions that depend on
the picture's size, RoPE scaling: all stay the host's own. An embedder that is given ids gets the strip's ids; one that
makes a table for a size of picture is not asked at all: its table for the dense picture is gathered. What is recorded
or replayed belongs to one model call of one thread, never to the embedder: clones, copies and several devices share it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..hilo_core.errors import HiLoError
from .reasons import DenseRun


class Stop(BaseException):
    """Leaves the host's forward once the positions are known. Not an Exception: nobody may swallow it."""


class _Calls(threading.local):
    """What this thread's model call does with positions."""

    recorded: list[Tensor] | None = None
    wanted: int | None = None  # leave when so many are recorded
    replayed: list[Tensor] | None = None

    def next_answer(self, length: int | None) -> Tensor:
        """The next of the given positions; DenseRun where the model asks for others than it did for the record."""
        assert self.replayed is not None
        if not self.replayed or (length is not None and self.replayed[0].shape[1] != length):
            raise DenseRun("the model asked for other positions than before")
        return self.replayed.pop(0)

    def note(self, asked: Tensor) -> None:
        """Record one; leaves the model after the last that is wanted."""
        if self.recorded is not None:
            self.recorded.append(asked)
            if len(self.recorded) == self.wanted:
                raise Stop


_calls = _Calls()


def _of_table(embedder: Any, args: Any, kwargs: Any) -> Any:
    """What an embedder answers that makes a table of the picture's tokens: the dense picture's is noted, a strip gets
    the rows that were given, on the device that is asked for."""
    if _calls.replayed is not None:
        device = kwargs.get("device") or next((a for a in args if isinstance(a, torch.device)), None)
        return _calls.next_answer(None).to(device)
    table = embedder(*args, **kwargs)
    _calls.note(table)
    return table


def has_batch(positions: Tensor) -> bool:
    """Whether tokens are second in what was recorded: ids (B, L, axes), or a table (1, N, ...); first in (N, ...)."""
    return positions.ndim == 3 or (positions.ndim > 3 and positions.shape[0] == 1)


def rows_of(positions: Tensor) -> Tensor:
    """What was recorded for one picture, (1, L, ...)."""
    return positions[:1] if has_batch(positions) else positions[None]


class Positions(torch.nn.Module):
    """Stands in for the model's position embedder (which has no weights), in idle state its exact equal.

    Outside a strip's model call it passes through. Within `recording` what it is asked for is noted; within
    `replaying` it answers with the positions that were given, in the same order.
    """

    def __init__(self, embedder: Any, table: bool = False) -> None:
        super().__init__()
        self.embedder, self.table = embedder, table

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            embedder = super().__getattr__("embedder")
            found = getattr(embedder, name)
            if name in vars(embedder) and callable(found):  # a function that others hung on it, to put it back later
                raise
            return found

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """ids (B, L, axes), or whatever it takes where it gives a table -> what the model's embedder makes of them."""
        if self.table:
            return _of_table(self.embedder, args, kwargs)
        ids: Tensor = args[0]
        if _calls.replayed is not None:
            dtype = ids.dtype if ids.is_floating_point() else torch.float32  # the centre of a cell is no whole number
            ids = _calls.next_answer(ids.shape[1]).to(ids.device, dtype).expand(ids.shape[0], -1, -1)
        else:
            _calls.note(ids[:1])
        return self.embedder(ids, *args[1:], **kwargs)


class TablePositions:
    """The same for a method that makes a table, (1, N, ...) or (N, ...), for a size of picture.

    Not a module: the host's class has a method of that name, and a module would hide behind it.
    """

    def __init__(self, embedder: Any) -> None:
        self.embedder = embedder

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Arguments as the method has them."""
        return _of_table(self.embedder, args, kwargs)


AnyPositions = Positions | TablePositions


@contextlib.contextmanager
def recording(wanted: int | None = None) -> Iterator[list[Tensor]]:
    """Note what this thread's model call asks for. wanted: leave the model once so many are known."""
    recorded: list[Tensor] = []
    _calls.recorded, _calls.wanted = recorded, wanted
    try:
        with contextlib.suppress(Stop):
            yield recorded
    finally:
        _calls.recorded = _calls.wanted = None


class _Eager:
    """torch's stance, one for the whole process: the first of several threads sets it, the last one takes it back."""

    def __init__(self) -> None:
        self._lock, self._inside, self._stance = threading.Lock(), 0, contextlib.ExitStack()

    def enter(self) -> None:
        """One more thread."""
        with self._lock:
            self._inside += 1
            if self._inside == 1 and hasattr(torch.compiler, "set_stance"):  # torch 2.6
                self._stance.enter_context(torch.compiler.set_stance("force_eager"))

    def leave(self) -> None:
        """One less."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._stance.close()


_eager = _Eager()


@contextlib.contextmanager
def eagerly() -> Iterator[None]:
    """A compiled model runs eagerly within, where it is left on its way or its calls are looked at."""
    _eager.enter()
    try:
        yield
    finally:
        _eager.leave()


@contextlib.contextmanager
def replaying(answers: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Answer with these positions, one for each time the model asks, while it runs in this thread. Gives those left."""
    _calls.replayed = list(answers)
    try:
        yield _calls.replayed
        if _calls.replayed and len(_calls.replayed) < len(answers):  # a cache may have left the whole model out
            raise DenseRun("the model asked for fewer positions than before")
    finally:
        _calls.replayed = None


def idle() -> bool:
    """Whether this thread records or replays nothing."""
    return _calls.recorded is None and _calls.replayed is None


def stand_in(embedder: Any, table: bool = False) -> AnyPositions:
    """For a position embedder as the host has it, or as another node has put it there. table: it gives a table."""
    if isinstance(embedder, torch.nn.Module):
        return Positions(embedder, table)
    if not callable(embedder):
        raise HiLoError("This model's position embedder is of an unknown kind. Remove the HiLo node, and report it.")
    return TablePositions(embedder)
