"""Records of the evaluation, summed up: means, and 95 % intervals of what changes against dense."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = ("psnr_dense", "ssim_dense", "haarpsi_dense", "psnr_truth", "ssim_truth", "ring_shift")
MEANS = (*COLUMNS, "ring_psnr_dense", "gmsd_dense", "fsim_dense", "ms_ssim_dense", "gmsd_truth", "haarpsi_truth",
         "fsim_truth", "ms_ssim_truth")  # fmt: skip
KEY = ("picture", "side", "ratio", "steps", "seed")


def key(record: dict[str, Any]) -> tuple[Any, ...]:
    """What tells records apart."""
    return record["scheme"], *(record[k] for k in KEY)


def load(file: Path) -> list[dict[str, Any]]:
    """The records of a file, one JSON object a line; none if it is not there yet."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def append(file: Path, records: list[dict[str, Any]]) -> None:
    """Add records to a file."""
    with file.open("a") as out:
        out.writelines(json.dumps(record) + "\n" for record in records)


def interval(values: list[float], below: list[float] | None = None, draws: int = 2000) -> tuple[float, float, float]:
    """(estimate, lower, upper): the mean of `values`, or their sum over that of `below`; 95 % bootstrap interval.

    One value for each picture, so that pictures are what is drawn.
    """
    rng = np.random.default_rng(0)
    top, bottom = np.asarray(values), np.ones(len(values)) if below is None else np.asarray(below)
    chosen = rng.integers(len(top), size=(draws, len(top)))
    means = top[chosen].sum(axis=1) / np.maximum(bottom[chosen].sum(axis=1), 1e-12)
    low, high = (float(np.quantile(means, q)) for q in (0.025, 0.975))
    return float(top.sum() / max(bottom.sum(), 1e-12)), low, high


def finite(values: list[float]) -> list[float]:
    """Without NaN, which piq's FSIM gives on pictures of one colour."""
    return [v for v in values if math.isfinite(v)]


def by_picture(records: list[dict[str, Any]], column: str) -> dict[str, float]:
    """Mean of a column for each picture."""
    values = defaultdict(list)
    for record in records:
        values[record["picture"]].append(record[column])
    return {name: statistics.fmean(found) for name, found in values.items()}


def row(scheme: str, mine: list[dict[str, Any]], dense: list[dict[str, Any]]) -> dict[str, Any]:
    """One scheme on one set of runs; `dense` holds the same runs."""
    found: dict[str, Any] = {"scheme": scheme, "count": len(mine)}
    found["speed"] = round(1 / statistics.fmean(r["cost"] for r in mine), 3)
    for column in MEANS:
        values = finite([r[column] for r in mine if column in r])
        found[column] = round(statistics.fmean(values), 4) if values else None
    for column in ("psnr_truth", "ssim_truth"):
        ours, theirs = by_picture(mine, column), by_picture(dense, column)
        found[f"{column}_change"] = [round(v, 4) for v in interval([ours[n] - theirs[n] for n in ours])]
    for column in ("sharpness", "border"):
        ours, theirs = by_picture(mine, column), by_picture(dense, column)
        found[column] = [round(v, 4) for v in interval(list(ours.values()), [theirs[n] for n in ours])]
    return found


def rows(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each scheme and mask ratio: a row over all runs, then one for each number of steps, and for each size and
    number of steps, where there are several."""
    found = []
    for scheme, ratio in dict.fromkeys((r["scheme"], r["ratio"]) for r in records):
        mine, dense = ([r for r in records if (r["scheme"], r["ratio"]) == (s, ratio)] for s in (scheme, "dense"))
        for parts in ((), ("steps",), ("side", "steps")):
            cells = dict.fromkeys(tuple(r[p] for p in parts) for r in mine)
            for cell in cells if len(cells) > 1 or not parts else ():
                a, b = ([r for r in group if tuple(r[p] for p in parts) == cell] for group in (mine, dense))
                found.append({"ratio": ratio, **dict(zip(parts, cell, strict=True)), **row(scheme, a, b)})
    return found


def worst(records: list[dict[str, Any]], scheme: str, count: int = 10) -> list[dict[str, Any]]:
    """The runs that lost most PSNR against the truth compared with dense."""
    dense = {tuple(r[k] for k in KEY): r for r in records if r["scheme"] == "dense"}
    mine = [r for r in records if r["scheme"] == scheme]
    for record in mine:
        record["loss"] = dense[tuple(record[k] for k in KEY)]["psnr_truth"] - record["psnr_truth"]
    chosen = sorted(mine, key=lambda r: -r["loss"])[:count]
    return [{k: r[k] for k in (*KEY, "number")} | {k: round(r[k], 3) for k in ("loss", "psnr_dense")} for r in chosen]


def table(found: list[dict[str, Any]]) -> str:
    """For the terminal; rows over all sizes and steps."""
    lines = [f"{'scheme':34}{'mask':>8}{'speed':>8}" + "".join(f"{c:>15}" for c in COLUMNS) + "      sharp     border"]
    for r in found:
        if "steps" not in r:
            values = "".join(f"{r[c]:>15.3f}" if r[c] is not None else f"{'':>15}" for c in COLUMNS)
            lines.append(f"{r['scheme']:34}{r['ratio']:>6.2f} %{r['speed']:>7.2f}x{values}"
                         f"{r['sharpness'][0]:>11.3f}{r['border'][0]:>11.3f}")  # fmt: skip
    return "\n".join(lines) + "\n"
