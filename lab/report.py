"""Fills the tables of `lab/REPORT.md` and draws its plots from the stored results: `python -m lab.report`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from lab.plot import COLOURS, Series, chart
from lab.readme import filled
from lab.tables import markdown, result, source
from tools import host

REPORT, PLOTS = host.ROOT / "lab" / "REPORT.md", host.ROOT / "lab" / "report"
RATIOS = (6.38, 15.92, 35.36)
PRESETS = ("balanced", "quality", "fast", "paper")
VARIANTS = tuple(f"{name}, " for name in PRESETS)  # how names of variants begin
YARDSTICKS = ("dense, another seed", "dense, fewer steps, equal time", "crop and stitch, equal time", "context cache",
              "token dropping")  # fmt: skip


def _change(values: list[float], digits: int) -> str:
    return f"{values[0]:+.{digits}f} ({values[1]:+.{digits}f} to {values[2]:+.{digits}f})"


def _ratio(values: list[float]) -> str:
    return f"{values[0]:.3f} ({values[1]:.3f} to {values[2]:.3f})"


def _rows(name: str) -> list[dict[str, Any]]:
    return [row for row in result(name)["rows"] if "steps" not in row]


def main_table(name: str = "evaluate") -> str:
    """Every scheme and mask ratio of an evaluation."""
    lines = []
    for row in _rows(name):
        if row["scheme"] != "dense":
            speed = f"{row['speed']:.2f}x" if row["speed"] else "-"
            lines.append([row["scheme"], f"{row['ratio']} %", f"{row['count']}", speed,
                          _change(row["psnr_truth_change"], 2),
                          _change(row["ssim_truth_change"], 4), _ratio(row["sharpness"]), _ratio(row["border"]),
                          f"{row['psnr_dense']:.1f}", f"{row['ssim_dense']:.3f}",
                          f"{row['haarpsi_dense']:.3f}"])  # fmt: skip
    head = ["scheme", "mask", "fills", "predicted speed", "PSNR to truth, change (dB)", "SSIM to truth, change",
            "sharpness", "border jump", "PSNR to dense", "SSIM to dense", "HaarPSI to dense"]  # fmt: skip
    facts = result(name)
    note = f" {facts['note']}" if "note" in facts else ""
    runs = "; ".join(f"{side} px, {steps} steps, seed {seed}" for side, steps, seed in facts["runs"])
    return markdown(head, lines) + source(facts, f" {facts['pictures']} pictures; {runs}.{note}")


def perceptual_table() -> str:
    """The piq metrics, and the ring."""
    columns = ("ms_ssim_truth", "gmsd_truth", "haarpsi_truth", "fsim_truth", "ms_ssim_dense", "gmsd_dense",
               "haarpsi_dense", "fsim_dense", "ring_psnr_dense", "ring_shift")  # fmt: skip
    lines = [[row["scheme"], f"{row['ratio']} %", *(f"{row[c]:.3f}" if row[c] is not None else "-" for c in columns)]
             for row in _rows("evaluate") if row["scheme"] in ("dense", *PRESETS, *YARDSTICKS)]  # fmt: skip
    return markdown(["scheme", "mask", *(c.replace("_", " ") for c in columns)], lines)


def goals_table() -> str:
    """The goal's figures for `balanced` and `quality` over both sizes and seeds, met or not."""
    lines = []
    rows = [row for row in result("evaluate_cross")["rows"] if "steps" in row and "side" not in row]
    for row in sorted(rows, key=lambda row: (row["scheme"], row["steps"], row["ratio"])):
        if row["scheme"] in ("balanced", "quality"):
            psnr, ssim = row["psnr_truth_change"], row["ssim_truth_change"]
            met = [psnr[1] >= -0.1, ssim[1] >= -0.005, abs(row["border"][0] - 1) <= 0.02,
                   0.98 <= row["sharpness"][0] <= 1.02]  # fmt: skip
            values = [_change(psnr, 2), _change(ssim, 4), f"{row['border'][0]:.3f}", f"{row['sharpness'][0]:.3f}"]
            shown = [f"{v}: {'met' if ok else '**missed**'}" for v, ok in zip(values, met, strict=True)]
            lines.append([row["scheme"], f"{row['steps']}", f"{row['ratio']} %", f"{row['speed']:.2f}x", *shown])
    head = ["preset", "steps", "mask", "predicted speed", "PSNR, lower bound at least -0.1 dB",
            "SSIM, lower bound at least -0.005", "border jump within 2 %", "sharpness 0.98 to 1.02"]  # fmt: skip
    return markdown(head, lines)


