"""Fills the tables of `lab/REPORT.md` and `lab/KERNELS.md` and draws their plots: `python -m lab.report`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab.judges import tables as judged
from lab.plot import COLOURS, Series, chart
from lab.readme import filled
from lab.tables import markdown, result, source
from tools import host

PAGES, PLOTS = (host.ROOT / "lab" / "REPORT.md", host.ROOT / "lab" / "KERNELS.md"), host.ROOT / "lab" / "report"
RATIOS = (6.38, 15.92, 35.36)
PRESETS = ("balanced", "quality", "fast", "paper", "paper with mass")
VARIANTS = tuple(f"{name}, " for name in PRESETS)  # how names of variants begin


def _rows(name: str) -> list[dict[str, Any]]:
    return [row for row in result(name)["rows"] if "steps" not in row]


def demo_table() -> str:
    """The product and its yardsticks on the demo model: a line for each scheme, the three mask ratios side by side."""
    by_scheme: dict[str, list[dict[str, Any]]] = {}
    for row in result("evaluate")["rows"]:
        by_scheme.setdefault(row["scheme"], []).append(row)
    lines = []
    for scheme, rows in by_scheme.items():
        cells = [" / ".join(f"{value(r):{form}}" for r in rows) for value, form in (
            (lambda r: r["speed"], ".2f"), (lambda r: r["psnr_truth_change"][0], "+.2f"),
            (lambda r: r["psnr_truth_change"][1], "+.2f"), (lambda r: r["ssim_truth_change"][0], "+.4f"),
            (lambda r: r["sharpness"][0], ".3f"), (lambda r: r["border"][0], ".3f"),
            (lambda r: r["psnr_dense"], ".1f"), (lambda r: r["haarpsi_dense"], ".3f"),
        )]  # fmt: skip
        if scheme != "dense":
            lines.append([f"`{scheme}`" if scheme in PRESETS else scheme, *cells])
    head = ["scheme", "predicted speed", "PSNR to truth, change", "its lower bound", "SSIM to truth, change",
            "sharpness", "border jump", "PSNR to dense", "HaarPSI to dense"]  # fmt: skip
    facts = result("evaluate")
    return markdown(head, lines) + source(facts, f" {facts['pictures']} pictures.")


def attention_table() -> str:
    """Ways to give keys a bias."""
    facts = result("bench_attention")
    by_size: dict[tuple[int, int], dict[str, float]] = {}
    for row in facts["rows"]:
        by_size.setdefault((row["tokens"], row["biased"]), {})[row["way"]] = row["ms"]
    ways = list(next(iter(by_size.values())))
    lines = [[f"{n} ({m})", *(f"{found[w]:.3f}" for w in ways)] for (n, m), found in by_size.items()]
    return markdown(["tokens (with bias)", *(f"{w}, ms" for w in ways)], lines) + source(facts)


def decode_table(name: str = "bench_decode") -> str:
    """Masked decode against a full one."""
    facts = result(name)
    lines = [[r["vae"], f"{r['side']} px", f"{r['ratio']} %", f"{r['speedup']:.2f}x", f"{r['memory']:.2f}",
              f"{r['mean']:.2f}", f"{r['p999']:.1f}"] for r in facts["summary"]]  # fmt: skip
    head = ["VAE", "canvas", "mask", "full time / masked time", "peak memory over a full decode's",
            "difference in the edit, mean /255", "99.9th percentile"]  # fmt: skip
    gone = facts["left_out"]
    left_out = "".join(f" Left out: {r['side']} px, {r['ratio']} %, shape {r['shape']}, which {gone['why']}."
                       for r in gone["rows"])  # fmt: skip
    shapes = len({r["shape"] for r in facts["rows"]})
    return markdown(head, lines) + source(facts, f" Medians over {shapes} mask shapes, the worst difference.{left_out}")


def colour_table() -> str:
    """Colour corrections by the drift that they meet."""
    facts = result("colour")
    methods = list(dict.fromkeys(r["method"] for r in facts["rows"]))
    by_drift: dict[str, dict[str, float]] = {}
    for row in facts["rows"]:
        by_drift.setdefault(row["drift"], {})[row["method"]] = row["error"]
    lines = [[drift, *(f"{found[m]:.2f}" for m in methods)] for drift, found in by_drift.items()]
    return markdown(["drift", *methods], lines) + source(facts, f" {facts['error']}; {facts['pictures']} pictures.")


def chained_table() -> str:
    """Edits in a row on one picture: what becomes of pixels that no edit touched, and of the first edit."""
    facts, lines = result("chained"), []
    for r in facts["rows"]:
        pixels = [f"{r['untouched']['mean']:.1f}", f"{r['untouched']['largest']:.0f}", f"{r['first_edit']['mean']:.1f}"]
        lines.append([r["vae"], r["way"], str(r["edits"]), *pixels, f"{r['latent']:.3f}"])
    head = ["VAE", "between edits", "edits", "untouched pixels, mean /255", "largest", "the first edit, mean /255",
            "latent outside, relative"]  # fmt: skip
    return markdown(head, lines) + source(facts)


def shift_table() -> str:
    """How well a pixel shift is found and undone."""
    facts, lines = result("shift"), []
    for r in facts["summary"]:
        errors = [f"{r[key]:.2f} px" for key in ("median_error", "worst_error")]
        shift, answers = "{:g}, {:g} px".format(*r["shift"]), f"{r['answers']} of {r['of']}"
        lines.append([shift, r["colours"], answers, *errors, f"{r['before']:.1f}", f"{r['after']:.1f}"])
    head = ["shift", "colours", "answers", "error, median", "worst", "difference in the edit, /255", "once undone"]
    return markdown(head, lines) + source(facts, " No answer counts as no shift.")


def encode_table() -> str:
    """What encoding a picture costs beside sampling it."""
    facts, lines = result("encode_cost"), []
    for r in facts["rows"]:
        shares = [f"{r[key]:.1%}" for key in ("encode_of_dense_run", "encode_of_compressed_run")]
        costs = [f"{r[key]:.1f}" for key in ("encode", "dense_step", "compressed_step")]
        lines.append([f"{r['side']} px", *costs, *shares])
    head = ["canvas", f"encode, {facts['unit']}", "dense step", "compressed step", "encode, of a dense run",
            "of a compressed run"]  # fmt: skip
    how = f"\nCounted; {facts['steps']} steps; commit {facts['commit']}; `{facts['command']}`.\n"
    return markdown(head, lines) + how


def beside_table() -> str:
    """Step caches and guidance of other nodes, beside which runs are compressed."""
    facts, lines = result("neighbours"), []
    for kind, wanted in (("caches", "both_to_cache"), ("guidance", "both")):
        for rows in facts[kind].values():
            for name, row in rows.items():
                if wanted in row and not row["report"].startswith("dense run"):
                    lines.append([name, " / ".join(f"{value:.1f}" for value in row[wanted]), row["report"]])
    names = f" {', '.join(facts['photos'])}; preset `{facts['preset']}`."
    return markdown(["beside", "dB to its own dense run", "steps"], lines) + source(facts, names)


def check_table() -> str:
    """What the check of a run says of good models and of sabotaged ones."""
    facts, lines = result("agreement"), []
    for sabotage in dict.fromkeys(r["sabotage"] for r in facts["records"]):
        rows = [r for r in facts["records"] if r["sabotage"] == sabotage]
        low, high = min(r["agreement"] for r in rows), max(r["agreement"] for r in rows)
        caught = f"{sum(r['caught'] for r in rows)} of {len(rows)}"
        lines.append([sabotage.replace("_", " ") or "none", f"{low:.2f} to {high:.2f}", caught])
    return markdown(["sabotage", "agreement with dense", "sent to normal speed"], lines) + source(facts)


TABLES: dict[str, Callable[[], str]] = {
    "demo": demo_table, "attention": attention_table, "decode": decode_table,
    "decode_cpu": lambda: decode_table("bench_decode_cpu"),
    "decode_qwen": lambda: decode_table("bench_decode_qwen"), "colour": colour_table,
    "chained": chained_table, "shift": shift_table, "encode": encode_table, "beside": beside_table,
    "check": check_table,
} | judged.TABLES  # fmt: skip


def pareto(ratio: float) -> str:
    """Closeness to dense against predicted speed, for one mask ratio."""

    def points(schemes: Callable[[str], bool]) -> dict[str, tuple[float, float]]:
        rows = [r for r in _rows("evaluate") if r["ratio"] == ratio and r["scheme"] != "dense"]
        return {r["scheme"]: (r["speed"], r["psnr_dense"]) for r in rows if schemes(r["scheme"])}

    presets, variants = points(lambda s: s in PRESETS), points(lambda s: s.startswith(VARIANTS))
    others = points(lambda s: s not in PRESETS and not s.startswith(VARIANTS))
    series = [
        Series("variants", list(variants.values()), labels=list(variants)),
        Series("presets", list(presets.values()), COLOURS[0], labels=list(presets)),
        Series("yardsticks", list(others.values()), COLOURS[1], labels=list(others)),
    ]
    title = f"Mask of {ratio} %, 1024 px, 8 steps"
    return chart(title, "predicted speed-up of a FLUX.1", "PSNR to the dense fill, dB", series)


def speed() -> str:
    """Speed-up of whole runs against mask ratio, for each canvas, beside the paper's figures."""
    wanted = {
        "model": "FLUX.1 Fill",
        "preset": "balanced",
        "steps": 8,
        "batch": 1,
        "state": "new mask",
        "dynamic": False,
    }
    rows = [r for r in result("bench_runs")["rows"] if wanted.items() <= r.items()]
    series = [
        Series(f"{side} px", [(r["ratio"], r["speedup"]) for r in rows if r["side"] == side], COLOURS[number], True)
        for number, side in enumerate(sorted({r["side"] for r in rows}))
    ]
    paper = Series("paper, its own model, A100", list(zip(RATIOS, (3.13, 2.59, 1.67), strict=True)), COLOURS[5], True)
    title = f"FLUX.1 Fill, 12 B, 8 steps, `balanced`, {rows[0]['device'].split(',')[0]}"
    return chart(title, "mask ratio, %", "speed-up of the whole run", [*series, paper])


def plots() -> dict[str, str]:
    """SVG by file name."""
    return {f"pareto_{number}.svg": pareto(ratio) for number, ratio in enumerate(RATIOS, 1)} | {
        "speed.svg": speed(),
        "stages.svg": judged.stage_plot(),
    }


def main() -> None:
    """Write all."""
    PLOTS.mkdir(exist_ok=True)
    for name, text in plots().items():
        (PLOTS / name).write_text(text, encoding="utf-8")
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8"), TABLES), encoding="utf-8")


if __name__ == "__main__":
    main()
