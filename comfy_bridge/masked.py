"""The bias where a model hands its attention no options, so that no override reaches it, but where each attention is a
module that takes a mask. Such a module's `forward` is stood in for: for whoever looks at a model call, and for the
bias, it is an attention over the rows that it is given. The module, its weights and their names stay as they are.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

_current = threading.local()  # .override: of this thread's model call


class MaskedAttention:
    """Stands in for the `forward` of an attention module, in idle state its exact equal."""

    def __init__(self, forward: Callable[..., Tensor]) -> None:
        self.forward = forward
        names = list(inspect.signature(forward).parameters)
        self.mask = next((name for name in names if "mask" in name), "")
        self.place = names.index(self.mask) if self.mask else -1

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x: (B, L, D), then whatever the module takes."""
        override = getattr(_current, "override", None)
        if override is None or not self.mask:
            return self.forward(x, *args, **kwargs)
        given = [x, *args]
        mask = given[self.place] if len(given) > self.place else kwargs.pop(self.mask, None)

        def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **_: Any) -> Tensor:
            if len(given) > self.place:
                given[self.place] = mask
                return self.forward(*given, **kwargs)
            return self.forward(*given, **kwargs, **{self.mask: mask})

        attend.takes_mask = True  # type: ignore[attr-defined]
        out: Tensor = override(attend, x, x, x, 1, mask)
        return out


@contextlib.contextmanager
def overriding(override: Callable[..., Tensor] | None) -> Iterator[None]:
    """While open, this thread's stand-ins give their attentions to an override, as the host gives it its own."""
    before = getattr(_current, "override", None)
    _current.override = override
    try:
        yield
    finally:
        _current.override = before
