"""Paired figures of many pictures: means with bootstrap intervals, the worst first. Pure arithmetic on records.

A record is one run of one preset: {"picture", "seed", "preset", figures}. Seeds of one picture are no independent
evidence, so they are averaged first, and pictures are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

DRAWS = 4000
FIGURES = ("psnr", "ssim", "worst_psnr", "sharper", "rougher", "speedup", "outside")
Interval = tuple[float, float, float]  # mean, and both ends of its 95 % interval


def by_picture(records: Iterable[dict[str, Any]], figure: str) -> dict[str, float]:
    """The mean over seeds of one figure, for each picture that has it."""
    found: dict[str, list[float]] = {}
    for one in records:
        if one.get(figure) is not None:
            found.setdefault(one["picture"], []).append(float(one[figure]))
    return {name: float(np.mean(values)) for name, values in found.items()}


def interval(values: Sequence[float], seed: int = 0) -> Interval | None:
    """Mean and 95 % bootstrap interval over pictures (percentiles of resampled means); None of fewer than two."""
    if len(values) < 2:
        return None
    given, rng = np.asarray(values, dtype=float), np.random.default_rng(seed)
    means = given[rng.integers(0, len(given), (DRAWS, len(given)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(given.mean()), float(low), float(high)


def paired(records: Sequence[dict[str, Any]], one: str, other: str, figure: str) -> Interval | None:
    """How much more of a figure preset `one` has than `other`, on the pictures that both have."""
    a, b = (by_picture((r for r in records if r["preset"] == name), figure) for name in (one, other))
    return interval([a[name] - b[name] for name in sorted(a.keys() & b.keys())])


def summary(records: Sequence[dict[str, Any]], presets: Sequence[str]) -> dict[str, Any]:
    """For each preset each figure's interval, and of each two presets the paired difference in PSNR."""
    tables = {}
    for name in presets:
        own = [r for r in records if r["preset"] == name]
        tables[name] = {figure: interval(list(by_picture(own, figure).values())) for figure in FIGURES}
        tables[name]["runs"] = len(own)
        tables[name]["dense_runs"] = sum(bool(r.get("reason")) for r in own)
    pairs = [(a, b) for i, a in enumerate(presets) for b in presets[i + 1 :]]
    return {"presets": tables, "psnr_difference": {f"{a} - {b}": paired(records, a, b, "psnr") for a, b in pairs}}


def worst_first(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records that have figures, by the PSNR of their worst place."""
    return sorted((r for r in records if r.get("worst_psnr") is not None), key=lambda r: float(r["worst_psnr"]))
