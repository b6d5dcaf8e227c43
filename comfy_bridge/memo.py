"""The last few results of a function, found again by what its arguments hold: a second run with the same mask and size
need not plan anew. It keeps copies of tensors, so that nobody can change them afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..hilo_core.grid import TokenGrid
from ..hilo_core.plan import TokenSettings

T = TypeVar("T")
_VALUES = (bool, int, float, str, tuple, torch.device, TokenGrid, TokenSettings)


class Memo(Generic[T]):
    """Remembers the last `most` results of a function that depends on nothing but its arguments."""

    def __init__(self, function: Callable[..., T], most: int = 2) -> None:
        self.function, self.most = function, most
        self._known: list[tuple[tuple[Any, ...], T]] = []
        self._lock = threading.Lock()

    def __call__(self, *args: Any) -> T:
        """function(*args), or what it gave for equal tensors and values and for the very same other objects."""
        for before, result in self._known:
            if len(before) == len(args) and all(map(_equal, before, args)):
                return result
        result = self.function(*args)
        kept = tuple(a.clone() if isinstance(a, Tensor) else a for a in args)
        with self._lock:
            self._known = [*self._known, (kept, result)][-self.most :]
        return result


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device) and torch.equal(a, b)
    return a is b or (isinstance(a, _VALUES) and type(a) is type(b) and a == b)
