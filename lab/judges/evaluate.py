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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from lab.data import masks, scenes
from lab.judges import schemes, settings
from lab.judges.codec import folder
from lab.judges.schemes import Job, Scheme
from lab.judges.settings import BALANCED, FAST, LEAN, QUALITY
from lab.judges.summary import RATIOS, SETS, store
from tools import host

KINDS = ("strokes", "tiny", "outpaint", "soft", "soft, differential", "regions")
SAMPLERS = ("dpmpp_2m", "res_multistep", "uni_pc", "euler_ancestral", "dpmpp_sde", "heun", "lms", "ipndm")
SCENES = {"choice": range(7000, 7008), "final": range(7100, 7108)}
EARLY = 16  # pictures on which everything is tried, before the rest of them and second masks
FIELDS = ("psnr_dense", "psnr_truth", "ssim_truth", "haarpsi_truth", "sharpness", "border", "tokens")


@dataclass(frozen=True)
class Task:
    """One dense run and what is compared with it."""

    judge: str
    side: int
    picture: int
    kind: str  # a mask ratio in %, or one of KINDS
    which: int  # of the masks of this kind
    steps: int = 8
    sampler: str = "euler"
    cfg: float = 1.0
    prompted: bool = False
    group: str = "main"  # which schemes


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


def mask_of(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """(side, side) float, what the sampler gets, and bool, where figures are taken."""
    side, half = task.side, task.side // 2
    seed = (task.picture, task.which, sum(map(ord, task.kind)))
    rng = np.random.default_rng(seed)
    if task.kind == "outpaint":
        mask = np.zeros((side, side), dtype=bool)
        mask[:, int(0.75 * side) // 16 * 16 :] = True
        mask = np.ascontiguousarray(np.rot90(mask, task.picture + task.which))
    elif task.kind == "strokes":
        mask = np.zeros((half, half), dtype=bool)
        for _ in range(9):
            mask |= masks.draw(rng, half, half, 0.006, "stroke")
        mask = mask.repeat(2, 0).repeat(2, 1)
    elif task.kind == "regions":
        mask = np.zeros((half, half), dtype=bool)
        for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
            part = masks.draw(rng, half // 2, half // 2, 0.16, "object")
            mask[y * half // 2 : (y + 1) * half // 2, x * half // 2 : (x + 1) * half // 2] = part
        mask = mask.repeat(2, 0).repeat(2, 1)
    elif task.kind == "tiny":
        mask = np.zeros((side, side), dtype=bool)
        edge = side // 16
        y, x = (int(v) for v in rng.integers(edge, side - 2 * edge, 2))
        mask[y : y + edge, x : x + edge] = True
    else:
        ratio = 15.92 if task.kind.startswith("soft") else float(task.kind)
        kind = masks.KINDS[(task.picture + task.which) % 3]
        drawn = [masks.draw(np.random.default_rng((*seed, k)), half, half, ratio / 100, kind) for k in range(8)]
        mask = min(drawn, key=lambda m: abs(100 * m.mean() - ratio)).repeat(2, 0).repeat(2, 1)
    value = mask.astype(np.float32)
    if task.kind.startswith("soft"):
        width = side // 16
        soft = F.avg_pool2d(torch.from_numpy(value)[None, None], 2 * width + 1, 1, width, count_include_pad=False)
        value = F.avg_pool2d(soft, 2 * width + 1, 1, width, count_include_pad=False)[0, 0].numpy()
        mask = value > 0.5
    return value, mask


def _main(steps: int) -> dict[str, Scheme]:
    found = {s.name: schemes.node(s.preset) for s in settings.settings()}
    found |= {name: schemes.node(p) for name, p in settings.paper().items()}
    return found | schemes.rivals(steps)


def _few(steps: int) -> dict[str, Scheme]:
    found = {s.name: schemes.node(s.preset) for s in settings.few()}
    found |= {name: schemes.node(p) for name, p in settings.paper().items()}
    return found | schemes.rivals(steps)


def _turns(steps: int) -> dict[str, Scheme]:
    sets = (BALANCED, replace(BALANCED, turns=1), FAST, replace(FAST, turns=1), QUALITY)
    return {s.name: schemes.node(s.preset) for s in sets}


def _presets(steps: int) -> dict[str, Scheme]:
    sets = (BALANCED, FAST, QUALITY, replace(BALANCED, bias=0.75), replace(BALANCED, bias=0.92))
    return {s.name: schemes.node(s.preset) for s in sets}


SIGMAS = {"one step": (0.7, 0.0)}
BIASES = (0.6, 0.75, 0.9, 1.0, 1.1)
GROUPS: dict[str, Callable[[int], dict[str, Scheme]]] = {
    "main": _main,
    "few": _few,
    "turns": _turns,
    "presets": _presets,
    "stages": lambda steps: schemes.stages() | {LEAN.name: schemes.node(LEAN.preset)},
    "one step": lambda steps: {
        s.name: schemes.node(s.preset, SIGMAS["one step"])
        for s in (replace(base, bias=b) for base in (BALANCED, FAST) for b in BIASES)
    },
}


def tasks(judges: tuple[str, ...], counts: dict[int, int], chosen: str, quick: bool) -> Iterator[Task]:
    """In the order of their worth. counts: pictures of each size."""
    bins, n = [str(r) for r in RATIOS], counts[512]
    if quick:
        for judge in judges:
            yield Task(judge, 256, 0, bins[0], 0, steps=2, group="stages")
            yield Task(judge, 256, 1, "soft, differential", 0, steps=2, group="turns", sampler="dpmpp_sde")
            yield Task(judge, 256, 1, bins[1], 0, steps=2, group="one step")
            yield Task(judge, 256, 0, bins[0], 0, steps=2, cfg=3.5, group="presets")
            yield Task(judge, 256, 0, bins[0], 0, steps=2, group="rivals")
            for kind in KINDS:
                yield Task(judge, 256, 0, kind, 0, steps=1, group="turns")
        return
    if chosen == "final":
        for w in range(2):
            for p in range(n):
                yield from (Task(judge, 512, p, k, w, group="few") for k in bins for judge in judges)
        return
    early = min(n, EARLY)
    yield from _of(range(early), bins, judges)
    large = [judge for judge in judges if judge != "J3"]  # J3 never saw grids of 64x64 tokens
    for p in range(early):
        for k in bins:
            for judge in judges:
                yield Task(judge, 512, p, k, 0, group="stages")
                yield Task(judge, 512, p, k, 0, steps=4, group="few")
                yield Task(judge, 512, p, k, 0, steps=20, group="few")
            if p < min(counts[1024], 10):
                yield from (Task(judge, 1024, p, k, 0, group="few") for judge in large)
        if p < 10:
            yield from _habits(p, bins, judges)
    for p in range(early):
        yield from (Task(j, 512, p, k, 0, steps=s, group="stages") for k in bins for j in judges for s in (4, 20))
    yield from _of(range(early, n), bins, judges)
    for p in range(n):
        yield from (Task(judge, 512, p, k, 1, group="few") for k in bins for judge in judges)


def _of(numbers: range, bins: list[str], judges: tuple[str, ...]) -> Iterator[Task]:
    for p in numbers:
        yield from (Task(judge, 512, p, k, 0) for k in bins for judge in judges)


def _habits(p: int, bins: list[str], judges: tuple[str, ...]) -> Iterator[Task]:
    """Samplers, guidance and masks as artists use them, on one picture."""
    for judge in judges:
        for k in bins:
            yield from (Task(judge, 512, p, k, 0, sampler=s, group="turns") for s in SAMPLERS)
            yield Task(judge, 512, p, k, 0, group="one step")
            if judge != "J1":
                yield Task(judge, 512, p, k, 0, cfg=3.5, group="presets")
                yield Task(judge, 512, p, k, 0, prompted=True, group="presets")
        yield from (Task(judge, 512, p, k, 0, group="presets") for k in KINDS)


class Bench:
    """The judges and pictures of one process."""

    def __init__(self, chosen: str, quick: bool) -> None:
        from lab.judges.models import Loaded

        self.device = host.device()
        self.judges = {name: Loaded(name, self.device) for name in ("J1", "J2", "J3")}
        sides = (256,) if quick else (512, 1024)
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
            groups = GROUPS | {"rivals": schemes.rivals}
            self.made[key] = {"dense": lambda job: reference, **groups[task.group](task.steps)}
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
    parser.add_argument("--sum", type=Path, nargs="*", help="files of records to store")
    parser.add_argument("--command", default="", help="with --sum: how the records were made")
    parser.add_argument("--device", default="", help="with --sum: on which device")
    options = parser.parse_args()
    if options.sum:
        command = options.command or shlex.join(["python", "-m", "lab.judges.evaluate", *sys.argv[1:]])
        store(options.sum, {"command": command, "device": options.device, "commit": host.commit()})
        return
    host.prepare()
    logging.getLogger().setLevel(logging.ERROR)
    torch.set_grad_enabled(False)
    torch.set_num_threads(1 if torch.cuda.is_available() else 2)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    bench = Bench(options.set, options.quick)
    part, parts = (int(v) for v in options.part.split("/"))
    counts = {side: len(found) for side, found in bench.pictures.items()} | ({} if not options.quick else {512: 2})
    todo = list(tasks(tuple(options.judges), counts, options.set, options.quick))
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
