"""Whole runs of full-size models through the host's sampler, dense and with each preset: `python -m lab.bench_gpu`.

Random weights: only the time and the memory mean anything. Runs alternate; the medians are stored with the device.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from itertools import product
from typing import Any

import torch

from lab.bench_cpu import RATIOS, mask_of
from lab.real_models import REAL, Real, build, inputs
from tools import host

PRESETS = ("balanced", "fast", "quality")


def run_once(
    model: Any, latent: torch.Tensor, conditioning: list, mask: torch.Tensor, steps: int
) -> tuple[float, float]:
    """(seconds, peak GiB) of one run."""
    import comfy.sample

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    comfy.sample.sample(
        model, torch.randn_like(latent), steps, 1.0, "euler", "simple", conditioning, conditioning, latent,
        noise_mask=mask, seed=0, disable_pbar=True,
    )  # fmt: skip
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start, torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0


def bench(name: str, real: Real, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows for one model: canvas, mask ratio, preset."""
    from hilo_core.host.patch import Patch, patch_model
    from hilo_core.host.report import RunReport
    from hilo_core.presets import preset

    model, rows = build(real, options.layers), []
    for side in options.sides:
        latent, conditioning = inputs(real, side)
        run_once(model, latent, conditioning, mask_of(RATIOS[0], 0, side), 1)
        for ratio, chosen in product(RATIOS, options.presets):
            reports: list[RunReport] = []
            patched = patch_model(model, Patch(preset(chosen), on_report=reports.append))
            pairs = []
            for shape in range(options.shapes):
                mask = mask_of(ratio, shape, side)
                dense = run_once(model, latent, conditioning, mask, options.steps)
                pairs.append((dense, run_once(patched, latent, conditioning, mask, options.steps)))
            row = {
                "model": name, "side": side, "ratio": ratio, "preset": chosen, "steps": options.steps,
                "dense_s": round(statistics.median(d[0] for d, _ in pairs), 4),
                "hilo_s": round(statistics.median(h[0] for _, h in pairs), 4),
                "speedup": round(statistics.median(d[0] / h[0] for d, h in pairs), 3),
                "dense_gib": round(max(d[1] for d, _ in pairs), 2), "hilo_gib": round(max(h[1] for _, h in pairs), 2),
                "tokens": statistics.median(r.kept for r in reports), "total": reports[-1].total,
                "compressed_step_s": reports[-1].compressed_seconds, "dense_step_s": reports[-1].dense_seconds,
            }  # fmt: skip
            rows.append(row)
            sys.stdout.write(f"{name} {side} px {ratio} % {chosen}: {row['speedup']:.2f}x ({row['tokens']} tokens)\n")
            sys.stdout.flush()
    return rows


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(REAL))
    parser.add_argument("--sides", nargs="*", type=int, default=[1024, 1536, 2048])
    parser.add_argument("--presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--shapes", type=int, default=3, help="masks of different shape for each ratio")
    parser.add_argument("--layers", type=int, default=0, help="at most so many blocks of each kind, for a trial")
    parser.add_argument("--name", default="bench_gpu", help="of the result file")
    options = parser.parse_args()
    host.prepare()
    logging.getLogger().setLevel(logging.WARNING)
    torch.set_grad_enabled(False)
    rows = []
    for name in options.models:
        rows += bench(name, REAL[name], options)
        torch.cuda.empty_cache()
    command = " ".join(["python -m lab.bench_gpu", *sys.argv[1:]])
    host.store(options.name, {"command": command, "device": host.describe(), "commit": host.commit(), "rows": rows})


if __name__ == "__main__":
    main()
