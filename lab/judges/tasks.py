"""What is tried on which picture: tasks in the order of their worth, and their masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lab.data import masks
from lab.judges.summary import RATIOS

KINDS = ("strokes", "tiny", "outpaint", "soft", "soft, differential", "regions")
SAMPLERS = ("dpmpp_2m", "res_multistep", "uni_pc", "euler_ancestral", "dpmpp_sde", "heun", "lms", "ipndm")
ASKED = ("euler", "dpmpp_2m", "res_multistep", "uni_pc", "euler_ancestral", "dpmpp_2m_sde", "heun", "lms", "ipndm")
EARLY = 16  # pictures on which everything is tried, before the rest of them and second masks
STAGED = 8  # pictures for plans by stage at several numbers of steps
LONG = (4, 20, 30)  # numbers of steps beside 8


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


def equal_time(numbers: Iterable[int], judges: tuple[str, ...]) -> Iterator[Task]:
    """The presets as they ship beside what takes as long."""
    for p in numbers:
        for judge in judges:
            for k in map(str, RATIOS):
                yield from (Task(judge, 512, p, k, 0, steps=s, group="equal time") for s in (8, *LONG))


def shipped(numbers: Iterable[int], judges: tuple[str, ...]) -> Iterator[Task]:
    """The presets as they ship, as artists use them: a set that covers each sampler with each number of steps and bin,
    guidance and kinds of masks with each of these, over the pictures in turn. Then plans by stage."""
    steps, bins = (4, 8, 20, 30), [str(r) for r in RATIOS]
    for p in numbers:
        for judge in judges:
            for i, s in enumerate(ASKED):
                for j, n in enumerate(steps):
                    yield Task(judge, 512, p, bins[(p + i + j) % 3], 0, n, s, group="shipped")
                yield Task(judge, 512, p, bins[(p + i) % 3], 0, steps[(p + i) % 4], s, 3.5, True, "shipped")
            for i, k in enumerate(KINDS):
                yield Task(judge, 512, p, k, 0, group="shipped")
                yield Task(judge, 512, p, k, 0, steps[(p + 2 * i) % 4], ASKED[1 + (p + i) % 8], group="shipped")
                if judge != "J3":  # it never saw grids of 64x64 tokens
                    yield Task(judge, 1024, p, k, 0, group="shipped")
            if p < STAGED:
                yield from (Task(judge, 512, p, k, 0, n, group="stages") for k in bins for n in steps[:3])


def early_few(numbers: Iterable[int], judges: tuple[str, ...]) -> Iterator[Task]:
    """All that may be chosen, on more pictures."""
    for p in numbers:
        yield from (Task(judge, 512, p, str(k), 0, group="few") for k in RATIOS for judge in judges)


def again(records: Iterable[dict[str, Any]]) -> Iterator[Task]:
    """The plain tasks that records are of, each once, for schemes that were thought of later."""
    names = [field.name for field in fields(Task)]
    seen = dict.fromkeys(Task(**{n: r[n] for n in names} | {"group": "few"}) for r in records
                         if r["group"] in ("main", "few"))  # fmt: skip
    yield from seen
