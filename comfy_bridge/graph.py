"""One compressed call as a CUDA graph: recorded once, then replayed by a single launch.

Whatever differs between calls (strip, sigma, conditionings, positions, bias, residuals of ControlNets) is copied into
the same buffers before each replay, so that steps, turns and runs share one graph. Its result is that of the call
itself, bit for bit. `graph_rules` says which calls may be captured, `graph_store` when one is and how long it is kept.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .graph_rules import Eager, Watched
from .weights import Weights

SHARE = 1 / 16  # of the card's memory for all graphs on it

Execute = Callable[[Any, bool], Tensor]  # inputs, whether the call is being captured -> the model's result


def tensors(tree: Any) -> Iterator[Tensor]:
    """All tensors of nested dicts, lists and tuples, in a fixed order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for name in tree:
            yield from tensors(tree[name])
    elif isinstance(tree, (list, tuple)):
        for part in tree:
            yield from tensors(part)


def rebuilt(tree: Any, leaves: Iterator[Tensor]) -> Any:
    """The same tree with other tensors."""
    if isinstance(tree, Tensor):
        return next(leaves)
    if isinstance(tree, dict):
        return {name: rebuilt(part, leaves) for name, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        parts = [rebuilt(part, leaves) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def shape_key(tree: Any) -> Any:
    """What two calls must have in common to share a graph: shapes, strides and types of tensors, all other values.

    Raises Eager for a value of which it is not known what it means to the model.
    """
    if isinstance(tree, Tensor):
        return tuple(tree.shape), tree.stride(), tree.dtype, tree.device
    if isinstance(tree, dict):
        return tuple((name, shape_key(part)) for name, part in tree.items())
    if isinstance(tree, (list, tuple)):
        return tuple(shape_key(part) for part in tree)
    if tree is None or isinstance(tree, (bool, int, float, str, torch.dtype, torch.device)):
        return type(tree).__name__, tree
    raise Eager(f"the model takes an input of an unknown kind ({type(tree).__name__})")


def names(tree: Any) -> Any:
    """What a tree is made of, whatever its sizes: names, nesting, and where there are tensors."""
    if isinstance(tree, dict):
        return tuple((name, names(part)) for name, part in tree.items() if isinstance(name, str))
    if isinstance(tree, (list, tuple)):
        return tuple(names(part) for part in tree)
    return isinstance(tree, Tensor)


def _buffer(tensor: Tensor, device: torch.device) -> Tensor:
    """Memory of its own for such a tensor, laid out as it is."""
    if any(step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)):
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


class CudaCapture:
    """A function's kernels, recorded once on a stream. Nothing is computed until `replay`."""

    def __init__(self, function: Callable[[], Tensor], pool: Any, stream: Any) -> None:
        self.graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        stream.wait_stream(current)
        collecting = gc.isenabled()
        gc.disable()  # what it frees on the way would be freed into the graph
        try:
            with torch.cuda.stream(stream):
                self.graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                try:
                    self.out = function()
                except BaseException:
                    self._leave(stream.device.index, pool)
                    raise
                self.graph.capture_end()
        finally:
            if collecting:
                gc.enable()
        current.wait_stream(stream)

    def _leave(self, device: int, pool: Any) -> None:
        """End a capture that failed, after which PyTorch must not hold memory back for it."""
        try:
            self.graph.capture_end()
        except RuntimeError:  # its own complaint about the same failure, before it has left the pool
            with contextlib.suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(device, pool)

    def replay(self) -> None:
        """Compute `out` from what the function's inputs hold now."""
        self.graph.replay()

    def reset(self) -> None:
        """Give its memory back."""
        self.graph.reset()


@functools.cache
def _stream(device: torch.device) -> Any:
    """The stream for captures. Its workspaces of cuBLAS are made here: within a capture they would be the graph's."""
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            some = torch.zeros(64, 64, device=device, dtype=dtype)
            torch.addmm(some[0], some, some)
            torch.bmm(some[None], some[None])
    stream.synchronize()
    return stream


class CudaMachine:
    """What of CUDA `Graphs` needs; tests put another in its place."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def pool(self) -> Any:
        """A place for the memory of graphs that never run at the same time."""
        return torch.cuda.graph_pool_handle()

    def capture(self, function: Callable[[], Tensor], pool: Any) -> Any:
        """See `CudaCapture`."""
        with torch.cuda.device(self.device):
            return CudaCapture(function, pool, _stream(self.device))

    def mark(self) -> Any:
        """A point in the GPU's work."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def between(self, start: Any, stop: Any) -> float | None:
        """Seconds between two marks; None while the GPU has not come so far. Does not wait."""
        return float(start.elapsed_time(stop)) / 1000 if stop.query() else None

    def reserved(self) -> int:
        """Bytes of the device that this process holds."""
        return torch.cuda.memory_reserved(self.device)

    def budget(self) -> int:
        """Bytes that graphs may take."""
        return int(SHARE * torch.cuda.get_device_properties(self.device).total_memory)

    def tidy(self) -> None:
        """Give unused memory back where little is left: memory outside its pool is of no use to a graph."""
        if torch.cuda.mem_get_info(self.device)[0] < self.budget():
            torch.cuda.empty_cache()

    def wait(self) -> None:
        """Until the GPU has finished."""
        torch.cuda.synchronize(self.device)


class Graph:
    """One captured call and the buffers of its inputs.

    weights: what it reads besides. watched: whether to look that it reads nothing else; Eager where it does.
    """

    def __init__(
        self, machine: Any, execute: Execute, inputs: Any, pool: Any, weights: Weights, watched: bool = True
    ) -> None:
        self.weights, known = weights, weights.known()
        self.sent: dict[int, Tensor] = {}  # what buffers hold of inputs that are not on the device
        with torch.inference_mode():
            self.buffers = [_buffer(t, machine.device) for t in tensors(inputs)]
            self._fill(inputs)
            static = rebuilt(inputs, iter(self.buffers))

            def call() -> Tensor:
                with Watched(machine.device, known, self.buffers) if watched else contextlib.nullcontext():
                    return execute(static, True)

            self.captured = machine.capture(call, pool)

    def _fill(self, inputs: Any) -> None:
        for i, (buffer, tensor) in enumerate(zip(self.buffers, tensors(inputs), strict=True)):
            if tensor.device == buffer.device:
                buffer.copy_(tensor)
            elif i not in self.sent or not torch.equal(self.sent[i], tensor):  # from the CPU it waits for the GPU
                buffer.copy_(tensor)
                self.sent[i] = tensor.clone()

    def __call__(self, inputs: Any) -> Tensor:
        """The result for such inputs."""
        with torch.inference_mode():
            self._fill(inputs)
            self.captured.replay()
        out: Tensor = self.captured.out.clone()
        return out
