"""Whether re-encoding only what changed would pay: `python -m lab.speed.encode_cost`.

Counts the floating-point operations of FLUX.1's VAE encode and decode and of one dense and one compressed step of its
transformer, at their real sizes, without weights: no time is measured, any machine gives the same figures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from lab.speed.real_models import FLUX as UNET
from lab.speed.vaes import empty_flux
from tools import host

SIDES, STEPS = (1024, 2048), 8
KEPT = 0.2  # tokens of a compressed step, of the dense grid's, at a mask of 6 %


def operations(work: Callable[[], object]) -> float:
    """Tera floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e12


def main() -> None:
    """Count, print, store."""
    host.prepare()
    torch.set_grad_enabled(False)
    import comfy.ops
    from comfy.ldm.flux.model import Flux

    with torch.device("meta"):
        vae = empty_flux()
        settings = {k: v for k, v in UNET.items() if k != "image_model"}
        transformer = Flux(**settings, operations=comfy.ops.disable_weight_init, dtype=torch.float32)
    rows = []
    for side in SIDES:
        latent = torch.empty(1, 16, side // 8, side // 8, device="meta")

        def step(z: torch.Tensor) -> object:
            text, pooled, one = (torch.empty(1, *s, device="meta") for s in ((256, 4096), (768,), ()))
            return transformer(z, one, text, pooled, one)

        strip = torch.empty(1, 16, 2, 2 * int(KEPT * (side // 16) ** 2), device="meta")
        row = {
            "side": side,
            "encode": operations(lambda: vae.encoder(torch.empty(1, 3, side, side, device="meta"))),  # noqa: B023
            "decode": operations(lambda: vae.decoder(latent)),  # noqa: B023
            "dense_step": operations(lambda: step(latent)),  # noqa: B023
            "compressed_step": operations(lambda: step(strip)),  # noqa: B023
        }
        row["encode_of_dense_run"] = row["encode"] / (row["encode"] + row["decode"] + STEPS * row["dense_step"])
        row["encode_of_compressed_run"] = row["encode"] / (
            row["encode"] + row["decode"] + STEPS * row["compressed_step"]
        )
        rows.append({k: round(v, 4) for k, v in row.items()})
        sys.stdout.write(f"{rows[-1]}\n")
    facts = {"command": "python -m lab.speed.encode_cost", "commit": host.commit(), "unit": "1e12 operations"}
    host.store("encode_cost", {**facts, "steps": STEPS, "kept": KEPT, "rows": rows})


if __name__ == "__main__":
    main()
