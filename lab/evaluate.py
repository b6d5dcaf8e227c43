"""Quality against time: `python -m lab.evaluate --quick` takes minutes on a CPU; without --quick it is meant for a GPU.

Every scheme fills the same held-out pictures from the same noise; figures are means with 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lab import demo_model, masks, pictures, scenes, train_autoencoder
from tools import host

RATIOS = (6.38, 15.92, 35.36)
COLUMNS = ("seconds", "psnr_dense", "ssim_dense", "psnr_truth", "ssim_truth", "sharpness", "border")


def sources(count: int, side: int) -> list[tuple[str, np.ndarray]]:
    """(name, (side, side, 3) uint8): photos that were not trained on, and scenes drawn from other seeds."""
    cached = [f for f in sorted((host.CACHE / "train" / "photos").glob("*.jpg")) if pictures.held_out(f)]
    files = sorted((Path(__file__).parent / "photos").glob("*.jpg")) + [f for f in cached if f.stem != pictures.DEMO]
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
    sides: tuple[int, ...] = (512, 1024)
    steps: tuple[int, ...] = (8, 20)
    seeds: int = 2


QUICK = Extent(6, (512,), (8,), 1)


def evaluate(extent: Extent, only: list[str]) -> list[dict[str, Any]]:
    """One record for each scheme, picture, mask, size, number of steps and seed."""
    import comfy.sd
    import comfy.utils

    from lab.metrics import compare
    from lab.schemes import all_schemes, make_job

    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(train_autoencoder.WEIGHTS)))
    model = demo_model.load()
    chosen = {name: run for name, run in all_schemes().items() if not only or name in ("dense", *only)}
    records = []
    for side in extent.sides:
        numbered = list(enumerate(sources(extent.pictures, side)))
        for (number, (name, array)), (at, ratio) in product(numbered, enumerate(RATIOS)):
            rng, kind = np.random.default_rng((number, at)), masks.KINDS[(number + at) % 3]
            mask = torch.from_numpy(masks.draw(rng, side, side, ratio / 100, kind))
            job = make_job(vae, torch.from_numpy(array.astype(np.float32) / 255)[None], mask)
            truth = job.pixels.movedim(-1, 1)
            for steps, seed in product(extent.steps, range(extent.seeds)):
                where = {"picture": name, "side": side, "ratio": ratio, "steps": steps, "seed": seed}
                dense = None
                for scheme, run in chosen.items():
                    start = time.perf_counter()
                    out = run(model, vae, job, steps, seed).clamp(0, 1).movedim(-1, 1).float().cpu()
                    seconds = time.perf_counter() - start
                    dense = out if dense is None else dense
                    records.append({"scheme": scheme, **where, "seconds": seconds, **compare(out, dense, truth, mask)})
    return records


def summary(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each scheme and ratio: mean, and the interval of the paired difference to dense for truth metrics."""
    from lab.metrics import interval

    rows = []
    key = ("picture", "side", "ratio", "steps", "seed")
    dense = {tuple(r[k] for k in key): r for r in records if r["scheme"] == "dense"}
    for scheme in dict.fromkeys(r["scheme"] for r in records):
        for ratio in RATIOS:
            mine = [r for r in records if r["scheme"] == scheme and r["ratio"] == ratio]
            row: dict[str, Any] = {"scheme": scheme, "ratio": ratio, "count": len(mine)}
            for column in COLUMNS:
                row[column] = round(statistics.fmean(r[column] for r in mine), 4)
            for column in ("psnr_truth", "ssim_truth"):
                pairs = [r[column] - dense[tuple(r[k] for k in key)][column] for r in mine]
                row[f"{column}_change"] = [round(v, 4) for v in interval(pairs)]
            rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """For the terminal."""
    lines = [f"{'scheme':32}{'mask':>7}" + "".join(f"{c:>13}" for c in COLUMNS)]
    for r in rows:
        lines.append(f"{r['scheme']:32}{r['ratio']:>6}%" + "".join(f"{r[c]:>13.3f}" for c in COLUMNS))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few pictures of 512 px, 8 steps, one seed")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--schemes", nargs="*", default=[], help="names from lab.schemes; all if none")
    options = parser.parse_args()
    host.prepare()
    logging.getLogger().setLevel(logging.WARNING)
    torch.set_grad_enabled(False)
    records = evaluate(QUICK if options.quick else Extent(options.pictures), options.schemes)
    rows = summary(records)
    facts = {
        "command": " ".join(["python -m lab.evaluate", *sys.argv[1:]]),
        "device": host.describe(),
        "commit": host.commit(),
        "pictures": len({r["picture"] for r in records}),
        "rows": rows,
    }
    host.store("evaluate_quick" if options.quick else "evaluate", facts)
    sys.stdout.write(table(rows))


if __name__ == "__main__":
    main()
