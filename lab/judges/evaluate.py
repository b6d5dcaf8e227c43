"""Measure: `python -m lab.judges.evaluate --part 0/1 --records FILE [--set choice|final] [--quick]`.

Every scheme fills the same held-out pictures from the same noise as the dense run. One process measures its part of
the jobs, the most wanted first, and appends to its file; `python -m lab.judges.evaluate --sum FILE...` turns files of
records into `lab/results/judges.json`, which holds means and half-widths of 95 % intervals, no single record.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hilo_token.hilo_core.presets import PRESETS
from PIL import Image

from lab.data import scenes
from lab.judges import rivals, schemes, settings
from lab.judges.codec import folder
from lab.judges.schemes import Job, Scheme
from lab.judges.settings import BALANCED, FAST, LEAN, QUALITY
from lab.judges.summary import SETS, read, store, store_shipped
from lab.judges.tasks import EARLY, Task, again, early_few, equal_time, mask_of, shipped, tasks
from lab.quality import evaluate as quality
from tools import host

SCENES = {"choice": range(7000, 7008), "final": range(7100, 7108)}
FIELDS = ("psnr_dense", "psnr_truth", "ssim_truth", "haarpsi_truth", "sharpness", "border", "tokens")


def pictures(chosen: str, side: int) -> list[tuple[str, np.ndarray]]:
    """(name, (side, side, 3) uint8) of one set. Photographs that no judge was trained on, and drawn scenes."""
    files = sorted((folder() / chosen).glob("*.jpg"))
    found = []
    for file in files:
        with Image.open(file) as picture:
            short = min(picture.size)
            left, top = ((n - short) // 2 for n in picture.size)
            square = picture.convert("RGB").crop((left, top, left + short, top + short))
            found.append((file.stem, np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))))
    return found + [(f"scene {seed}", scenes.draw(seed, side)) for seed in SCENES[chosen]]


def _main(steps: int) -> dict[str, Scheme]:
    found = {s.name: schemes.node(s.preset) for s in settings.settings()}
    found |= {name: schemes.node(p) for name, p in settings.paper().items()}
    return found | rivals.rivals(steps)


def _few(steps: int) -> dict[str, Scheme]:
    found = {s.name: schemes.node(s.preset) for s in settings.few()}
    found |= {name: schemes.node(p) for name, p in settings.paper().items()}
    return found | rivals.rivals(steps)


def _turns(steps: int) -> dict[str, Scheme]:
    sets = (BALANCED, replace(BALANCED, turns=1), FAST, replace(FAST, turns=1), QUALITY)
    return {s.name: schemes.node(s.preset) for s in sets}


def _presets(steps: int) -> dict[str, Scheme]:
    sets = (BALANCED, FAST, QUALITY, replace(BALANCED, bias=0.75), replace(BALANCED, bias=0.92))
    return {s.name: schemes.node(s.preset) for s in sets}


def _shipped(steps: int) -> dict[str, Scheme]:
    named = {name: PRESETS[name] for name in ("fast", "balanced", "quality", "paper", "paper with mass")}
    fixed = {
        f"{n}, one set": replace(p, tokens=replace(p.tokens, turns=1)) for n, p in named.items() if n == "balanced"
    }
    return {name: schemes.node(p) for name, p in (named | fixed).items()}


SIGMAS = {"one step": (0.7, 0.0)}
BIASES = (0.6, 0.75, 0.9, 1.0, 1.1)
GROUPS: dict[str, Callable[[int], dict[str, Scheme]]] = {
    "main": _main,
    "few": _few,
    "turns": _turns,
    "presets": _presets,
    "shipped": _shipped,
    "equal time": lambda steps: _shipped(steps) | rivals.equal_time(),
    "stages": lambda steps: schemes.stages() | {LEAN.name: schemes.node(LEAN.preset)},
    "one step": lambda steps: {
        s.name: schemes.node(s.preset, SIGMAS["one step"])
        for s in (replace(base, bias=b) for base in (BALANCED, FAST) for b in BIASES)
    },
}


class Bench:
    """The judges and pictures of one process."""

    def __init__(self, chosen: str, judges: Iterable[str], sides: tuple[int, ...], only: tuple[str, ...] = ()) -> None:
        from lab.judges.models import Loaded

        self.only = only
        self.device = host.device()
        self.judges = {name: Loaded(name, self.device) for name in judges}
        self.pictures = {side: pictures(chosen, side) for side in sides}
        self.made: dict[tuple[str, int], dict[str, Scheme]] = {}

    def run(self, task: Task, deadline: float) -> Iterator[dict[str, Any]]:
        """One record for each scheme."""
        from lab.quality.metrics import border_jump, psnr, ring_of, sharpness, ssim

        name, array = self.pictures[task.side][task.picture]
        value, hard = mask_of(task)
        pixels = torch.from_numpy(array.astype(np.float32) / 255)[None].to(self.device)
        mask, where = torch.from_numpy(value).to(self.device), torch.from_numpy(hard).to(self.device)
        job = Job(self.judges[task.judge], pixels, mask, where, task.steps, task.sampler, task.cfg, task.prompted,
                  "differential" in task.kind, seed=task.picture)  # fmt: skip
        sigmas = SIGMAS.get(task.group)
        wide = where | ring_of(where)
        rows, columns = torch.where(wide)
        box = (..., slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1))
        truth = pixels.movedim(-1, 1)
        reference = schemes.dense(sigmas=sigmas)(job).clamp(0, 1).movedim(-1, 1)
        key = (task.group, task.steps)
        if key not in self.made:
            groups = GROUPS | {"rivals": rivals.rivals}
            made = {"dense": schemes.dense(), **groups[task.group](task.steps)}
            self.made[key] = {name: fill for name, fill in made.items() if not self.only or name in self.only}
        import piq

        for scheme, fill in self.made[key].items():
            if time.time() > deadline:
                return
            job.tokens.clear()
            out = reference if scheme == "dense" else fill(job).clamp(0, 1).movedim(-1, 1)
            o, r, t, inner = (x[box].contiguous() for x in (out, reference, truth, where))
            figures = [psnr(o, r, inner), psnr(o, t, inner), ssim(o, t, inner), piq.haarpsi(o, t, data_range=1.0),
                       sharpness(o, inner), border_jump(o, inner)]  # fmt: skip
            numbers = torch.stack([f.float().reshape(()) for f in figures]).tolist()
            numbers.append(job.tokens[-1] if job.tokens else 1.0)
            yield {**task.__dict__, "name": name, "scheme": scheme,
                   **dict(zip(FIELDS, (round(v, 5) for v in numbers), strict=True))}  # fmt: skip


def main() -> None:
    """Measure one part, or sum up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="choice")
    parser.add_argument("--part", default="0/1", help="k/n: every n-th task, from the k-th on")
    parser.add_argument("--judges", nargs="*", default=["J1", "J2", "J3"])
    parser.add_argument("--records", type=Path, help="appended to")
    parser.add_argument("--until", type=float, default=float("inf"), help="stop at this time.time()")
    parser.add_argument("--quick", action="store_true", help="a trial of every kind of task at 256 px")
    parser.add_argument("--shipped", action="store_true", help="the presets as they ship, as artists use them")
    parser.add_argument("--equal", action="store_true", help="the presets as they ship, beside what takes as long")
    parser.add_argument("--more", type=int, nargs=2, metavar=("FROM", "TO"), help="only plain runs of these pictures")
    parser.add_argument("--like", type=Path, nargs="*", help="only the plain runs of these records")
    parser.add_argument("--schemes", nargs="*", default=[], help="only these")
    parser.add_argument("--kinds", nargs="*", default=[], help="only masks of these kinds")
    parser.add_argument("--sum", type=Path, nargs="*", help="files of records to store")
    parser.add_argument("--command", default="", help="with --sum: how the records were made")
    parser.add_argument("--device", default="", help="with --sum: on which device")
    options = parser.parse_args()
    if options.sum:
        command = options.command or shlex.join(["python", "-m", "lab.judges.evaluate", *sys.argv[1:]])
        facts = {"command": command, "device": options.device, "commit": host.commit()}
        if options.shipped:
            store_shipped(options.sum, facts | {"presets": quality.settings()})
        else:
            store(options.sum, facts)
        return
    host.prepare()
    logging.getLogger().setLevel(logging.ERROR)
    torch.set_grad_enabled(False)
    torch.set_num_threads(1 if torch.cuda.is_available() else 2)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    sides = (256,) if options.quick else (512, 1024)
    bench = Bench(options.set, options.judges, sides, tuple(options.schemes))
    part, parts = (int(v) for v in options.part.split("/"))
    counts = {side: len(found) for side, found in bench.pictures.items()} | ({} if not options.quick else {512: 2})
    todo = list(tasks(tuple(options.judges), counts, options.set, options.quick))
    if options.shipped:
        todo = list(shipped(range(min(counts[512], EARLY)), tuple(options.judges)))
    if options.equal:
        todo = list(equal_time(range(counts[512]), tuple(options.judges)))
    if options.more:
        todo = list(early_few(range(*options.more), tuple(options.judges)))
    if options.like:
        todo = list(again(read(options.like)))
    todo = [task for task in todo if not options.kinds or task.kind in options.kinds]
    done, start = 0, time.time()
    with options.records.open("a") as out:
        for task in todo[part::parts]:
            if time.time() > options.until:
                break
            try:
                for record in bench.run(task, options.until):
                    out.write(json.dumps(record, separators=(",", ":")) + "\n")
                    done += 1
            except Exception:  # one task that fails must not cost the others their device time
                logging.getLogger().error("%s\n%s", task, traceback.format_exc())
            out.flush()
    logging.getLogger().error("part %s: %d fills, %d tasks of mine, %.0f s", options.part, done, len(todo[part::parts]),
                              time.time() - start)  # fmt: skip


if __name__ == "__main__":
    main()
