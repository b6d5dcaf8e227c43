"""What step caches and guidance cost alone, what a strip costs alone, and both: `python -m lab.quality.neighbours`.

Demo model, preset `balanced`, photos of lab/photos at 512 px with one drawn mask each, 8 and 20 steps; `--quick`: one
photo at 256 px, 8 steps. PSNR of the latent inside the mask: caches to the plain dense run, guidance (CFG 3, a blank
source as the negative) to the dense run with the same guidance, since it is meant to change the picture. The caches
and what they stand for are in `tests/host/neighbours`. Stores lab/results/neighbours.json, not with `--quick`.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import tests.host  # noqa: F401  # before the host's own `tests` can be found
from tools import host

Put = Callable[[Any], Any]
PRESET, SIDE, STEPS, CFG = "balanced", 512, (8, 20), 3.0


class Tail(logging.Handler):
    """The last line that the pack logged."""

    line = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.line = record.getMessage().removeprefix("HiLo-Token: ")


@dataclass(frozen=True)
class Bench:
    """One model and the photos that it edits."""

    model: Any
    photos: tuple[str, ...]
    side: int
    tail: Tail

    def patched(self, model: Any) -> Any:
        """With HiLo-Token on it."""
        from hilo_token.comfy_bridge.patch import Patch, patch_model
        from hilo_token.hilo_core.presets import preset

        return patch_model(model, Patch(preset(PRESET)))

    def run(self, put: Put, steps: int, cfg: float = 1.0) -> list[Tensor]:
        """The latent of each photo; put: what to do to the plain model."""
        from tests.host.neighbours import photo

        found = []
        for name in self.photos:
            edit = photo.edit(name, self.side)
            found.append(edit.sample(put(self.model), steps=steps, cfg=cfg))
        return found

    def near(self, results: list[Tensor], wanted: list[Tensor]) -> list[float]:
        """dB for each photo, inside the mask."""
        from tests.host.neighbours import photo

        edits = [photo.edit(name, self.side) for name in self.photos]
        triples = zip(results, wanted, edits, strict=True)
        return [round(photo.psnr(out, target, photo.editable(edit, out)), 1) for out, target, edit in triples]


def cache_rows() -> dict[str, Callable[[], Put]]:
    """By name, what makes a fresh cache and gives its `put`."""
    from comfy_extras import nodes_easycache as host_caches

    from tests.host.neighbours import caches, outputs

    easy = host_caches.EasyCacheNode
    lazy = host_caches.LazyCacheNode
    return {
        "TeaCache, as published": lambda: caches.TeaCache().put,
        "MagCache, as published": lambda: caches.MagCache().put,
        "MagCache, options handed on": lambda: caches.MagCacheThatHandsOn().put,
        "WaveSpeed FBCache": lambda: caches.FirstBlockCache().put,
        "Spectrum": lambda: caches.Spectrum().put,
        "CacheDiT": lambda: outputs.CacheDit().put,
        "replaced forward": lambda: outputs.ForwardReplaced().put,
        "EasyCache": lambda: lambda m: easy.execute(m, 0.2, 0.15, 0.95, False).args[0],
        "LazyCache": lambda: lambda m: lazy.execute(m, 0.2, 0.15, 0.95, False).args[0],
    }


def measure_caches(bench: Bench, steps: int) -> dict[str, dict[str, Any]]:
    """For each cache: alone and with HiLo-Token, to the plain dense run; both also to the cache's own dense run."""
    dense, hilo = bench.run(lambda m: m, steps), bench.run(bench.patched, steps)
    rows: dict[str, dict[str, Any]] = {"no cache": {"hilo": bench.near(hilo, dense)}}
    show(f"{steps} steps, no cache", rows["no cache"])
    for name, make in cache_rows().items():
        alone = bench.run(lambda m, make=make: make()(m), steps)
        both = bench.run(lambda m, make=make: bench.patched(make()(m)), steps)
        rows[name] = {
            "cache": bench.near(alone, dense),
            "both": bench.near(both, dense),
            "both_to_cache": bench.near(both, alone),
            "report": reason(bench.tail.line),
        }
        show(f"{steps} steps, {name}", rows[name])
    return rows


def measure_guidance(bench: Bench, steps: int) -> dict[str, dict[str, Any]]:
    """For each guidance: HiLo-Token to dense, both with it; and what leaving the guidance out would cost."""
    from tests.host.neighbours.guidance import GUIDANCE

    plain, rows = bench.run(lambda m: m, steps, CFG), {}
    for name, put in {"plain CFG": lambda m: m, **GUIDANCE}.items():
        dense = bench.run(put, steps, CFG)
        both = bench.run(lambda m, put=put: bench.patched(put(m)), steps, CFG)
        rows[name] = {
            "both": bench.near(both, dense),
            "without_guidance": bench.near(plain, dense),
            "report": reason(bench.tail.line),
        }
        show(f"{steps} steps, CFG {CFG}, {name}", rows[name])
    return rows


def reason(line: str) -> str:
    """Why a run was dense, or how many steps it compressed."""
    return line.split("; ")[0]


def show(name: str, facts: dict[str, Any]) -> None:
    """One line of progress."""
    cells = [
        f"{key} {' / '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in facts.items()
    ]
    sys.stdout.write(f"{name}: {'; '.join(cells)}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one photo at 256 px, 8 steps; nothing is stored")
    parser.add_argument("--side", type=int, default=SIDE, help="px")
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    options = parser.parse_args()
    host.prepare()
    torch.set_grad_enabled(False)
    from hilo_token.demo import model as demo_model

    from tests.host.neighbours import photo

    tail, log = Tail(), logging.getLogger("hilo-token")
    log.addHandler(tail)
    log.setLevel(logging.INFO)
    log.propagate = False
    quick = options.quick
    bench = Bench(demo_model.load(), photo.PHOTOS[1:2] if quick else photo.PHOTOS, 256 if quick else options.side, tail)
    step_counts = STEPS[:1] if quick else options.steps
    facts = {
        "command": f"python -m lab.quality.neighbours --side {bench.side} --steps {' '.join(map(str, step_counts))}",
        "device": host.describe(),
        "commit": host.commit(),
        "preset": PRESET,
        "side": bench.side,
        "photos": list(bench.photos),
        "unit": "dB of the latent inside the mask, one for each photo",
        "caches": {str(steps): measure_caches(bench, steps) for steps in step_counts},
        "guidance": {str(steps): measure_guidance(bench, steps) for steps in step_counts},
    }
    for kind in ("caches", "guidance"):
        for steps, rows in facts[kind].items():
            means = {name: round(statistics.mean(row["both"]), 1) for name, row in rows.items() if "both" in row}
            sys.stdout.write(f"{kind}, {steps} steps, mean of both: {means}\n")
    if not quick:
        host.store("neighbours", facts)


if __name__ == "__main__":
    main()
