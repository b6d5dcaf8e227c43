"""What a strip needs of the GPU's memory, told to the host before it loads the model.

The host keeps room for a dense call and offloads weights for it; a strip needs a part of that. Where a call has to be
dense after all, `make_room` gets the room then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management as management
from torch import Tensor

from ..hilo_core.grid import TokenGrid
from ..hilo_core.plan import TokenPlan


def strip_shape(shape: Sequence[int], grid: TokenGrid, plan: TokenPlan) -> list[int]:
    """The shape of a latent, (B, C, H, W) or (B, C, T, H, W), as the model will see it: as one picture."""
    return [*shape[:2], *[1] * (len(shape) - 4), grid.patch, plan.count * grid.patch]


def prepare_sampling(key: str) -> Callable[..., Any]:
    """The wrapper around the loading of the model: the host keeps as much memory free as a strip needs, where no step
    is to be dense. key: of the run in a run's own transformer_options."""

    def prepare(executor: Any, model: Any, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any) -> Any:
        run = ((kwargs.get("model_options") or {}).get("transformer_options") or {}).get(key)
        if run is not None and not run.may_be_dense:
            run.spared, noise_shape = True, strip_shape(noise_shape, run.grid, run.plan)
        return executor(model, noise_shape, conds, *args, **kwargs)

    return prepare


def make_room(model: Any, x: Tensor) -> None:
    """Offload weights of the host's BaseModel until a dense call on `x` has the memory that the host thinks it needs.

    With dynamic VRAM the host itself does so while the model runs.
    """
    patcher = getattr(model, "current_patcher", None)
    if x.device.type == "cpu" or patcher is None or _dynamic(patcher):
        return
    missing = model.memory_required(list(x.shape)) - management.get_free_memory(x.device)
    if missing > 0:
        mine = [loaded for loaded in management.current_loaded_models if loaded.model is patcher]
        management.free_memory(missing + management.get_free_memory(x.device), x.device, keep_loaded=mine)
        missing = model.memory_required(list(x.shape)) - management.get_free_memory(x.device)
    if missing > 0:
        patcher.partially_unload(patcher.offload_device, missing)


def _dynamic(patcher: Any) -> bool:
    """Whether the host pages weights in and out by itself."""
    return bool(getattr(patcher, "is_dynamic", lambda: False)())
