"""Nodes that change what the model is while it is loaded."""

from __future__ import annotations

from typing import Any

import torch

from .base import Neighbour, network


class Compiled(Neighbour):
    """The whole diffusion model compiled by an object patch, as "Compile Model" nodes still do it."""

    def put(self, model: Any) -> Any:
        clone = model.clone()
        clone.add_object_patch("diffusion_model", torch.compile(network(clone), backend="eager"))
        return clone


class Around(torch.nn.Module):
    """A module around another that looks like it in all it does not do itself."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args: Any, **kw: Any) -> Any:
        return self.inner(*args, **kw)


class Wrapped(Neighbour):
    """A module of its own around the diffusion model, by an object patch (as nunchaku's loaders have it)."""

    def put(self, model: Any) -> Any:
        clone = model.clone()
        clone.add_object_patch("diffusion_model", Around(network(clone)))
        return clone


def subclassed(net: Any) -> Any:
    """The network itself, from now on of a subclass with a forward of its own (as RES4LYF does to FLUX)."""

    class TunedFlux(type(net)):  # type: ignore[misc]
        def forward_orig(self, *args: Any, **kw: Any) -> Any:
            return super().forward_orig(*args, **kw)

    net.__class__ = TunedFlux
    return net


class _Block(Around):
    """A block that calls another without the options of the call."""

    def forward(self, *args: Any, transformer_options: Any = None, **kw: Any) -> Any:
        return super().forward(*args, **kw)


class OptionsKept(Neighbour):
    """Blocks replaced by object patches that do not hand transformer_options on: all of them, or one."""

    def __init__(self, every: bool = True) -> None:
        super().__init__()
        self.every = every

    def put(self, model: Any) -> Any:
        clone, net = model.clone(), network(model)
        names = [f"{kind}.{i}" for kind in ("double_blocks", "single_blocks") for i in range(len(getattr(net, kind)))]
        for name in names if self.every else names[-1:]:
            clone.add_object_patch(f"diffusion_model.{name}", _Block(net.get_submodule(name)))
        return clone
