"""How well a run's spot check tells sabotaged strips from good ones: `python -m lab.checks.agreement`.

The limit on what is shared is midway, by ratio, between the good and the sabotaged of models 0 to 9; the stored result
is of models that had no part in it. Each is a masked edit on
the demo model with weights of its own (a little noise on them), once with good strips and once with a bias or positions
that are wrong on purpose. Writes `lab/results/agreement.json`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch

from tools import host

SIDE, STEPS, RATIO = 384, 6, 0.08


def random_bias(layout: Any, seed: int) -> Any:
    """Each token weighs at random, the same in each step: as with a kernel that takes a mask wrongly."""
    generator = torch.Generator().manual_seed(seed)
    wrong = {n: 2 * torch.randn(bias.shape, generator=generator).to(bias) for n, bias in layout.bias.items()}
    return replace(layout, bias=wrong)


def shuffled_positions(layout: Any, seed: int) -> Any:
    """Each token stands where another does."""
    generator = torch.Generator().manual_seed(seed)
    order = [torch.randperm(p.shape[1], generator=generator) for p in layout.positions]
    return replace(layout, positions=tuple(p[:, o] for p, o in zip(layout.positions, order, strict=True)))


def strip_positions(layout: Any, seed: int) -> Any:
    """The positions that the host computes for a picture of the strip's shape."""
    found = []
    for positions in layout.positions:
        wrong = torch.zeros_like(positions)
        wrong[..., -1] = torch.arange(positions.shape[1]).to(positions)
        found.append(wrong)
    return replace(layout, positions=tuple(found))


SABOTAGE: tuple[Callable[[Any, int], Any], ...] = (random_bias, shuffled_positions, strip_positions)


def edit(number: int, side: int = SIDE) -> tuple[Any, dict[str, Any]]:
    """(conditioning, latent with its noise mask) of a drawn scene with a drawn mask."""
    from hilo_token.demo import model as demo

    from lab.data import masks, scenes

    picture = torch.from_numpy(scenes.draw(number, side).astype(np.float32) / 255)[None]
    mask = torch.from_numpy(masks.draw(np.random.default_rng(number), side, side, RATIO).astype(np.float32))[None]
    cond, vae = demo.empty_conditioning(), demo.load_vae()
    positive, _, latent = (
        importlib.import_module("nodes")
        .InpaintModelConditioning()
        .encode(cond, cond, picture, vae, mask, noise_mask=True)
    )
    return positive, latent


def checked_run(number: int, preset: str, sabotage: Callable[..., Any] | None = None) -> dict[str, Any]:
    """One run with its check; what the check found."""
    import comfy.sample
    from hilo_token.comfy_bridge import run as bridge_run
    from hilo_token.comfy_bridge.patch import Patch, patch_model
    from hilo_token.demo import model as demo
    from hilo_token.hilo_core.presets import PRESETS

    model, generator, reports = demo.load(), torch.Generator().manual_seed(number), []
    for value in model.model.diffusion_model.parameters():
        value.data += (0.02 * value.float().std(correction=0) * torch.randn(value.shape, generator=generator)).to(value)
    positive, latent = edit(number)
    good = bridge_run.make_layout
    made = good if sabotage is None else lambda *a, **k: sabotage(good(*a, **k), number)
    patched = patch_model(model, Patch(PRESETS[preset], None, reports.append, spot_check=True))
    noise = comfy.sample.prepare_noise(latent["samples"], number)
    with mock.patch.object(bridge_run, "make_layout", made), torch.no_grad():
        comfy.sample.sample(
            patched, noise, STEPS, 1.0, "euler", "simple", positive, positive, latent["samples"],
            noise_mask=latent["noise_mask"], seed=number, disable_pbar=True,
        )  # fmt: skip
    (report,) = reports
    return {
        "number": number,
        "preset": preset,
        "sabotage": sabotage.__name__ if sabotage else "",
        "agreement": report.agreement,
        "shared": report.shared_error,
        "caught": "so the rest of this run is dense" in "; ".join(report.notes),
    }


def main() -> None:
    """Ten good models and ten sabotaged ones, with each preset that has turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--first", type=int, default=10)
    parser.add_argument("--presets", nargs="+", default=["balanced", "fast"])
    asked = parser.parse_args()
    host.prepare()
    records = []
    for preset in asked.presets:
        for number in range(asked.first, asked.first + asked.models):
            for sabotage in (None, SABOTAGE[number % len(SABOTAGE)]):
                records.append(checked_run(number, preset, sabotage))
                sys.stdout.write(f"{records[-1]}\n")
                sys.stdout.flush()
    facts = {"command": "python -m lab.checks.agreement", "device": host.describe(), "commit": host.commit()}
    facts |= {"side": SIDE, "steps": STEPS, "records": records}
    host.store("agreement", facts)


if __name__ == "__main__":
    main()
