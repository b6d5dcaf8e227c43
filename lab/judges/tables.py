"""The judges' tables of `lab/REPORT.md`, and the figure of the stages, from `lab/results/judges.json`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from lab.judges import choose, habits, settings
from lab.judges.aims import aims, shipped, table
from lab.judges.settings import BALANCED, FAST, LEAN, QUALITY, THICK, Setting
from lab.judges.summary import expand
from lab.judges.tasks import KINDS
from lab.plot import COLOURS, Series, chart
from tools import host

JUDGES = ("J1", "J2", "J3")
WIDE = Setting("2-4-8 wide", 2, 0.03)  # measured with every sampler and against rivals of equal time
Row = dict[str, Any]


@cache
def _rows(chosen: str) -> list[Row]:
    return expand(choose.load()[chosen])


def _named() -> dict[str, str]:
    """Schemes by what the tables call them."""
    ours = {f"`{name}`": shipped(name).name for name in ("fast", "balanced", "quality")}
    before = {f"{n}, as it was (bias 0.75)": replace(s, bias=0.75).name for n, s in
              (("fast", FAST), ("balanced", BALANCED), ("quality", QUALITY))}  # fmt: skip
    whole = {"fast, as it was, bias 1": FAST.name, "balanced, 50 % of the energy, bias 1": BALANCED.name}
    papers = {"`paper`": "paper", "`paper with mass`": "paper, bias 1, real tokens"}
    rivals = {"random tokens with mass": "random with mass, tokens of balanced",
              "crop, as many tokens": "crop, tokens of balanced"}  # fmt: skip
    return ours | before | whole | papers | rivals | {n: n for n in ("dense, 4 steps", "dense, another seed")}


def _mean(rows: list[Row], field: str) -> float:
    return sum(r[field] for r in rows) / max(len(rows), 1)


def _pick(rows: list[Row], **wanted: Any) -> list[Row]:
    return [r for r in rows if all(r[k] == v for k, v in wanted.items())]


def _short(rows: list[Row]) -> str:
    return f"{_mean(rows, 'psnr_dense'):.1f} ({_mean(rows, 'sharpness_mid'):.2f})" if rows else "-"


def judges() -> str:
    """How the models were trained."""
    vae, dit = (json.loads((host.ROOT / "lab" / "results" / f"{n}.json").read_text()) for n in ("autoencoder", "dit"))
    quality, size = f"PSNR {vae['psnr_held_out_db']} dB", f"{dit['parameters'] / 1e6:.1f} M"
    lines = [["J1's autoencoder", "-", str(vae["steps"]), "-", quality, vae["device"]],
             ["J1", size, str(dit["steps"]), "-", str(dit["loss"]), dit["device"]]]  # fmt: skip
    lines += [[t["judge"], f"{t['parameters'] / 1e6:.1f} M", str(t["steps"]), str(t["canvases_seen"]), str(t["loss"]),
               t["device"]] for t in choose.load()["training"]]  # fmt: skip
    return table(["model", "parameters", "steps", "pictures seen", "held-out, or loss", "device"], lines)


def runs() -> str:
    """Every run of the choice."""
    rows = _pick(_rows("choice"), group="main", kind="all")
    single = sorted((r["judge"], r["side"], r["steps"]) for r in rows if r["judge"] != "all")
    every = list(dict.fromkeys(single))
    lines, today = [], {s.name for s in settings.later()}
    for shown, name in _named().items():
        cells = [_short(_pick(rows, judge=j, side=side, steps=n, scheme=name)) for j, side, n in every]
        if name not in today and not name.startswith(("dense", "crop")):  # of a pack whose references were coarser
            cells = [f"{c} †" if j == "J3" and c != "-" else c for c, (j, _, _) in zip(cells, every, strict=True)]
        found = [_pick(_rows("more"), judge=j, kind="all", scheme=name, group="main") for j in JUDGES]
        cells.append(" ; ".join(_short(f) for f in found))
        whole = _pick(rows, judge="all", scheme=name)
        change = f"{whole[0]['psnr_change']:+.2f} ±{whole[0]['psnr_change_half']:.2f}" if whole else "-"
        lines.append([shown, *cells, change])
    head = [
        "",
        *(f"{j} {side} px {n}" for j, side, n in every),
        "8 more, 512 px 8: J1 ; J2 ; J3",
        "change to truth, dB",
    ]
    return table(head, lines)


def _changes(row: Row) -> str:
    psnr, ssim = row["psnr_change"], row["ssim_change"]
    return f"{psnr:+.2f} ±{row['psnr_change_half']:.2f}; {ssim:+.4f} ±{row['ssim_change_half']:.4f}"


def wider() -> str:
    """Changes to the truth on the choice's pictures, on these with eight more, and on the final ones."""
    lines = []
    for shown, name in _named().items():
        line = [shown]
        for chosen in ("choice", "wider", "final"):
            found = _pick(_rows(chosen), judge="all", scheme=name, group="main")
            line.append(_changes(found[0]) if found else "-")
        if shown.startswith("`") or shown == "dense, 4 steps":
            lines.append(line)
    counts = {c: max(r["n"] for r in _rows(c) if r["judge"] == "all") for c in ("choice", "wider", "final")}
    return table(["PSNR, dB; SSIM", *(f"{c}, {n} pictures" for c, n in counts.items())], lines)


