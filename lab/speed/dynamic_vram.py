"""The host's dynamic VRAM (comfy-aimdo) for scripts, as its main.py starts it: call `start`, then use `paged`."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import torch


def start() -> None:
    """Before anything else touches CUDA. Raises RuntimeError where there is no comfy-aimdo that works."""
    control: Any = importlib.import_module("comfy_aimdo.control")
    try:
        found = control.init() and control.init_devices((index, 0) for index in range(torch.cuda.device_count()))
    except TypeError:  # an older protocol
        found = control.init_devices(range(torch.cuda.device_count()))
    if not found:
        raise RuntimeError("comfy-aimdo does not work here")


@contextlib.contextmanager
def building() -> Iterator[None]:
    """Within, layers have weights from the start, as without dynamic VRAM."""
    memory: Any = importlib.import_module("comfy.memory_management")
    before, memory.aimdo_enabled = memory.aimdo_enabled, False
    try:
        yield
    finally:
        memory.aimdo_enabled = before


def paged(model: Any) -> Any:
    """A patcher that pages the weights of the host's BaseModel."""
    import comfy.model_patcher

    memory: Any = importlib.import_module("comfy.memory_management")
    memory.aimdo_enabled = True
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    device, cpu = torch.device("cuda", torch.cuda.current_device()), torch.device("cpu")
    return comfy.model_patcher.ModelPatcherDynamic(model.to(cpu), load_device=device, offload_device=cpu)
