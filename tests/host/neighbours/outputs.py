"""Caches that keep whole outputs from one step to the next."""

from __future__ import annotations

from typing import Any
from unittest import mock

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .base import Neighbour, network, step_index


class ForwardReplaced(Neighbour):
    """The model's whole `forward` replaced while a call runs; every second call after a warm-up gives the last output
    again (Jasonzzt/ComfyUI-CacheDiT, its lightweight way, without its wrappers)."""

    warmup, interval = 3, 2

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None
        self.count = 0

    def cached(self, net: Any) -> Any:
        """The forward that it puts on the model."""
        own = net.forward

        def forward(x: Tensor, *args: Any, **kw: Any) -> Tensor:
            self.count += 1
            late = self.count - self.warmup
            skip = late > 0 and late % self.interval == 0 and self.last is not None
            self.calls.append((x.shape[-2] * x.shape[-1] // net.patch_size**2, not skip))
            if not skip:
                self.last = own(x, *args, **kw)
            assert self.last is not None
            return self.last

        return forward

    def put(self, model: Any) -> Any:
        clone, net = model.clone(), network(model)

        def wrapper(apply: Any, call: dict[str, Any]) -> Tensor:
            if step_index(call) == 0:
                self.count, self.last = 0, None
            with mock.patch.object(net, "forward", self.cached(net)):
                return apply(call["input"], call["timestep"], **call["c"])

        clone.set_model_unet_function_wrapper(wrapper)
        return clone


class CacheDit(ForwardReplaced):
    """As published: the forward is replaced when a run starts, by a wrapper around it, and another wrapper inside the
    model counts. Here the forward is put back at the run's end, there never."""

    def put(self, model: Any) -> Any:
        clone, net = model.clone(), network(model)

        def outer(execute: Any, *args: Any, **kw: Any) -> Any:
            self.count, self.last = 0, None
            with mock.patch.object(net, "forward", self.cached(net)):
                return execute(*args, **kw)

        def inside(execute: Any, *args: Any, **kw: Any) -> Any:
            return execute(*args, **kw)

        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "cache_dit", outer)
        clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "cache_dit", inside)
        return clone


class OutputCache(Neighbour):
    """Keeps the change that a step made to its whole input and uses it again in every second step, from outside the
    model: a wrapper of PREDICT_NOISE or of CALC_COND_BATCH, with a key that nobody knows."""

    def __init__(self, kind: str = WrappersMP.PREDICT_NOISE) -> None:
        super().__init__()
        self.kind = kind
        self.change: list[Tensor] = []

    def put(self, model: Any) -> Any:
        clone = model.clone()
        clone.add_wrapper_with_key(self.kind, "output_cache", self._predict)
        return clone

    def _predict(self, execute: Any, *args: Any, **kw: Any) -> Any:
        x = next(a for a in args if isinstance(a, Tensor))
        skip = len(self.calls) % 2 == 1 and bool(self.change)
        self.calls.append((x.shape[-2] * x.shape[-1] // 4, not skip))
        if not skip:
            out = execute(*args, **kw)
            self.change = [o - x for o in out] if isinstance(out, (list, tuple)) else [out - x]
            return out
        again = [x + change for change in self.change]
        return again if self.kind == WrappersMP.CALC_COND_BATCH else again[0]
