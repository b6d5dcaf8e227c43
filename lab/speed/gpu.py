"""Whole runs of full-size models through the host's sampler, dense and with each preset: `python -m lab.speed.gpu`.

Random weights: only time and memory mean anything. Dense and compressed runs alternate; medians are stored with the
device. `same_tokens_s` is a dense step of a picture that has as many tokens as the strip.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from lab.speed.cpu import RATIOS, mask_of
from lab.speed.real_models import REAL, Real, build, inputs
from tools import host

PRESETS = ("balanced", "fast", "quality", "paper")
STACKS = ("", "EasyCache", "inductor", "cudagraphs")  # of the host
_log = logging.getLogger("lab.bench")


def run_once(model: Any, latent: torch.Tensor, conditioning: list, mask: Any, steps: int) -> tuple[float, float]:
    """(seconds, peak GiB) of one run."""
    import comfy.sample

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    noise = torch.randn_like(latent)
    start = time.perf_counter()
    comfy.sample.sample(
        model, noise, steps, 1.0, "euler", "simple", conditioning, conditioning, latent,
        noise_mask=mask, seed=0, disable_pbar=True,
    )  # fmt: skip
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start, torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0


class Calls:
    """Seconds of the model's own calls in a dense run, by CUDA events."""

    def __init__(self, model: Any) -> None:
        from comfy.patcher_extension import WrappersMP

        self.device, self.timed = model.load_device, model.clone()
        self.reset()
        self.timed.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "lab_timer", self._call)

    def _call(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        mark = self.watch.start()
        out = executor(*args, **kwargs)
        self.watch.stop(mark, dense=True)
        return out

    def reset(self) -> None:
        """Forget what was timed."""
        from hilo_token.comfy_bridge.run_report import Stopwatch

        self.watch = Stopwatch(self.device)

    def step(self) -> float:
        """Median."""
        return self.watch.seconds(dense=True) or 0.0


def busy(model: Any, latent: torch.Tensor, conditioning: list, mask: Any, steps: int) -> float:
    """Seconds for which kernels and copies ran on the GPU in each step of a run: what a step costs where the processor
    keeps up. 0 without CUDA."""
    if not torch.cuda.is_available():
        return 0.0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run_once(model, latent, conditioning, mask, steps)
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6 / steps


def stacked(model: Any, stack: str) -> Any:
    """With another speed-up of the host on it."""
    if stack == "EasyCache":
        from comfy_extras.nodes_easycache import EasyCacheNode

        return EasyCacheNode.execute(model, 0.2, 0.15, 0.95, False).args[0]
    if stack in ("inductor", "cudagraphs"):
        from comfy_extras.nodes_torch_compile import TorchCompileModel

        return TorchCompileModel.execute(model, stack).args[0]
    return model


def strip_step(model: Any, real: Real, tokens: int) -> float:
    """Seconds of a dense step of a picture of so many tokens, 64 tokens wide where that divides them."""
    wide = next(w for w in (64, 32, 16, 8, 4, 2, 1) if tokens % w == 0)
    latent, conditioning = inputs(real, 0, shape=(tokens // wide, wide))
    calls = Calls(model)
    run_once(calls.timed, latent, conditioning, None, 5)
    return calls.step()


def bench(name: str, real: Real, options: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Rows for one model, canvas by canvas: mask ratio, preset."""
    from hilo_token.comfy_bridge.patch import Patch, patch_model
    from hilo_token.comfy_bridge.run_report import RunReport
    from hilo_token.hilo_core.presets import preset

    model = build(real, options.layers, options.fp8)
    for side in options.sides:
        rows: list[dict[str, Any]] = []
        latent, conditioning = inputs(real, side)
        calls, reports = Calls(model), {p: [] for p in options.presets}
        dense_model = stacked(calls.timed, options.stack)
        hilo = {p: stacked(patch_model(model, Patch(preset(p), on_report=reports[p].append)), options.stack)
                for p in options.presets}  # fmt: skip
        for warm in (dense_model, *hilo.values()):
            run_once(warm, latent, conditioning, mask_of(RATIOS[0], 0, side), options.steps if options.stack else 2)
        found: dict[Any, list[tuple[float, float, RunReport]]] = {}
        dense: list[tuple[float, float]] = []
        calls.reset()
        for ratio in options.ratios:
            for shape in range(options.shapes):
                mask = mask_of(ratio, shape, side)
                if shape % 3 == 0:
                    dense.append(run_once(dense_model, latent, conditioning, mask, options.steps))
                for p in options.presets:
                    timed = run_once(hilo[p], latent, conditioning, mask, options.steps)
                    found.setdefault((ratio, p), []).append((*timed, reports[p][-1]))
        dense_s, dense_busy = statistics.median(seconds for seconds, _ in dense), 0.0
        if options.profile:
            dense_busy = busy(dense_model, latent, conditioning, mask_of(RATIOS[0], 0, side), 2)
        for (ratio, p), runs in found.items():
            hilo_s, last = statistics.median(r[0] for r in runs), [r[2] for r in runs]
            compressed = statistics.median(r.compressed_seconds or 0.0 for r in last)
            spent = [(r.compressed_seconds or 0) * r.compressed_steps + (r.dense_seconds or 0) * r.dense_steps
                     for r in last]  # fmt: skip
            row = {
                "commit": host.commit(),
                "model": name, "side": side, "ratio": ratio, "preset": p, "steps": options.steps,
                "stack": options.stack, "weights": "fp8" if options.fp8 else "bf16", "layers": options.layers,
                "dense_s": dense_s, "hilo_s": hilo_s, "speedup": dense_s / hilo_s,
                "speedups": [dense_s / r[0] for r in runs],
                "dense_gib": max(g for _, g in dense), "hilo_gib": max(r[1] for r in runs),
                "tokens": [r.kept for r in last], "total": last[-1].total,
                "dense_step_s": calls.step(), "compressed_step_s": compressed,
                "outside_share": statistics.median(1 - s / r[0] for s, r in zip(spent, runs, strict=True)),
                "dense_outside_share": 1 - calls.step() * options.steps / dense_s,
            }  # fmt: skip
            if options.same and p == "balanced":
                row["same_tokens_s"] = strip_step(model, real, last[0].kept)
                row["own_step_s"] = last[0].compressed_seconds
            if options.profile:
                row["dense_busy_s"] = dense_busy
                row["hilo_busy_s"] = busy(hilo[p], latent, conditioning, mask_of(ratio, 0, side), 2)
            rows.append({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
            _log.info("%s %d px %s %% %s: %.2fx, %s tokens, step %.1f of %.1f ms", name, side, ratio, p,
                      row["speedup"], row["tokens"], 1000 * compressed, 1000 * calls.step())  # fmt: skip
        yield rows


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(REAL))
    parser.add_argument("--sides", nargs="*", type=int, default=[1024, 1536, 2048])
    parser.add_argument("--ratios", nargs="*", type=float, default=list(RATIOS))
    parser.add_argument("--presets", nargs="*", default=["balanced"], choices=PRESETS)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--shapes", type=int, default=3, help="masks of different shape for each ratio")
    parser.add_argument("--layers", type=int, default=0, help="at most so many blocks of each kind, for a trial")
    parser.add_argument("--stack", default="", choices=STACKS, help="on top of both")
    parser.add_argument("--fp8", action="store_true", help="weights in float8_e4m3fn, cast by the host")
    parser.add_argument("--same", action="store_true", help="also time a dense step of as many tokens")
    parser.add_argument("--profile", action="store_true", help="also the time for which kernels ran")
    parser.add_argument("--append", action="store_true", help="keep the rows of the result file")
    parser.add_argument("--name", default="bench_gpu", help="of the result file")
    options = parser.parse_args()
    host.prepare()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    _log.setLevel(logging.INFO)
    torch.set_grad_enabled(False)
    rows, commands, file = [], [], host.ROOT / "lab" / "results" / f"{options.name}.json"
    if options.append and file.exists():
        stored = json.loads(file.read_text())
        rows, commands = stored["rows"], stored["commands"]
    commands.append(" ".join(["python -m lab.speed.gpu", *sys.argv[1:]]))
    for name in options.models:
        for found in bench(name, REAL[name], options):
            rows += found
            facts = {"commands": commands, "device": host.describe(), "commit": host.commit(), "rows": rows}
            host.store(options.name, facts)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
