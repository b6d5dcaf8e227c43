"""The report of a comparison: `report.json` with every figure, `report.html` with contact sheets, the worst first."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .runs import DENSE, Runs
from .statistics import FIGURES, Interval, summary, worst_first

SHEETS, SIDE, GAIN = 24, 320, 8
TITLES = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "worst_psnr": "worst place, dB",
    "sharper": "sharpness, times dense",
    "rougher": "border step, times dense",
    "speedup": "times faster",
    "outside": "largest change outside, of 1",
}
STYLE = (
    "body{font:15px sans-serif;margin:2em}td,th{padding:4px 10px;border-bottom:1px solid #ccc;text-align:left}"
    "figure{margin:1.5em 0}img{max-width:100%}"
)
EXPLAINED = (
    "All figures compare with dense on the same noise, inside the edit, decoded whole and before any compositing; a "
    "VAE spreads a little of an edit beyond it. In brackets: 95 % bootstrap interval over pictures; seeds of one "
    "picture are averaged first. Without one there are too few pictures for a claim."
)


def write(runs: Runs, facts: dict[str, Any]) -> dict[str, Any]:
    """Both files; gives what the JSON has."""
    records = [r for r in runs.records() if r["preset"] in runs.presets and r["seed"] in runs.seeds]
    found = facts | {"pictures": len({r["picture"] for r in records}), "seeds": runs.seeds}
    found |= summary(records, runs.presets) | {"records": records}
    (runs.folder / "report.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (runs.folder / "sheets").mkdir(exist_ok=True)
    for old in (runs.folder / "sheets").glob("*.jpg"):
        old.unlink()
    sheets = [(_sheet(runs, r, number), r) for number, r in enumerate(worst_first(records)[:SHEETS])]
    (runs.folder / "report.html").write_text(_page(found, runs.presets, sheets), encoding="utf-8")
    return found


def _sheet(runs: Runs, record: dict[str, Any], number: int) -> str:
    """Dense, compressed, difference of one run, with a frame around the worst place; the file's name."""
    pair = [
        Image.open(runs.shown(record["picture"], record["seed"], p)).convert("RGB") for p in (DENSE, record["preset"])
    ]
    apart = np.abs(np.asarray(pair[1], dtype=np.int16) - np.asarray(pair[0], dtype=np.int16)) * GAIN
    tiles = [*pair, Image.fromarray(apart.clip(0, 255).astype(np.uint8))]
    top, left, bottom, right = record["worst"]
    for tile in tiles[1:]:
        ImageDraw.Draw(tile).rectangle(
            (left, top, right, bottom), outline=(255, 80, 80), width=max(1, tile.width // 256)
        )
    height = round(SIDE * pair[0].height / pair[0].width)
    sheet = Image.new("RGB", (3 * SIDE + 16, height), "white")
    for place, tile in enumerate(tiles):
        sheet.paste(tile.resize((SIDE, height), Image.Resampling.LANCZOS), (place * (SIDE + 8), 0))
    name = f"{number:03}_{record['picture']}_{record['seed']}_{record['preset']}.jpg"
    sheet.save(runs.folder / "sheets" / name, quality=85)
    return name


def words(found: Interval | None) -> str:
    """An interval as it is printed."""
    return "" if found is None else f"{found[0]:.3g} [{found[1]:.3g}, {found[2]:.3g}]"


def _caption(record: dict[str, Any]) -> str:
    name, worst = f"{record['picture']}, seed {record['seed']}, {record['preset']}", record["worst_psnr"]
    return f"{name}: {record['psnr']:.1f} dB, at the worst place {worst:.1f} dB"


def _page(found: dict[str, Any], presets: list[str], sheets: list[tuple[str, dict[str, Any]]]) -> str:
    head = "".join(f"<th>{html.escape(TITLES[figure])}</th>" for figure in FIGURES)
    rows = ""
    for name in presets:
        table = found["presets"][name]
        cells = "".join(f"<td>{words(table[figure])}</td>" for figure in FIGURES)
        rows += f"<tr><th>{html.escape(name)}</th>{cells}<td>{table['runs']}</td><td>{table['dense_runs']}</td></tr>"
    pairs = "".join(f"<li>{html.escape(k)}: {words(v)} dB</li>" for k, v in found["psnr_difference"].items() if v)
    figures = "".join(
        f"<figure><img src='sheets/{html.escape(name)}' alt='dense, compressed, difference'>"
        f"<figcaption>{html.escape(_caption(r))}</figcaption></figure>"
        for name, r in sheets
    )
    facts = "; ".join(f"{k}: {v}" for k, v in found.items() if isinstance(v, str | int))
    return "\n".join(
        [
            "<!doctype html><meta charset='utf-8'><title>HiLo-Token: compare</title>",
            f"<style>{STYLE}</style><h1>Dense and compressed</h1><p>{html.escape(facts)}</p>",
            f"<p>{html.escape(EXPLAINED)}</p>",
            f"<table><tr><th>preset</th>{head}<th>runs</th><th>of them dense</th></tr>{rows}</table>",
            f"<h2>PSNR, paired</h2><ul>{pairs}</ul>",
            f"<h2>Worst first</h2><p>Dense, compressed, difference {GAIN} times.</p>{figures}\n",
        ]
    )


def measured(found: dict[str, Any], path: Path) -> None:
    """The part that may be passed on: figures without pictures or their names."""
    names = {name: f"picture {i + 1}" for i, name in enumerate(sorted({r["picture"] for r in found["records"]}))}
    records = [{**r, "picture": names[r["picture"]]} for r in found["records"]]
    path.write_text(json.dumps(found | {"records": records}, indent=1) + "\n", encoding="utf-8")
