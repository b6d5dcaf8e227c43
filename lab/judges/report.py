"""Write the tables of `REPORT.md` beside this file from `lab/results/judges.json`: `python -m lab.judges.report`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.judges import choose, settings
from lab.judges.settings import BALANCED, FAST, LEANEST, QUALITY, THICK
from lab.judges.summary import expand
from lab.judges.tasks import KINDS

REPORT = Path(__file__).parent / "REPORT.md"
JUDGES = ("J1", "J2", "J3")
Row = dict[str, Any]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], ["---"] * len(lines[0]), *lines[1:]])


def _mean(rows: list[Row], field: str) -> float:
    return sum(r[field] for r in rows) / max(len(rows), 1)


def _figures(rows: list[Row]) -> str:
    """tokens, PSNR to dense, change to the truth, sharpness: means over the rows' bins."""
    if not rows:
        return "-"
    return (f"{_mean(rows, 'tokens'):.0%} {_mean(rows, 'psnr_dense'):.1f} {_mean(rows, 'psnr_change'):+.2f} "
            f"{_mean(rows, 'sharpness_mid'):.3f}")  # fmt: skip


def _pick(rows: list[Row], **wanted: Any) -> list[Row]:
    return [r for r in rows if all(r[k] == v for k, v in wanted.items())]


def _runs(rows: list[Row]) -> str:
    every = dict.fromkeys((r["judge"], r["side"], r["steps"]) for r in sorted(rows, key=lambda r: (
        r["judge"], r["side"], r["steps"])) if r["kind"] == "all" and r["judge"] != "all")  # fmt: skip
    names = [s.name for b in (FAST, BALANCED, QUALITY) for s in (replace(b, bias=0.75), replace(b, bias=0.92), b)]
    names += [
        LEANEST.name,
        THICK.name,
        *(n for n in settings.paper() if "0.92" not in n),
        "random with mass, tokens of balanced",
        "crop, tokens of balanced",
    ]
    names += ["dense, 4 steps", "dense, another seed"]
    lines = []
    for name in names:
        cells = []
        for judge, side, steps in every:
            found = _pick(rows, judge=judge, side=side, steps=steps, kind="all", scheme=name)
            cells.append(f"{found[0]['psnr_dense']:.1f} ({found[0]['sharpness_mid']:.2f})" if found else "-")
        whole = _pick(rows, judge="all", scheme=name)
        change = f"{whole[0]['psnr_change']:+.2f} ±{whole[0]['psnr_change_half']:.2f}" if whole else "-"
        lines.append([name, *cells, change])
    return _table(["scheme", *(f"{j} {side} px {n}" for j, side, n in every), "change to truth"], lines)


def _final(rows: list[Row]) -> str:
    names = [FAST.name, LEANEST.name, *(replace(BALANCED, bias=b).name for b in (0.75, 0.92, 1.0)), THICK.name]
    names += ["random with mass, tokens of balanced", *(f"dense, {n} steps" for n in (3, 4))]
    lines = []
    for name in names:
        line = [name]
        for judge in JUDGES:
            bins = [_pick(rows, judge=judge, kind=k, scheme=name, group="main")[0] for k in choose.RATIOS]
            pooled = _pick(rows, judge=judge, kind="all", scheme=name, group="main")[0]
            line.append(" / ".join(f"{c['psnr_dense']:.1f}" for c in bins) + f"; {pooled['psnr_change']:+.2f} "
                        f"±{pooled['psnr_change_half']:.2f}; {pooled['sharpness_mid']:.2f}")  # fmt: skip
        lines.append(line)
    return _table(["scheme", *JUDGES], lines)


def _pairs(rows: list[Row], group: str, key: Callable[[Row], str], names: tuple[str, str]) -> str:
    """One row for each key: PSNR to dense and sharpness of two schemes, for each judge."""
    lines = []
    for value in sorted({key(r) for r in rows if r["group"] == group}):
        line = [value]
        for judge in JUDGES:
            mine = [[r for r in _pick(rows, group=group, judge=judge, scheme=n) if key(r) == value] for n in names]
            both = [f"{_mean(m, 'psnr_dense'):.1f} ({_mean(m, 'sharpness_mid'):.2f})" for m in mine if m]
            line.append(" ; ".join(both) or "-")
        lines.append(line)
    return _table(["", *JUDGES], lines)


def _list(rows: list[Row], names: list[str]) -> str:
    return _table(
        ["scheme", *JUDGES], [[n, *(_figures(_pick(rows, judge=j, scheme=n)) for j in JUDGES)] for n in names]
    )


def tables() -> dict[str, str]:
    """By the name in the report's markers."""
    stored = choose.load()
    rows, final = expand(stored["choice"]), expand(stored["final"])
    models = _table(
        ["judge", "parameters", "steps", "pictures seen", "minutes", "loss", "device"],
        [[t["judge"], f"{t['parameters'] / 1e6:.1f} M", str(t["steps"]), str(t["canvases_seen"]), str(t["minutes"]),
          str(t["loss"]), t["device"]] for t in stored["training"]])  # fmt: skip
    odd = [r for r in rows if r["kind"] in KINDS]
    left_out = ("below 0.80", "quality, balanced below 0.67")
    staged = [r for r in rows if r["group"] == "stages" and r["steps"] == 8 and not r["scheme"].endswith(left_out)]
    return {
        "models": models,
        "runs": _runs([r for r in rows if r["group"] == "main"]),
        "final": _final(final),
        "stages": _list(staged, list(dict.fromkeys(r["scheme"] for r in staged))),
        "samplers": _pairs(rows, "turns", lambda r: r["sampler"], (BALANCED.name, replace(BALANCED, turns=1).name)),
        "masks": _pairs(odd, "presets", lambda r: r["kind"], (FAST.name, BALANCED.name)),
    }  # fmt: skip


def main() -> None:
    """Fill in the tables between the markers."""
    text = REPORT.read_text(encoding="utf-8")
    for name, table in tables().items():
        pattern = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = pattern.sub(lambda m, t=table: f"{m.group(1)}{t}\n{m.group(2)}", text)  # type: ignore[misc]
    REPORT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