def cross_table() -> str:
    """Presets and the yardsticks of equal time, by size and number of steps."""
    lines = []
    rows = [row for row in result("evaluate_cross")["rows"] if "side" in row and row["scheme"] != "dense"]
    for row in sorted(rows, key=lambda row: (row["ratio"], row["side"], row["steps"])):
        lines.append([f"{row['ratio']} %", f"{row['side']} px", f"{row['steps']}", row["scheme"],
                      f"{row['speed']:.2f}x", _change(row["psnr_truth_change"], 2),
                      _change(row["ssim_truth_change"], 4), f"{row['sharpness'][0]:.3f}",
                      f"{row['border'][0]:.3f}", f"{row['psnr_dense']:.1f}",
                      f"{row['haarpsi_dense']:.3f}"])  # fmt: skip
    head = ["mask", "canvas", "steps", "scheme", "predicted speed", "PSNR to truth, change (dB)",
            "SSIM to truth, change", "sharpness", "border jump", "PSNR to dense", "HaarPSI to dense"]  # fmt: skip
    facts = result("evaluate_cross")
    return markdown(head, lines) + source(facts, f" {facts['pictures']} pictures, {facts['records']} fills.")


def map_table() -> str:
    """One line for each setting: the three mask ratios side by side."""
    by_scheme: dict[str, list[dict[str, Any]]] = {}
    for row in _rows("evaluate_map"):
        by_scheme.setdefault(row["scheme"], []).append(row)
    lines = []
    for scheme, rows in by_scheme.items():
        cells = [" / ".join(f"{value(r):{form}}" for r in rows) for value, form in (
            (lambda r: r["speed"], ".2f"), (lambda r: r["psnr_truth_change"][0], "+.2f"),
            (lambda r: r["ssim_truth_change"][0], "+.4f"), (lambda r: r["sharpness"][0], ".3f"),
            (lambda r: r["border"][0], ".3f"), (lambda r: r["psnr_dense"], ".1f"),
        )]  # fmt: skip
        lines.append([scheme, *cells])
    head = ["setting", "predicted speed", "PSNR to truth, change", "SSIM to truth, change", "sharpness", "border jump",
            "PSNR to dense"]  # fmt: skip
    return markdown(head, lines) + source(result("evaluate_map"), f" {result('evaluate_map')['pictures']} pictures.")


def models_table() -> str:
    """How the models were trained."""
    vae, dit, tuned, lora = (result(name) for name in ("autoencoder", "dit", "strips", "strips_lora"))
    lines = [
        ["autoencoder", f"{vae['steps']}", f"PSNR {vae['psnr_held_out_db']} dB on held-out photos", vae["command"],
         vae["device"]],
        ["(a) transformer", f"{dit['steps']}", f"{dit['parameters'] / 1e6:.1f} M parameters, loss {dit['loss']}",
         dit["command"], dit["device"]],
        ["(b) tuned on strips", f"{tuned['steps']}", "all weights, distilled from (a) dense", tuned["command"],
         tuned["device"]],
        ["(c) strip LoRA", f"{lora['steps']}", f"rank {lora['rank']}, distilled from (a) dense", lora["command"],
         lora["device"]],
    ]  # fmt: skip
    return markdown(["model", "steps", "", "command", "device"], lines)


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


def worst_table() -> str:
    """The runs of `balanced` that lost most."""
    lines = [[r["picture"], f"{r['ratio']} %", f"{r['loss']:.2f}", f"{r['psnr_dense']:.1f}"]
             for r in result("evaluate")["worst"]]  # fmt: skip
    return markdown(["picture", "mask", "PSNR lost against the truth (dB)", "PSNR to dense"], lines)


TABLES = {
    "models": models_table, "main": main_table, "cross": cross_table,
    "perceptual": perceptual_table, "goals": goals_table, "map": map_table, "attention": attention_table,
    "worst": worst_table, "decode": decode_table,
    "decode_cpu": lambda: decode_table("bench_decode_cpu"),
    "decode_qwen": lambda: decode_table("bench_decode_qwen"), "colour": colour_table,
}  # fmt: skip


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
    rows = [r for r in result("bench_gpu")["rows"] if r["model"] == "FLUX.1 Fill" and r["preset"] == "balanced"
            and r["steps"] == 8 and not r["stack"] and r["weights"] == "bf16"]  # fmt: skip
    series = [
        Series(f"{side} px", [(r["ratio"], r["speedup"]) for r in rows if r["side"] == side], COLOURS[number], True)
        for number, side in enumerate(sorted({r["side"] for r in rows}))
    ]
    paper = Series("paper, its own model, A100", list(zip(RATIOS, (3.13, 2.59, 1.67), strict=True)), COLOURS[5], True)
    return chart("FLUX.1 Fill, 12 B, 8 steps, `balanced`, NVIDIA H200", "mask ratio, %", "speed-up of the whole run",
                 [*series, paper])  # fmt: skip


def plots() -> dict[str, str]:
    """SVG by file name."""
    return {f"pareto_{number}.svg": pareto(ratio) for number, ratio in enumerate(RATIOS, 1)} | {"speed.svg": speed()}


def main() -> None:
    """Write all."""
    PLOTS.mkdir(exist_ok=True)
    for name, text in plots().items():
        (PLOTS / name).write_text(text, encoding="utf-8")
    REPORT.write_text(filled(REPORT.read_text(encoding="utf-8"), TABLES), encoding="utf-8")
    sys.stdout.write(f"{REPORT}\n")


if __name__ == "__main__":
    main()