def final() -> str:
    """The pictures that were looked at once."""
    rows, lines = _pick(_rows("final"), group="main"), []
    for shown, name in _named().items():
        line = [shown]
        for judge in JUDGES:
            bins = [_pick(rows, judge=judge, kind=k, scheme=name) for k in choose.RATIOS]
            pooled = _pick(rows, judge=judge, kind="all", scheme=name)
            if not pooled or not all(bins):
                break
            line.append(" / ".join(f"{c[0]['psnr_dense']:.1f}" for c in bins) + f"; {pooled[0]['psnr_change']:+.2f} "
                        f"±{pooled[0]['psnr_change_half']:.2f}; {pooled[0]['sharpness_mid']:.2f}")  # fmt: skip
        if len(line) == 4 and (shown.startswith("`") or shown.startswith(("dense, 4", "random", "crop"))):
            lines.append(line)
    return table(["", *JUDGES], lines)


def equal() -> str:
    """1024 px, 8 steps: beside what takes as long, by the cost model."""
    rows = _pick(_rows("choice"), group="main", side=1024, steps=8)
    lines = []
    for name in ("fast", "balanced", "quality"):
        setting = shipped(name)
        fewer = [max(1, round(8 / s)) for s in choose.speeds(setting)]
        pairs = {f"`{name}`": [setting.name] * 3,
                 f"dense, {' / '.join(map(str, fewer))} steps": [f"dense, {n} steps" for n in fewer]}  # fmt: skip
        for shown, names in pairs.items():
            line = [shown]
            for judge in ("J1", "J2"):
                found = [
                    _pick(rows, judge=judge, kind=k, scheme=n)[0] for k, n in zip(choose.RATIOS, names, strict=True)
                ]
                line.append(" / ".join(f"{f['psnr_dense']:.1f}" for f in found) + "; "
                            + " / ".join(f"{f['sharpness_mid']:.2f}" for f in found))  # fmt: skip
            lines.append(line)
    return table(["PSNR to dense in each bin; sharpness", "J1", "J2"], lines)


def _by_judge(cells: dict[str, list[Row]], schemes: dict[str, str]) -> str:
    """A line for each judge, with its cells of several schemes under each heading."""
    lines = [[judge, *(" ; ".join(_short(_pick(found, judge=judge, scheme=n)) for n in schemes.values())
                       for found in cells.values())] for judge in JUDGES]  # fmt: skip
    return table([" ; ".join(schemes), *cells], lines)


def caches() -> str:
    """512 px: what takes as long as a setting between `balanced` and `quality`."""
    rows = _pick(_rows("choice"), group="equal time")
    names = {"strip": WIDE.name, "dense, fewer steps": "dense, fewer steps", "EasyCache": "EasyCache",
             "reused": "reused keys and values"}  # fmt: skip
    return _by_judge({f"{n} steps": _pick(rows, steps=n) for n in (4, 8, 20, 30)}, names)


