"""Whole runs as an artist has them: the first after loading, one with a new mask, the same mask again.

`python -m lab.speed.runs` on a GPU; full-size models with random weights, so only time means anything. "cold": neither
graphs nor the model's layout are known, the GPU's kernels are. "new mask": the model has seen other masks of all sizes,
not this one. Dense runs are measured in between; medians of whole runs, with all single ones in lab/results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from lab.speed import dynamic_vram
from lab.speed.cpu import RATIOS, mask_of
from lab.speed.gpu import stacked
from lab.speed.real_models import REAL, Real, build, inputs
from tools import host

WARM = 20  # the first seed of the masks that a warm model has seen
STATES = ("cold", "new mask", "same mask", "without graphs")
GRAPH = "CUDA graph"
BESIDE = (GRAPH, "EasyCache", "inductor")
_log = logging.getLogger("lab.runs")
Row = dict[str, Any]


class Bench:
    """One model, one canvas, one batch."""

    def __init__(self, model: Any, real: Real, side: int, batch: int, steps: int) -> None:
        self.model, self.side, self.steps = model, side, steps
        latent, self.conditioning = inputs(real, side)
        self.latent = latent.repeat(batch, *[1] * (latent.ndim - 1))
        self.dense: list[float] = []

    def seconds(self, model: Any, mask: torch.Tensor | None, steps: int = 0) -> float:
        """One run through the host's sampler. steps: 0 for those of the bench."""
        import comfy.sample

        noise = torch.randn(self.latent.shape, generator=torch.Generator().manual_seed(0))
        torch.cuda.synchronize()
        start = time.perf_counter()
        comfy.sample.sample(
            model, noise, steps or self.steps, 1.0, "euler", "simple", self.conditioning, self.conditioning,
            self.latent, noise_mask=mask, seed=0, disable_pbar=True,
        )  # fmt: skip
        torch.cuda.synchronize()
        return time.perf_counter() - start

    def mask(self, ratio: float, seed: int) -> torch.Tensor:
        """Another one for each seed."""
        return mask_of(ratio, seed, self.side)

    def rows(self, preset_name: str, options: argparse.Namespace) -> Iterator[Row]:
        """One for each mask ratio and each of the wanted states."""
        from hilo_token.comfy_bridge.patch import Patch, patch_model
        from hilo_token.hilo_core.presets import preset

        reports: list[Any] = []
        patched = patch_model(self.model, Patch(preset(preset_name), on_report=reports.append))
        found: dict[tuple[float, str], list[tuple[float, Any]]] = {}
        masks = [(ratio, self.mask(ratio, seed)) for ratio in options.ratios for seed in range(options.shapes)]

        def note(ratio: float, state: str, mask: torch.Tensor) -> None:
            seconds = self.seconds(patched, mask)
            if state in options.states:
                found.setdefault((ratio, state), []).append((seconds, reports[-1]))

        with without_graphs():
            for _, mask in masks:  # kernels are loaded once in a process
                self.seconds(patched, mask, steps=1)
        for ratio, mask in masks if "cold" in options.states else ():
            forget()
            note(ratio, "cold", mask)
        forget()
        for seed in range(WARM, WARM + options.warm):
            for ratio in options.ratios:
                self.seconds(patched, self.mask(ratio, seed))
        for ratio, mask in masks:
            note(ratio, "new mask", mask)
            if "same mask" in options.states:
                note(ratio, "same mask", mask)
        with without_graphs():
            for ratio, mask in masks if "without graphs" in options.states else ():
                note(ratio, "without graphs", mask)
        self.dense.append(self.seconds(self.model, masks[0][1]))
        dense = statistics.median(self.dense)
        for (ratio, state), runs in found.items():
            seconds, last = [s for s, _ in runs], [r for _, r in runs]
            yield {
                "preset": preset_name, "ratio": ratio, "state": state, "seconds": seconds, "dense_s": dense,
                "speedup": dense / statistics.median(seconds), "speedups": [dense / s for s in seconds],
                "tokens": [r.kept for r in last], "total": last[-1].total,
                "step_s": statistics.median(r.compressed_seconds or 0 for r in last),
                "outside_s": statistics.median(
                    s - (r.compressed_seconds or 0) * r.compressed_steps for s, r in runs
                ),
                "notes": sorted({r.reason or "; ".join(r.notes) for r in last}),
            }  # fmt: skip

    def beside(self, stack: str) -> Row:
        """A dense run with another speed-up."""
        mask = self.mask(RATIOS[0], 0)
        model = with_graph(self.model) if stack == GRAPH else stacked(self.model, stack)
        self.seconds(model, mask)
        seconds = [self.seconds(model, mask) for _ in range(3)]
        return {"preset": "dense", "state": stack, "seconds": seconds, "dense_s": statistics.median(self.dense),
                "speedup": statistics.median(self.dense) / statistics.median(seconds)}  # fmt: skip


