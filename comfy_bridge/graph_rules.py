"""Which compressed calls may be captured as a CUDA graph: those of which all that happens is known to be the model's.

A graph repeats kernels, not Python. So whatever other nodes have put into a call, or may do in it, is looked for, and a
call that holds something unknown is made as ever, with the reason in the run's report.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .call import CARRIED, OURS, OVERRIDE, Call
from .masked import MaskedAttention
from .neighbours import changes_blocks, root
from .positions import AnyPositions, Positions
from .weights import PLAIN, Known, modules_of, parts

SWITCH = "HILO_GRAPHS"  # environment: 0 switches graphs off
_KNOWN = {"comfy", "comfy_kitchen", "torch", "einops"}  # packages whose modules are known
# of transformer_options: what differs between calls that share a graph, and what such calls do not have at all
_UNREAD = ("uuids", "sample_sigmas", "cond_or_uncond", *OURS)


class Eager(BaseException):
    """This call must not be captured; the text says why. Not an Exception: the model's code must not swallow it."""


def wanted(device: torch.device) -> bool:
    """Whether graphs are for this device, and not switched off."""
    return device.type == "cuda" and torch.version.cuda is not None and os.environ.get(SWITCH) != "0"


def refuse_run(model: Any, options: dict[str, Any]) -> None:
    """Eager for what does not change within a run. model: the host's BaseModel. options: transformer_options."""
    if "multigpu_thread_device" in options:
        raise Eager("several GPUs share this run")
    if changes_blocks(model, options):
        raise Eager("the model's blocks are compiled or replaced")
    patcher = getattr(model, "current_patcher", None)
    for name in ("hook_patches", "forced_hooks", "current_hooks"):
        if getattr(patcher, name, None):
            raise Eager("hooks change the model's weights during the run")
    for name, value in getattr(patcher, "object_patches", {}).items():
        if isinstance(value, MaskedAttention):
            raise Eager("this model's attention takes its mask in another way, not tried in a graph yet")
        if not isinstance(value, AnyPositions) and not _known(value):
            raise Eager(f"another node has replaced '{name}' of the model")
    for name, value in vars(model).items():
        if callable(value) and not isinstance(value, (torch.nn.Module, type)) and hasattr(type(model), name):
            raise Eager(f"another node has replaced '{name}' of the model")
    kinds = dict[type, bool]()  # whether modules of a class are known
    for module in modules_of(model):
        own, kind = vars(module), type(module)
        if "forward" in own or own["_forward_hooks"] or own["_forward_pre_hooks"]:
            raise Eager(f"another node has put code into the model ({kind.__name__})")
        if kind not in kinds:
            kinds[kind] = root(kind) in _KNOWN or issubclass(kind, Positions)
        if not kinds[kind]:
            raise Eager(f"the model has modules of another node ({kind.__name__})")


def _known(value: Any) -> bool:
    """Whether code is the host's own."""
    return root(value if hasattr(value, "__module__") else type(value)) in {*_KNOWN, "comfy_extras", "comfy_api"}


def refuse_call(executor: Any, call: Call) -> None:
    """Eager for what each call may have anew."""
    if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
        raise Eager("gradients are recorded")
    if torch.is_autocast_enabled():
        raise Eager("autocast is on")
    if len(getattr(executor, "wrappers", ())) > getattr(executor, "idx", 0) + 1:
        raise Eager("another node wraps the model call within this one")
    options = call.options
    if options.get(OVERRIDE) is not None:
        raise Eager("another node overrides the attention")
    if any(found for found in options.get("patches", {}).values()):
        raise Eager("another node has patches among the model's blocks")
    if any(found for found in options.get("patches_replace", {}).values()):
        raise Eager("another node replaces blocks of the model")
    for key, found in options.get("wrappers", {}).get("diffusion_model", {}).items():
        if found:
            raise Eager(f"the wrapper '{key}' is in the model call")


def read(options: dict[str, Any]) -> dict[str, Any]:
    """What of transformer_options the model itself may read in a graph."""
    return {name: value for name, value in options.items() if name not in (*_UNREAD, *CARRIED)}


class Unread:
    """In place of what a captured call must not depend on: whoever uses it ends the capture."""

    def _used(self, *args: Any) -> Any:
        raise Eager("the model reads what differs from call to call")

    __getattr__ = __getitem__ = __iter__ = __len__ = __bool__ = __contains__ = __call__ = __eq__ = _used
    __add__ = __radd__ = __mul__ = __sub__ = __rsub__ = __lt__ = __gt__ = __float__ = __int__ = __index__ = _used
    __hash__ = None  # type: ignore[assignment]


def unread() -> dict[str, Any]:
    """The rest of a captured call's transformer_options."""
    return {name: Unread() for name in _UNREAD}


def settings() -> tuple[Any, ...]:
    """PyTorch's switches that choose kernels."""
    matmul, sdpa = torch.backends.cuda.matmul, torch.backends.cuda
    return (
        *(getattr(matmul, name, None) for name in ("allow_tf32", "allow_fp16_accumulation")),
        *(getattr(matmul, f"allow_{t}_reduced_precision_reduction", None) for t in ("fp16", "bf16")),
        sdpa.flash_sdp_enabled(), sdpa.mem_efficient_sdp_enabled(), sdpa.math_sdp_enabled(), sdpa.cudnn_sdp_enabled(),
    )  # fmt: skip


class Watched(TorchDispatchMode):
    """Within, every operation may read weights, inputs and what was made within; Eager for anything else on the device.

    A tensor that a model keeps between calls would be read at its old address in each replay, whatever became of it.
    """

    def __init__(self, device: torch.device, known: Known, inputs: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device, self.known = device, known
        self.made = {place(t) for t in inputs}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation."""
        if function is not torch.ops.aten.lift_fresh.default:  # a number of the code's own
            for tensor in _within(args):
                self._check(tensor)
            for tensor in _within(list(kwargs.values())) if kwargs else ():
                self._check(tensor)
        out = function(*args, **(kwargs or {}))
        self.made.update(place(t) for t in ([out] if type(out) in PLAIN else _within(out)))
        return out

    def _check(self, tensor: Tensor) -> None:
        where = place(tensor)
        if where and where not in self.made and tensor.device == self.device and not self.known.holds(where):
            raise Eager("the model keeps tensors from one call to the next")


def place(tensor: Tensor) -> int:
    """Where a tensor's storage starts; 0 for an empty one."""
    return tensor.untyped_storage().data_ptr()


def _within(values: Any) -> list[Tensor]:
    """Plain tensors of nested lists and tuples."""
    found: list[Tensor] = []
    for value in values if isinstance(values, (list, tuple)) else (values,):
        if type(value) in PLAIN:
            found.append(value)
        elif isinstance(value, Tensor):
            found += parts(value)
        elif isinstance(value, (list, tuple)):
            found += _within(value)
    return found
