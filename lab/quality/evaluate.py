"""Quality against time: `python -m lab.quality.evaluate --quick` takes minutes on a CPU; without it, a GPU.

Every scheme fills the same held-out pictures from the same noise. `--map` varies the settings of `balanced` one at a
time instead. Cost is the time that a FLUX.1 would take for the tokens that the model was really called with, over
that of its dense run (`hilo_core.cost`): the demo model is too small for its own time to mean anything.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import shlex
import sys
import time
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hilo_token.demo import model as demo_model
from hilo_token.hilo_core.presets import PRESETS
from PIL import Image

from lab.data import masks, pictures, scenes
from lab.quality import summaries
from lab.train import autoencoder as train_autoencoder
from tools import host

RATIOS = (6.38, 15.92, 35.36)
RUNS = [f"{side},{steps},{seed}" for side, steps, seed in product((512, 1024), (8, 20), (0, 1))]


def sources(count: int, side: int, cache: Path) -> list[tuple[str, np.ndarray]]:
    """(name, (side, side, 3) uint8): photos that were not trained on, and scenes drawn from other seeds."""
    cached = [f for f in sorted((cache / "photos").glob("*.jpg")) if pictures.held_out(f)]
    files = sorted((Path(__file__).parents[1] / "photos").glob("*.jpg")) + [
        f for f in cached if f.stem != pictures.DEMO
    ]
    found = []
    for file in files[: count // 2]:
        with Image.open(file) as picture:
            short = min(picture.size)
            box = ((picture.width - short) // 2, (picture.height - short) // 2)
            square = picture.convert("RGB").crop((*box, box[0] + short, box[1] + short))
            found.append((file.stem, np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))))
    rest = range(count - len(found))
    kinds = scenes.KINDS
    return found + [(f"{kinds[i % len(kinds)]} {i}", scenes.draw(7000 + i, side, kinds[i % len(kinds)])) for i in rest]


@dataclass(frozen=True)
class Extent:
    """How much to evaluate."""

    pictures: int
    runs: tuple[tuple[int, int, int], ...]  # (side in px, steps, seed)
    cache: Path
    map: bool = False
    only: tuple[str, ...] = ()
    tuned: str = ""  # weights of the model that was fine-tuned on strips
    lora: str = ""
    deadline: float = float("inf")  # time.time() after which no other picture is begun
    done: frozenset[tuple[Any, ...]] = frozenset()  # what earlier calls have recorded, see `summaries.key`


def mask_of(number: int, at: int, side: int) -> np.ndarray:
    """(side, side) bool: of eight drawn, at half the size, the one that is nearest to the bin's ratio."""
    kind, half = masks.KINDS[(number + at) % 3], side // 2
    drawn = [masks.draw(np.random.default_rng((number, at, k)), half, half, RATIOS[at] / 100, kind) for k in range(8)]
    return min(drawn, key=lambda mask: abs(100 * mask.mean() - RATIOS[at])).repeat(2, 0).repeat(2, 1)


class Meter:
    """Adds up the predicted FLUX.1 time of every call that the model really gets."""

    def __init__(self, network: torch.nn.Module) -> None:
        from lab.quality.schemes import SHAPE

        self.time, self.shape = 0.0, SHAPE
        # after the block: a call that only asks for positions stops within it
        network.double_blocks[0].register_forward_hook(self._note, with_kwargs=True)

    def _note(self, module: torch.nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        tokens = named["img"].shape[1]
        biased = "optimized_attention_override" in (named.get("transformer_options") or {})
        self.time += self.shape.cost(tokens, biased)


def load_models(extent: Extent) -> dict[str, Any]:
    """ModelPatchers by name."""
    import comfy.sd
    import comfy.utils

    models = {"base": demo_model.load()}
    if extent.tuned:
        models["tuned on strips"] = demo_model.load(Path(extent.tuned))
    if extent.lora:
        weights = comfy.utils.load_torch_file(extent.lora, safe_load=True)
        models["strip LoRA"] = comfy.sd.load_lora_for_models(models["base"], None, weights, 1.0, 0.0)[0]
    return models


class Bench:
    """The models and the schemes of one process."""

    def __init__(self, extent: Extent) -> None:
        import comfy.sd
        import comfy.utils

        from lab.quality.schemes import main_schemes, map_schemes

        self.extent = extent
        self.vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(train_autoencoder.WEIGHTS)))
        self.models = load_models(extent)
        self.meters = [Meter(m.model.diffusion_model) for n, m in self.models.items() if n != "strip LoRA"]
        every = map_schemes() if extent.map else main_schemes(tuple(n for n in self.models if n != "base"))
        self.schemes = {n: run for n, run in every.items() if not extent.only or n in ("dense", *extent.only)}

    def fill(self, scheme: str, job: Any) -> tuple[torch.Tensor, float]:
        """(seeds, 3, H, W) on the CPU or GPU, and the predicted time."""
        for meter in self.meters:
            meter.time = 0.0
        out = self.schemes[scheme](job).clamp(0, 1).movedim(-1, 1).float()
        return out.to(host.device()), sum(meter.time for meter in self.meters)

    def job(self, where: dict[str, Any], array: np.ndarray) -> Any:
        """One run of one picture."""
        from lab.quality.schemes import make_job

        mask = torch.from_numpy(mask_of(where["number"], RATIOS.index(where["ratio"]), where["side"]))
        pixels = torch.from_numpy(array.astype(np.float32) / 255)[None]
        return make_job(self.models, self.vae, pixels, mask, where["steps"], where["seeds"])