@contextlib.contextmanager
def without_graphs() -> Iterator[None]:
    """Runs within are made call by call."""
    os.environ["HILO_GRAPHS"] = "0"
    try:
        yield
    finally:
        del os.environ["HILO_GRAPHS"]


def forget() -> None:
    """As after loading a model: no graphs, and its layout is not known."""
    from hilo_token.comfy_bridge import graph_store, probe

    graph_store.release_all()
    graph_store._found.clear()
    probe._found.clear()


def with_graph(model: Any) -> Any:
    """A clone whose dense calls are one CUDA graph, captured at the second."""
    from comfy.patcher_extension import WrappersMP
    from hilo_token.comfy_bridge.graph import CudaMachine, Graph
    from hilo_token.comfy_bridge.weights import Weights

    clone, machine, made = model.clone(), CudaMachine(model.load_device), list[Any]()

    def call(executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if not made:
            made.append(executor(*args, **kwargs))
            return made[0]
        if len(made) == 1:
            weights = Weights(model.model, model.load_device)
            made.append(Graph(machine, lambda given, _: executor(*given[0], **given[1]), (args, kwargs), machine.pool(),
                              weights, watched=False))  # fmt: skip
        return made[1]((args, kwargs))

    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "lab_graph", call)
    return clone


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["FLUX.1 Fill"])
    parser.add_argument("--sides", nargs="*", type=int, default=[1024])
    parser.add_argument("--ratios", nargs="*", type=float, default=list(RATIOS))
    parser.add_argument("--presets", nargs="*", default=["balanced", "fast"])
    parser.add_argument("--batches", nargs="*", type=int, default=[1])
    parser.add_argument("--steps", nargs="*", type=int, default=[8])
    parser.add_argument("--shapes", type=int, default=5, help="masks for each ratio")
    parser.add_argument("--warm", type=int, default=6, help="masks of each ratio that a warm model has seen")
    parser.add_argument("--states", nargs="*", default=list(STATES), choices=STATES)
    parser.add_argument("--beside", nargs="*", default=[], choices=BESIDE, help="dense runs with other speed-ups")
    parser.add_argument("--layers", type=int, default=0, help="at most so many blocks of each kind, for a trial")
    parser.add_argument("--fp8", action="store_true", help="weights in float8_e4m3fn, cast by the host")
    parser.add_argument("--dynamic", action="store_true", help="under dynamic VRAM")
    parser.add_argument("--append", action="store_true", help="keep the rows of the result file")
    parser.add_argument("--name", default="bench_runs", help="of the result file")
    options = parser.parse_args()
    if options.dynamic:
        dynamic_vram.start()
    host.prepare()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    _log.setLevel(logging.INFO)
    torch.set_grad_enabled(False)
    file = host.ROOT / "lab" / "results" / f"{options.name}.json"
    kept = json.loads(file.read_text()) if options.append and file.exists() else {"rows": [], "commands": []}
    rows, commands = kept["rows"], kept["commands"] + [" ".join(["python -m lab.speed.runs", *sys.argv[1:]])]
    for name in options.models:
        with dynamic_vram.building() if options.dynamic else torch.no_grad():
            model = build(REAL[name], options.layers, options.fp8)
        model = dynamic_vram.paged(model.model) if options.dynamic else model
        for side, batch, steps in ((s, b, n) for s in options.sides for b in options.batches for n in options.steps):
            bench = Bench(model, REAL[name], side, batch, steps)
            bench.seconds(model, bench.mask(options.ratios[0], 0), steps=2)
            bench.dense.append(bench.seconds(model, bench.mask(options.ratios[0], 0)))
            which = {"model": name, "side": side, "batch": batch, "steps": steps, "device": host.describe(),
                     "weights": "fp8" if options.fp8 else "bf16", "dynamic": options.dynamic,
                     "commit": host.commit(), "host": host.version()}  # fmt: skip
            for preset_name in options.presets:
                for row in bench.rows(preset_name, options):
                    rows.append(which | {k: rounded(v) for k, v in row.items()})
                    _log.info("%s %d px x%d %d steps %s", name, side, batch, steps, line(row))
                host.store(options.name, {"commands": commands, "rows": rows})
            for stack in options.beside:
                rows.append(which | {k: rounded(v) for k, v in bench.beside(stack).items()})
                _log.info("%s", rows[-1])
                host.store(options.name, {"commands": commands, "rows": rows})
        del model
        torch.cuda.empty_cache()


def line(row: Row) -> str:
    """One row for the log."""
    low, high = min(row["speedups"]), max(row["speedups"])
    return (
        f"{row['preset']} {row['ratio']} % {row['state']}: {row['speedup']:.2f}x ({low:.2f} to {high:.2f}), tokens "
        f"{row['tokens']}, step {1000 * row['step_s']:.1f} ms, outside {1000 * row['outside_s']:.0f} ms; "
        + "; ".join(row["notes"])
    )


def rounded(value: Any) -> Any:
    """Numbers with five digits after the point."""
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, 5) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
