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
ONE_SET, SCHEMES = "balanced, one set", ("balanced", "fast", "quality", "paper", "paper with mass")


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


def _runs(found: list[dict[str, Any]]) -> str:
    return str(sum(r["runs"] for r in found))


def _change(found: list[dict[str, Any]]) -> str:
    (row,) = found
    half = row["psnr_change_half"]  # none of a single picture
    return f"{row['psnr_change']:+.2f}" + (f" ±{half:.2f}" if half is not None else "")


def _by_steps(scheme: str, **wanted: Any) -> str:
    found = [_of(scheme, kind="all", steps=n, side=512, **wanted) for n in STEPS]
    return " / ".join(f"{_mean(each, 'psnr_dense'):.1f}" for each in found)


def _sampler(name: str) -> list[str]:
    """Runs with masks of all bins."""
    found = {s: [r for r in _of(s, kind="all", sampler=name, cfg=1.0) if r["steps"]] for s in SCHEMES}
    steps = [_by_steps(s, sampler=name, cfg=1.0) for s in ("balanced", ONE_SET)]
    change = _mean(found["balanced"], "psnr_change")
    return [name, _runs(found["balanced"]), *steps, *_cells(found), f"{change:+.2f}"]


def _masks(kind: str) -> list[str]:
    """One kind of mask, with all samplers and steps at 512 px, and with euler and 8 steps at 1024 px."""
    by_side = []
    for scheme in ("balanced", ONE_SET):
        sides = [_of(scheme, kind=kind, steps=0, side=side) for side in (512, 1024)]
        by_side.append(" ; ".join(f"{_mean(each, 'psnr_dense'):.1f}" if each else "-" for each in sides))
    found = {s: _of(s, kind=kind, steps=0, side=512) for s in SCHEMES}
    return [kind, _runs(found["balanced"]), *by_side, *_cells(found), _change(found["balanced"])]


def habits() -> str:
    """A line for each sampler, for guidance, and for each kind of mask."""
    lines = [_sampler(s) for s in ASKED] + [_masks(kind) for kind in sorted(KINDS)]
    for name, cfg in (("all of these", 1.0), ("cfg 3.5, all samplers", 3.5)):
        found = {s: _of(s, side=0, cfg=cfg) for s in SCHEMES}
        steps = [_by_steps(s, cfg=cfg) if cfg != 1.0 else "" for s in ("balanced", ONE_SET)]
        lines.append([name, _runs(found["balanced"]), *steps, *_cells(found), _change(found["balanced"])])
    tokens = [f"{_mean(_of(s, side=0, cfg=1.0), 'tokens'):.0%}" for s in SCHEMES]
    lines.append(["share of the tokens", "", "", "", *tokens, ""])
    head = ["steps 4 / 8 / 20 / 30, or px 512 ; 1024", "runs", "`balanced`", "one set", *(f"`{s}`" for s in SCHEMES),
            "`balanced` to the truth"]  # fmt: skip
    facts = load()
    most = max(r["n"] for r in rows())
    return (
        table(head, lines) + f"\n{most} pictures; {facts['device']}; commit {facts['commit']}; `{facts['command']}`.\n"
    )
