"""True positions for the tokens of a strip.

The host computes positions from the shape of the latent, and a strip has another shape. So the host is asked once
for the positions of the dense picture, by a call that is stopped before its first attention, and the strip's
positions are gathered from them. References, text positions that depend on the picture's size, RoPE scaling: all
stay the host's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .attention import Attention

_CARRIED = ("wrappers", "callbacks", "patches", "patches_replace", "optimized_attention_override")


class _Stop(BaseException):
    """Leaves the host's forward once the positions are known. Not an Exception: nobody may swallow it."""


class Positions(torch.nn.Module):
    """Stands in for the model's position embedder (which has no weights), in idle state its exact equal.

    Outside a strip's model call it passes through. Within `recording` it notes what it is asked for; within
    `replaying` it answers with the positions it was given, in the same order.
    """

    def __init__(self, embedder: Any) -> None:
        super().__init__()
        self.embedder = embedder
        self.recorded: list[Tensor] | None = None
        self.replayed: list[Tensor] | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            embedder = super().__getattr__("embedder")
            found = getattr(embedder, name)
            if name in vars(embedder) and callable(found):  # a function that others hung on it, to put it back later
                raise
            return found

    def forward(self, ids: Tensor) -> Any:
        """ids: (B, L, axes) positions -> whatever the model's embedder makes of them."""
        if self.replayed is not None:
            known = self.replayed.pop(0)
            ids = known.to(ids).expand(ids.shape[0], -1, -1)
        elif self.recorded is not None:
            self.recorded.append(ids)
        return self.embedder(ids)


class TablePositions:
    """The same for a method that cuts a position table to size: asked for (H, W) latent pixels, gives (1, N, D).

    Not a module: the host's class has a method of that name, and a module would hide behind it.
    """

    def __init__(self, embedder: Any) -> None:
        self.embedder = embedder
        self.recorded: list[Tensor] | None = None
        self.replayed: list[Tensor] | None = None

    def __call__(self, size: Any, device: Any = None) -> Tensor:
        """size: (H, W) latent pixels -> (1, N, D)."""
        if self.replayed is not None:
            return self.replayed.pop(0)
        table: Tensor = self.embedder(size, device=device)
        if self.recorded is not None:
            self.recorded.append(table)
        return table


AnyPositions = Positions | TablePositions


@contextlib.contextmanager
def replaying(positions: AnyPositions, answers: list[Tensor]) -> Iterator[None]:
    """Answer with these positions, one for each call, while the model runs."""
    positions.replayed = list(answers)
    try:
        yield
    finally:
        positions.replayed = None


def record(positions: AnyPositions, model: Any, call: Any) -> tuple[list[Tensor], Attention | None]:
    """The positions of a dense call, one tensor (B or 1, L, axes) for each time the model asks, and its first call of
    attention after that, if it made one that overrides can reach.

    call: the arguments of the host's `apply_model` (`run.Call`). Costs the patch embedding of the picture.
    """

    reached: Attention | None = None

    def stop_at_attention(attention: Any, q: Tensor, *args: Any, **kw: Any) -> Any:
        nonlocal reached
        if positions.recorded:
            reached = Attention.of(attention, q, args, kw)
            raise _Stop
        return attention(q, *args, **kw)

    quiet = {key: value for key, value in call.options.items() if key not in _CARRIED}
    quiet["optimized_attention_override"] = stop_at_attention
    stance = getattr(torch.compiler, "set_stance", None)  # torch 2.6; a compiled model must run eagerly here
    positions.recorded = []
    try:
        with stance("force_eager") if stance else contextlib.nullcontext():
            model._apply_model(call.x, call.t, call.concat, call.context, None, quiet, **call.kwargs)
    except _Stop:
        pass
    finally:
        recorded, positions.recorded = positions.recorded or [], None
    return recorded, reached
