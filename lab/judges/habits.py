"""The presets as they ship, under samplers, steps, guidance and masks as artists use them: a table of `lab/REPORT.md`
from `lab/results/shipped.json`."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from lab.judges.aims import table
from lab.judges.summary import expand
from lab.judges.tasks import ASKED, KINDS
from tools import host

STEPS = (4, 8, 20, 30)
OTHERS = ("balanced, one set", "fast", "quality", "paper", "paper with mass")


@cache
def load() -> dict[str, Any]:
    """The stored file."""
    found: dict[str, Any] = json.loads((host.ROOT / "lab" / "results" / "shipped.json").read_text(encoding="utf-8"))
    return found


@cache
def rows() -> list[dict[str, Any]]:
    """Its cells, by sampler, steps, guidance and mask, and pooled."""
    return expand(load())


def _of(scheme: str, **wanted: Any) -> list[dict[str, Any]]:
    wanted |= {"group": "shipped", "scheme": scheme}
    return [r for r in rows() if all(r[k] == v for k, v in wanted.items())]


def _mean(found: list[dict[str, Any]], field: str) -> float:
    return sum(r[field] for r in found) / len(found)


def _cells(each: dict[str, list[dict[str, Any]]]) -> list[str]:
    return [f"{_mean(found, 'psnr_dense'):.1f} ({_mean(found, 'sharpness_mid'):.2f})" for found in each.values()]


def _change(found: list[dict[str, Any]]) -> str:
    (row,) = found
    return f"{row['psnr_change']:+.2f} ±{row['psnr_change_half']:.2f}"


def _runs(name: str, **wanted: Any) -> list[str]:
    """Runs with masks of all bins."""
    steps = [_of("balanced", kind="all", steps=n, side=512, **wanted) for n in STEPS]
    others = {s: _of(s, kind="all", side=512, **wanted) for s in ("balanced", *OTHERS)}
    own = {s: [r for r in found if r["steps"]] for s, found in others.items()}
    shown = " / ".join(f"{_mean(found, 'psnr_dense'):.1f}" for found in steps)
    return [name, shown, *_cells(own), f"{_mean(own['balanced'], 'psnr_change'):+.2f}"]


def _masks(kind: str) -> list[str]:
    """One kind of mask, with all samplers and steps at 512 px, and with euler and 8 steps at 1024 px."""
    sides = [_of("balanced", kind=kind, steps=0, side=side) for side in (512, 1024)]
    shown = " ; ".join(f"{_mean(found, 'psnr_dense'):.1f}" for found in sides)
    return [kind, shown, *_cells({s: _of(s, kind=kind, steps=0, side=512) for s in ("balanced", *OTHERS)}),
            _change(sides[0])]  # fmt: skip


def habits() -> str:
    """A line for each sampler, for guidance, and for each kind of mask."""
    lines = [_runs(s, sampler=s, cfg=1.0) for s in ASKED]
    lines.append(_runs("cfg 3.5", cfg=3.5))
    lines += [_masks(kind) for kind in sorted(KINDS)]
    whole = {s: _of(s, side=0) for s in ("balanced", *OTHERS)}
    lines.append(["all of these", "", *_cells(whole), _change(whole["balanced"])])
    head = ["", "`balanced`, steps 4 / 8 / 20 / 30, or px 512 ; 1024", "`balanced`", "one set", "`fast`", "`quality`",
            "`paper`", "`paper with mass`", "`balanced` to the truth"]  # fmt: skip
    facts = load()
    most = max(r["n"] for r in rows())
    source = f"\n{most} pictures; {facts['device']}; commit {facts['commit']}; `{facts['command']}`.\n"
    return table(head, lines) + source