def seeds_by_run(runs: tuple[tuple[int, int, int], ...]) -> dict[tuple[int, int], tuple[int, ...]]:
    """Seeds by (side, steps): those of one run are sampled as one batch."""
    return {run[:2]: tuple(seed for *other, seed in runs if tuple(other) == run[:2]) for run in runs}


def evaluate(extent: Extent, part: int = 0, parts: int = 1) -> list[dict[str, Any]]:
    """One record for each scheme, picture, mask, size, number of steps and seed."""
    from lab.quality.metrics import compare

    bench, records = Bench(extent), []
    for (side, steps), seeds in seeds_by_run(extent.runs).items():
        numbered = list(enumerate(sources(extent.pictures, side, extent.cache)))[part::parts]
        for (number, (name, array)), ratio in product(numbered, RATIOS):
            if time.time() > extent.deadline:
                continue
            where = {"picture": name, "number": number, "side": side, "ratio": ratio, "steps": steps}
            rows = {s: [r for k in seeds if summaries.key(r := {"scheme": s, **where, "seed": k}) not in extent.done]
                    for s in bench.schemes}  # fmt: skip
            if not any(rows.values()):
                continue
            job = bench.job(where | {"seeds": seeds}, array)
            truth, mask = job.pixels.movedim(-1, 1).to(host.device()), job.mask.to(host.device())
            reference, dense_time = bench.fill("dense", job)
            for scheme, wanted in rows.items():
                if not wanted:
                    continue
                out, took = (reference, dense_time) if scheme == "dense" else bench.fill(scheme, job)
                for row in wanted:
                    mine, its = (pictures_of[seeds.index(row["seed"])][None] for pictures_of in (out, reference))
                    figures = compare(mine, its, truth, mask, full=not extent.map)
                    records.append({**row, "cost": took / dense_time, **figures, "commit": host.commit()})
    return records


def prepare() -> None:
    """For this process."""
    host.prepare()
    logging.getLogger().setLevel(logging.WARNING)
    torch.set_grad_enabled(False)


def _shard(arguments: tuple[Extent, int, int]) -> list[dict[str, Any]]:
    prepare()
    torch.set_num_threads(1)
    return evaluate(*arguments)


def collect(extent: Extent, jobs: int) -> list[dict[str, Any]]:
    """All records, by so many processes."""
    if jobs == 1:
        return evaluate(extent)
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        return [r for part in pool.imap(_shard, [(extent, i, jobs) for i in range(jobs)]) for r in part]


def chosen(records: list[dict[str, Any]], extent: Extent) -> list[dict[str, Any]]:
    """Those of the extent's runs and schemes."""
    schemes = {"dense", *extent.only} if extent.only else {r["scheme"] for r in records}
    return [r for r in records if r["scheme"] in schemes and (r["side"], r["steps"], r["seed"]) in extent.runs]


def main() -> None:
    """Run, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pictures of 512 px, 8 steps, one seed")
    parser.add_argument("--map", action="store_true", help="vary the settings of balanced")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--runs", nargs="*", default=RUNS,
                        help="side,steps,seed")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--schemes", nargs="*", default=[], help="names from lab.quality.schemes; all if none")
    parser.add_argument("--cache", type=Path, default=host.CACHE / "train", help="where the photos are")
    parser.add_argument("--tuned", default="", help="weights of lab.train.strips")
    parser.add_argument("--lora", default="", help="LoRA of lab.train.strips")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no other picture after so many")
    parser.add_argument("--name", default="", help="of the result file")
    parser.add_argument("--records", type=Path, help="file of single records: those in it are not made again")
    options = parser.parse_args()
    runs = tuple(tuple(int(v) for v in run.split(",")) for run in options.runs)
    extent = Extent(
        options.pictures, runs, options.cache, options.map, tuple(options.schemes), options.tuned, options.lora,
        time.time() + 60 * options.minutes,
    )  # fmt: skip
    if options.quick:
        extent = Extent(2, ((512, 8, 0),), options.cache, options.map, tuple(options.schemes))
    prepare()
    stored = summaries.load(options.records) if options.records else []
    extent = replace(extent, done=frozenset(map(summaries.key, stored)))
    made = collect(extent, options.jobs)
    if options.records:
        summaries.append(options.records, made)
    records = chosen(stored + made, extent)
    name = options.name or ("evaluate_map" if options.map else "evaluate") + ("_quick" if options.quick else "")
    facts = {
        "command": f"python -m lab.quality.evaluate {shlex.join(sys.argv[1:])}".rstrip(),
        "device": host.describe(),
        "commit": ", ".join(dict.fromkeys(r["commit"] for r in records)),
        "pictures": len({r["picture"] for r in records}),
        "records": len(records),
        "runs": [list(run) for run in extent.runs],
        "presets": {name: asdict(chosen) for name, chosen in PRESETS.items()},
        "rows": summaries.rows(records),
        "worst": summaries.worst(records, "balanced"),
    }
    host.store(name, facts)
    sys.stdout.write(summaries.table(facts["rows"]))


if __name__ == "__main__":
    main()
