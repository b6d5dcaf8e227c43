"""Where a model's weights lie, so that a captured call can tell whether it would still read the right ones.

A CUDA graph reads the addresses that it was captured with. `Weights` notes them once, `in_place` looks whether they
still hold, before each replay and in well under a millisecond. Two kinds of hosts are known: weights that stay on the
GPU for as long as the model is loaded, and dynamic VRAM (comfy-aimdo), which pages large weights in and out and loads
the small ones anew for each run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Place = tuple[dict[str, Any], str, Any]  # a module's own table of tensors, the name there, the address
PLAIN = (Tensor, torch.nn.Parameter)
_AWAY = "some of the model's weights are not on the GPU"


class Unfixed(Exception):
    """These weights cannot be captured; the text says why."""


@dataclass
class Known:
    """Memory that a captured call may read, by address."""

    addresses: set[int]
    ranges: list[tuple[int, int]] = field(default_factory=list)  # (start, end)

    def holds(self, place: int) -> bool:
        """Whether a storage is known."""
        return place in self.addresses or any(start <= place < end for start, end in self.ranges)


class Weights:
    """The places of a model's weights on one device, as they are now. Raises Unfixed where they have no fixed place."""

    def __init__(self, model: Any, device: torch.device) -> None:
        _refuse_functions(model)
        self._patches = _patches(model)
        self._vbar = (getattr(model, "dynamic_vbars", None) or {}).get(device)
        self._pages = [(vars(m), m._v, m._v_signature) for m in modules_of(model) if hasattr(m, "_v")]
        self._places: list[Place] = []
        self._held: list[Tensor] = []  # small ones, which dynamic VRAM loads anew elsewhere with the same values
        self._storages: set[int] = set()
        for module in modules_of(model):
            paged, own = hasattr(module, "_v"), {n: t for n, t in vars(module).items() if isinstance(t, Tensor)}
            for table in (module._parameters, module._buffers):
                for name, tensor in {} if paged else table.items():
                    if tensor is not None:
                        self._note(table, name, tensor, device)
            for name, tensor in own.items():
                if tensor.device == device and not name.startswith("_v_"):
                    self._note(vars(module), name, tensor, device)
        self._signature = self._read_pages() if self._pages else b""

    def _note(self, table: dict[str, Any], name: str, tensor: Tensor, device: torch.device) -> None:
        """One weight of a module, from the module's own table of tensors."""
        for part in parts(tensor):
            if part.device != device and part.numel() > 1:
                raise Unfixed(_AWAY)
            self._storages.add(part.untyped_storage().data_ptr())
            if self._pages:
                self._held.append(part.detach())
        if not self._pages:
            self._places.append((table, name, address(tensor)))

    def known(self) -> Known:
        """Memory that holds weights."""
        pages = [] if self._vbar is None else [(self._vbar.base_addr, self._vbar.base_addr + self._vbar.offset)]
        return Known(set(self._storages), pages)

    def _read_pages(self) -> bytes:
        """The signature of all pages; Unfixed where one does not hold its weight."""
        for _, (vbar, start, size), mine in self._pages:
            found = vbar.fault(start, size)
            if found is not None:
                vbar.unpin(start, size)
            if found is None or mine is None or bytes(found) != bytes(mine) or vbar is not self._vbar:
                raise Unfixed(_AWAY)
        with self._pinned() as signature:
            if signature is None:
                raise Unfixed(_AWAY)
            return signature

    @contextlib.contextmanager
    def _pinned(self) -> Iterator[bytes | None]:
        """Keep all pages where they are within; gives their signature, None where they do not all fit."""
        assert self._vbar is not None
        start, size = self._vbar.base_addr, self._vbar.offset
        found = self._vbar.fault(start, size)
        try:
            yield None if found is None else bytes(found)
        finally:
            if found is not None:
                self._vbar.unpin(start, size)

    @contextlib.contextmanager
    def in_place(self, model: Any) -> Iterator[bool]:
        """Whether every weight is still where it was, and stays there within."""
        same = self._patches == _patches(model) and all(
            (found := table.get(name)) is not None
            and (found.data_ptr() if type(found) in PLAIN else address(found)) == place
            for table, name, place in self._places
        )
        same = same and all(
            own.get("_v") is page and own.get("_v_signature") is mine for own, page, mine in self._pages
        )
        if not same or not self._pages:
            yield same
        else:
            with self._pinned() as signature:
                yield signature == self._signature


def modules_of(model: Any) -> list[Any]:
    """A model with all modules within, each once; much faster than its own `modules`."""
    found, seen = [model], {id(model)}
    for module in found:
        for child in module._modules.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                found.append(child)
    return found


def parts(tensor: Tensor) -> list[Tensor]:
    """The plain tensors that a tensor consists of. Raises Unfixed for a kind that hides them."""
    if type(tensor) in PLAIN:
        return [tensor]
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is not None:
        return [part for name in flatten()[0] for part in parts(getattr(tensor, name))]
    if tensor.untyped_storage().data_ptr():
        return [tensor]
    raise Unfixed(f"the model has weights of an unknown kind ({type(tensor).__name__})")


def address(tensor: Tensor) -> Any:
    """Where a weight lies."""
    return tensor.data_ptr() if type(tensor) in PLAIN else tuple(part.data_ptr() for part in parts(tensor))


def _patches(model: Any) -> Any:
    """Which weight patches (LoRA) are in the weights."""
    return getattr(model, "current_weight_patches_uuid", None)


def _refuse_functions(model: Any) -> None:
    """Unfixed where a weight is made anew in each layer, by code that a graph would not run."""
    for module in modules_of(model):
        if getattr(module, "weight_function", None) or getattr(module, "bias_function", None):
            raise Unfixed("weights are patched while the model runs")
