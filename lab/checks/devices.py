"""Strips on the devices at hand, held against the same runs on the CPU: `python -m lab.checks.devices`.

For each small model of the tests all tokens kept equals dense on the device, and a compressed run equals the one on
the CPU up to its precision. With two GPUs, and a host that has it, the host's MultiGPU CFG Split in either order with
the patch equals one device. Prints a line for each, stores nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tools import host

host.prepare()
_log = logging.getLogger(__name__)


def agree(a: Tensor, b: Tensor) -> float:
    """The largest difference, over the largest value."""
    return float((a.cpu() - b.cpu()).abs().max() / b.abs().max())


def sampled(build: Callable[[], Any], edit: Any, patch: Any, device: torch.device, **sampling: Any) -> Tensor:
    """One run of a small model on a device."""
    import comfy.model_patcher
    from hilo_token.comfy_bridge.patch import patch_model

    model = comfy.model_patcher.ModelPatcher(build().to(device), load_device=device, offload_device=torch.device("cpu"))
    out: Tensor = edit.sample(model if patch is None else patch_model(model, patch), steps=3, **sampling)
    return out


def main() -> None:
    """All checks."""
    from hilo_token.comfy_bridge.patch import Patch
    from hilo_token.hilo_core.presets import preset
    from hilo_token.hilo_core.schedule import Schedule

    from tests.host.cases import case
    from tests.host.models import SMALL

    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    _log.setLevel(logging.INFO)
    torch.set_grad_enabled(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    some = replace(preset("balanced"), schedule=Schedule())
    every = replace(some, tokens=replace(some.tokens, dilation=1000.0))
    device = host.device()
    _log.info("%s, ComfyUI at commit %s of the pack", host.describe(), host.commit())
    for small in SMALL:
        edit, name = case(small, 32, 40), small.build.__name__
        for cond in (*edit.positive, *edit.negative) if small.references else ():
            cond[1]["reference_latents"] = [edit.latent]
        dense = sampled(small.build, edit, None, device)
        kept = sampled(small.build, edit, Patch(every, longest=1.0), device)
        reports: list[Any] = []
        strip = sampled(small.build, edit, Patch(some, on_report=reports.append), device, cfg=2.0)
        plain = sampled(small.build, edit, Patch(some), torch.device("cpu"), cfg=2.0)
        _log.info(
            "%s: all kept minus dense %.1e; strip minus that on the CPU %.1e; %s",
            name, agree(kept, dense), agree(strip, plain), reports[-1].reason or "strips",
        )  # fmt: skip
    several(some)


def several(chosen: Any) -> None:
    """The host's split of conditionings over two GPUs."""
    import comfy.model_patcher
    from hilo_token.comfy_bridge.patch import Patch, patch_model

    from tests.host.cases import case
    from tests.host.models import SMALL

    try:
        import comfy.multigpu as split
    except ImportError:
        _log.info("this host has no MultiGPU CFG Split")
        return
    if torch.cuda.device_count() < 2:
        _log.info("one GPU: MultiGPU CFG Split is not tried")
        return
    first = torch.device("cuda", 0)

    def patcher(small: Any) -> Any:
        return comfy.model_patcher.ModelPatcher(
            small.build().to(first), load_device=first, offload_device=torch.device("cpu")
        )

    for small in (s for s in SMALL if s.build.__name__ in ("flux", "qwen", "sd3", "wan", "z_image")):
        edit, model = case(small, 32, 40), patcher(small)
        model.cached_patcher_init = (lambda disable_dynamic=False, small=small: patcher(small), ())
        alone = edit.sample(model, steps=2, cfg=3.0)
        hosts = edit.sample(split.create_multigpu_deepclones(model, 2), steps=2, cfg=3.0)
        want = edit.sample(patch_model(model, Patch(chosen)), steps=2, cfg=3.0)
        found = [agree(hosts, alone)]
        for order in ("split first", "patch first"):
            both = (
                patch_model(split.create_multigpu_deepclones(model, 2), Patch(chosen))
                if order == "split first"
                else split.create_multigpu_deepclones(patch_model(model, Patch(chosen)), 2)
            )
            found += [agree(edit.sample(both, steps=2, cfg=3.0), want) for _ in range(3)]
        _log.info("%s on two GPUs: host alone %.1e; with the patch %s", small.build.__name__, found[0], found[1:])


if __name__ == "__main__":
    main()
