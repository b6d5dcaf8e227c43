"""Pictures of the report: `python -m lab.quality.sheets` fills again the ten worst runs of `balanced`.

A row each: the source with its mask, the dense fill, the compressed fill, and their difference times ten. Cut to the
mask and its surroundings. Only drawn scenes and the photos of this repository are shown; others are not ours to share.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lab.data import scenes
from lab.quality import evaluate
from tools import host

PICTURES = 30  # as many as were evaluated, so that names and numbers agree
TILE, FOLDER = 200, host.ROOT / "lab" / "report"


def tile(picture: torch.Tensor, box: tuple[int, int, int, int]) -> Image.Image:
    """(1, 3, H, W) in 0..1, cut to (left, top, right, bottom)."""
    array = (picture[0].movedim(0, -1).cpu().numpy() * 255).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(array).crop(box).resize((TILE, TILE), Image.Resampling.LANCZOS)


def square_around(mask: torch.Tensor, margin: int = 48) -> tuple[int, int, int, int]:
    """The square (left, top, right, bottom) that shows the mask."""
    y, x = torch.where(mask)
    side = min(int(max(np.ptp(y.numpy()), np.ptp(x.numpy()))) + 2 * margin, min(mask.shape))
    left, top = (
        int(np.clip((int(v.min()) + int(v.max()) - side) // 2, 0, size - side))
        for v, size in ((x, mask.shape[1]), (y, mask.shape[0]))
    )
    return left, top, left + side, top + side


def row(bench: evaluate.Bench, where: dict[str, Any], scheme: str) -> Image.Image:
    """Source with mask, dense, compressed, difference x 10."""
    array = dict(evaluate.sources(PICTURES, where["side"], bench.extent.cache))[where["picture"]]
    job = bench.job(where | {"seeds": (where["seed"],)}, array)
    truth, box = job.pixels.movedim(-1, 1), square_around(job.mask)
    (dense, _), (out, _) = bench.fill("dense", job), bench.fill(scheme, job)
    shown = torch.where(job.mask, 0.5 * truth + 0.5 * torch.tensor([1.0, 0.1, 0.3]).view(1, 3, 1, 1), truth)
    line = Image.new("RGB", (4 * TILE, TILE))
    for number, picture in enumerate((shown, dense, out, (10 * (out - dense).abs()).clamp(0, 1))):
        line.paste(tile(picture, box), (number * TILE, 0))
    return line


def sheet(rows: list[Image.Image], file: Path) -> None:
    """Rows below one another."""
    whole = Image.new("RGB", (rows[0].width, TILE * len(rows)))
    for number, line in enumerate(rows):
        whole.paste(line, (0, number * TILE))
    FOLDER.mkdir(exist_ok=True)
    whole.save(file, quality=70)


def main() -> None:
    """Write `worst.jpg`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=host.CACHE / "train", help="where the photos are")
    options = parser.parse_args()
    evaluate.prepare()
    bench = evaluate.Bench(evaluate.Extent(PICTURES, (), options.cache, only=("balanced",)))
    own = {file.stem for file in (host.ROOT / "lab" / "photos").glob("*.jpg")}
    stored = json.loads((host.ROOT / "lab" / "results" / "evaluate.json").read_text())
    worst = [
        {k: run[k] for k in ("picture", "number", "side", "ratio", "steps", "seed")}
        for run in stored["worst"]
        if run["picture"] in own or run["picture"].split()[0] in scenes.KINDS
    ]
    sheet([row(bench, where, "balanced") for where in worst], FOLDER / "worst.jpg")
    sys.stdout.write(f"{FOLDER}\n")


if __name__ == "__main__":
    main()
