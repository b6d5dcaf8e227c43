"""Where the first run after loading spends its time: `python -m lab.speed.cold` on a GPU.

FLUX.1 Fill at its size with random weights, 1024 px, 8 steps. Each part is timed with the GPU awaited before and after,
so the parts are a little longer than in a run; stored as lab/results/cold.json.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch

from lab.speed.cpu import RATIOS
from lab.speed.real_models import REAL, build
from lab.speed.runs import Bench, forget, rounded
from tools import host

_log = logging.getLogger("lab.cold")
Parts = dict[str, float]


def timed(function: Callable[..., Any], name: str, parts: Parts) -> Callable[..., Any]:
    """The same, its seconds added to a part; what it calls of other parts is taken from its own."""

    def call(*args: Any, **kwargs: Any) -> Any:
        torch.cuda.synchronize()
        start, before = time.perf_counter(), sum(parts.values())
        try:
            return function(*args, **kwargs)
        finally:
            torch.cuda.synchronize()
            parts[name] = parts.get(name, 0.0) + time.perf_counter() - start - (sum(parts.values()) - before)

    return call


@contextlib.contextmanager
def watching(parts: Parts) -> Iterator[None]:
    """Within, the parts of a run are timed."""
    from hilo_token.comfy_bridge import graph, graph_store, patch, probe, run

    looked = [(patch, "_make_run", "planning"), (probe, "_probe", "tiny picture"),
              (graph_store.Trial, "run", "first call"),
              (run.Run, "_make_layouts", "positions and bias"), (graph.Graph, "__init__", "capture")]  # fmt: skip
    with contextlib.ExitStack() as stack:
        for owner, name, what in looked:
            stack.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name), what, parts)))
        yield


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="FLUX.1 Fill")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=0, help="at most so many blocks of each kind, for a trial")
    parser.add_argument("--shapes", type=int, default=3, help="masks for each ratio")
    options = parser.parse_args()
    host.prepare()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    _log.setLevel(logging.INFO)
    torch.set_grad_enabled(False)
    from hilo_token.comfy_bridge.patch import Patch, patch_model
    from hilo_token.hilo_core.presets import preset

    model = build(REAL[options.model], options.layers)
    bench, reports = Bench(model, REAL[options.model], options.side, 1, 8), list[Any]()
    patched = patch_model(model, Patch(preset("balanced"), on_report=reports.append))
    bench.seconds(patched, bench.mask(RATIOS[0], 9))
    rows = []
    for ratio in RATIOS:
        found: list[Parts] = []
        for seed in range(options.shapes):
            forget()
            parts, mask = Parts(), bench.mask(ratio, seed)
            with watching(parts):
                seconds = bench.seconds(patched, mask)
            rest = seconds - sum(parts.values())
            found.append({**parts, "all other calls, and the rest": rest, "in all": seconds})
        names = list(dict.fromkeys(name for parts in found for name in parts))
        row = {name: statistics.median(parts.get(name, 0.0) for parts in found) for name in names}
        rows.append({"ratio": ratio, "tokens": reports[-1].kept, **{k: rounded(v) for k, v in row.items()}})
        _log.info("%s", rows[-1])
    command = " ".join(["python -m lab.speed.cold", *sys.argv[1:]])
    facts = {"command": command, "device": host.describe(), "commit": host.commit(), "host": host.version()}
    host.store("cold", {**facts, "model": options.model, "side": options.side, "rows": rows})


if __name__ == "__main__":
    main()