def stages() -> str:
    """Plans by stage: tokens, PSNR to dense, change to the truth, sharpness."""
    rows = [r for r in _rows("choice") if r["group"] == "stages" and r["steps"] == 8]
    lines = []
    for name in dict.fromkeys(r["scheme"] for r in rows):
        if not name.endswith(("below 0.80", "quality, balanced below 0.67")):
            cells = [_pick(rows, judge=j, scheme=name) for j in JUDGES]
            lines.append([name.removeprefix("stages: "), *(
                f"{_mean(c, 'tokens'):.0%} {_mean(c, 'psnr_dense'):.1f} {_mean(c, 'psnr_change'):+.2f} "
                f"{_mean(c, 'sharpness_mid'):.3f}" for c in cells)])  # fmt: skip
            later = [_pick(habits.rows(), group="stages", scheme=name, steps=n) for n in (4, 8, 20)]
            lines[-1].append(" / ".join(f"{_mean(c, 'psnr_dense'):.1f}" for c in later))
    return table(["", *JUDGES, "J1, other pictures: dB at 4 / 8 / 20 steps"], lines)


def stage_plot() -> str:
    """Agreement with dense against the stage from which on context is lean."""
    rows = _pick(_rows("choice"), steps=8, side=512)
    series = []
    for judge, colour in zip(JUDGES, COLOURS, strict=False):
        points = [(0.0, _mean(_pick(rows, judge=judge, group="main", scheme=BALANCED.name, kind="all"), "psnr_dense"))]
        points += [(s, _mean(_pick(rows, judge=judge, group="stages",
                                   scheme=f"stages: balanced, lean below {s:.2f}"), "psnr_dense"))
                   for s in (0.35, 0.67, 0.8)]  # fmt: skip
        lean = _pick(rows, judge=judge, group="main", scheme=LEAN.name, kind="all")
        points.append((1.0, _mean(lean, "psnr_dense")))
        series.append(Series(judge, points, colour, True))
    return chart("512 px, 8 steps: balanced, then lean context", "lean below this sigma (0: never, 1: always)",
                 "PSNR to the dense fill, dB", series)  # fmt: skip


def samplers() -> str:
    """Turns against one set: `balanced` as it was, then "wide", a setting between `balanced` and `quality`."""
    cells: dict[str, list[Row]] = {}
    for base, group, shown in ((BALANCED, "turns", "{0}"), (WIDE, "habits", "wide, {0}, {1} steps")):
        names = {base.name: "turns", replace(base, turns=1).name: "one set"}
        for row in _pick(_rows("choice"), group=group):
            if row["scheme"] in names and (group == "turns" or row["sampler"] in ("lms", "ipndm")):
                heading = shown.format(row["sampler"], row["steps"])
                cells.setdefault(heading, []).append(row | {"scheme": names[row["scheme"]]})
    return _by_judge({h: cells[h] for h in sorted(cells)}, {"turns": "turns", "one set": "one set"})


def masks() -> str:
    """Masks and guidance as artists use them."""
    rows = [r for r in _rows("choice") if r["group"] in ("presets", "habits") and r["sampler"] == "euler"
            and r["steps"] == 8]  # fmt: skip
    plain = [r for r in rows if r["cfg"] == 1.0 and not r["prompted"]]
    cells = {kind: _pick(plain, kind=kind) for kind in sorted(KINDS)}
    cells |= {"prompt": [r for r in rows if r["cfg"] == 1.0 and r["prompted"]]}
    cells |= {"cfg 3.5": [r for r in rows if r["cfg"] != 1.0]}
    return _by_judge(
        cells, {"balanced, bias 0.92": replace(BALANCED, bias=0.92).name, "`quality`": shipped("quality").name}
    )


def lora() -> str:
    """Strips with and without their own LoRA, in a sentence."""
    rows = _pick(_rows("choice"), group="lora")
    names = {"wide, margin 2": WIDE.name, "`quality`": replace(THICK, energy=0.25, bias=0.92).name}
    parts = []
    for shown, name in names.items():
        each = [" / ".join(_short(_pick(rows, judge=j, scheme=n)) for j in JUDGES) for n in (name, f"{name}, LoRA")]
        parts.append(f"{shown}: without {each[0]}, with {each[1]}")
    return f"{'; '.join(parts)} ({' / '.join(JUDGES)}).\n"


TABLES: dict[str, Callable[[], str]] = {
    "judges": judges, "aims": aims, "runs": runs, "wider": wider, "final": final, "equal": equal,
    "caches": caches, "stages": stages, "samplers": samplers, "habits": habits.habits,
    "masks": masks, "lora": lora,
}  # fmt: skip
