"""Records of the judges, summed up, and the stored file `lab/results/judges.json`."""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from lab.judges.codec import folder
from tools import host

RATIOS = (6.38, 15.92, 35.36)  # % of the picture
SETS = ("choice", "more", "final")  # more: pictures that came after the choice
CELL = ("judge", "side", "kind", "steps", "sampler", "cfg", "prompted", "group", "scheme")


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half-width of the 95 % t interval."""
    from scipy.stats import t

    n, mean = len(values), float(np.mean(values))
    return mean, float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else float("inf")


def _pools(key: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The cells that a run counts in: its own; its judge's run over all bins; and all judges and runs together. Of runs
    that cover more than bins: those of bins by sampler and steps; by kind of mask; all with the same guidance."""
    judge, side, kind, steps, sampler, cfg, prompted, group, scheme = key
    if group == "shipped":
        plain = kind in map(str, RATIOS)
        by_sampler = [(judge, side, "all", steps, sampler, cfg, prompted, group, scheme)] if plain else []
        by_kind = (judge, side, "all" if plain else kind, 0, "all", cfg, prompted, group, scheme)
        return [*by_sampler, by_kind, (judge, 0, "all", 0, "all", cfg, prompted, group, scheme)]
    if group != "main" or kind not in map(str, RATIOS):
        return [key]
    run = (judge, side, "all", steps, sampler, cfg, prompted, group, scheme)
    return [key, run, ("all", 0, "all", 0, sampler, cfg, prompted, group, scheme)]


def summed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each cell: a judge, size, bin, number of steps, sampler, guidance, and scheme; with "all" for bin, or
    for judge and bin, where those are pooled.

    psnr_dense: mean, dB, capped at 60 in each run. *_change: mean of the paired difference to the dense run's own
    figure against the truth, *_half its half-width. sharpness, border: ratio of sums to the dense run's; sharpness_mid:
    geometric mean of the single ratios. tokens: mean share of the dense tokens. n: pictures; runs: masks in all.
    """
    records = [r | {"group": "main"} if r["group"] == "few" else r for r in records]
    dense = {(*(r[k] for k in CELL[:-1]), r["picture"], r["which"]): r for r in records if r["scheme"] == "dense"}
    cells: dict[tuple[Any, ...], list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
    for record in records:
        key = tuple(record[k] for k in CELL)
        if record["scheme"] != "dense":
            for pool in _pools(key):
                cells[pool].append((record, dense[(*key[:-1], record["picture"], record["which"])]))
    rows = []
    for key, pairs in cells.items():
        row: dict[str, Any] = dict(zip(CELL, key, strict=True))
        by_picture = defaultdict(list)
        for mine, its in pairs:
            by_picture[mine["picture"]].append((mine, its))
        row |= {"n": len(by_picture), "runs": len(pairs)}
        row["psnr_dense"] = round(float(np.mean([min(a["psnr_dense"], 60.0) for a, _ in pairs])), 2)
        for name in ("psnr", "ssim", "haarpsi"):
            field = f"{name}_truth"
            changes = [float(np.mean([a[field] - b[field] for a, b in group])) for group in by_picture.values()]
            mean, half = interval([c for c in changes if math.isfinite(c)])
            digits = 3 if name == "psnr" else 5
            row[f"{name}_change"] = round(mean, digits)
            row[f"{name}_change_half"] = round(half, digits) if math.isfinite(half) else None
        for name in ("sharpness", "border"):
            row[name] = round(sum(a[name] for a, _ in pairs) / max(sum(b[name] for _, b in pairs), 1e-9), 4)
        ratios = [max(a["sharpness"], 1e-6) / max(b["sharpness"], 1e-6) for a, b in pairs]
        row["sharpness_mid"] = round(float(np.exp(np.mean(np.log(ratios)))), 4)
        row["tokens"] = round(float(np.mean([a["tokens"] for a, _ in pairs])), 4)
        rows.append(row)
    return rows


def compact(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Columns once, and names as numbers, so that the stored file stays small."""
    names = sorted({row["scheme"] for row in rows})
    columns = list(rows[0]) if rows else []
    lines = [[names.index(row[c]) if c == "scheme" else row[c] for c in columns] for row in rows]
    return {"schemes": names, "columns": columns, "rows": lines}


def expand(stored: dict[str, Any]) -> list[dict[str, Any]]:
    """The inverse of `compact`."""
    rows = [dict(zip(stored["columns"], line, strict=True)) for line in stored["rows"]]
    return [row | {"scheme": stored["schemes"][row["scheme"]]} for row in rows]


def read(files: list[Path]) -> list[dict[str, Any]]:
    """Records, from plain or gzipped files of JSON lines."""
    found = []
    for file in files:
        with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
            found += [json.loads(line) for line in lines]
    return found


def store_shipped(files: list[Path], facts: dict[str, Any]) -> None:
    """`lab/results/shipped.json`: the presets as they ship, and plans by stage. facts: with their settings. Tasks
    that a deadline cut short are left out, so that all schemes are seen on the same ones."""
    records, by_task = read(files), defaultdict(list)
    for record in records:
        by_task[tuple(record[k] for k in (*CELL[:-1], "picture"))].append(record)
    most = {group: max(len(of) for key, of in by_task.items() if group in key) for group in ("shipped", "stages")}
    records = [r for of in by_task.values() if len(of) == most[of[0]["group"]] for r in of]
    path = host.ROOT / "lab" / "results" / "shipped.json"
    text = json.dumps(facts | compact(summed(records)), separators=(",", ":")).replace("],[", "],\n[")
    path.write_text(text + "\n", encoding="utf-8")


def store(files: list[Path], facts: dict[str, Any]) -> None:
    """`lab/results/judges.json` from records of all sets, which their file names tell. "wider": what all judges and
    runs give together over the pictures of *choice* and *more*."""
    training = [path for name in ("J2", "J3") if (path := folder() / f"{name}.json").exists()]
    stored: dict[str, Any] = facts | {"training": [json.loads(path.read_text()) for path in training]}
    records = {chosen: read([f for f in files if chosen in f.name]) for chosen in SETS}
    for chosen, found in records.items():
        stored[chosen] = compact(summed(found))
    later = {r["scheme"] for r in records["more"]}
    plain = [r for r in records["choice"] + records["more"] if r["group"] in ("main", "few") and r["scheme"] in later]
    stored["wider"] = compact([row for row in summed(plain) if row["judge"] == "all"])
    path = host.ROOT / "lab" / "results" / "judges.json"
    text = json.dumps(stored, separators=(",", ":")).replace("],[", "],\n[")
    path.write_text(text + "\n", encoding="utf-8")
