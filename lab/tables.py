"""The tables of the README and of `docs/`, made from code and from stored results; nothing is written down twice."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from typing import Any

from tools import host


def result(name: str) -> dict[str, Any]:
    """A stored result."""
    return json.loads((host.ROOT / "lab" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def source(facts: dict[str, Any], more: str = "") -> str:
    """The line under a table that says where its figures come from."""
    commands = "; ".join(f"`{command}`" for command in facts.get("commands", [facts.get("command")]))
    return f"\n{facts['device']}; commit {facts['commit']}; {commands}.{more}\n"


def presets() -> str:
    """Presets and their settings."""
    from hilo_token.hilo_core.presets import PRESETS

    rows = []
    for name, p in PRESETS.items():
        if p.off:
            rows.append([f"`{name}`", "-", "-", "-", "-", "all", p.meaning])
            continue
        t = p.tokens
        low = "one real token for each " if t.native else "the average of each "
        low += ", ".join(f"{f}x{f}" + (f" from {least:g} tokens" if least else "") for f, least in t.levels)
        most = "" if t.rule == "ratio" else f", at most {t.max_high:.1%} of all"
        high = (
            "none"
            if not t.amount
            else f"{t.amount:.0%} of {'all tokens' if t.rule == 'ratio' else 'the detail energy'}{most}"
        )
        dense = f"{p.schedule.first:.0%} of the steps, rounded" if p.schedule.first else "none"
        rows.append([f"`{name}`", f"{t.dilation:g}", high, low, f"{p.mass_bias:g}", dense, p.meaning])
    return markdown(
        [
            "preset",
            "margin, tokens",
            "high-frequency tokens",
            "low-frequency tokens",
            "mass bias",
            "dense steps",
            "meaning",
        ],
        rows,
    )


def families() -> str:
    """Model families, and the hosts on which each was held against the reference."""
    from hilo_token.comfy_bridge.families import FAMILIES

    hosts = result("families")["hosts"]
    rows = []
    for f in FAMILIES:
        compressed = "picture and references" if f.references else "picture"
        compressed = "picture; references stay whole" if f.prefix else compressed
        compressed = "picture and clip" if f.clips else compressed
        run = [
            name + ("" if h["proof"] == "whole host" else " (class alone)")
            for name, h in hosts.items()
            if f.name in h["families"]
        ]
        rows.append([f.name, f.checkpoints, compressed, f.dense_when or "-", f.since, ", ".join(run) or "not run"])
    return markdown(["family", "checkpoints", "compressed", "runs dense with", "since ComfyUI", "proved on"], rows)


def uncompressed() -> str:
    """Classes that see a picture as tokens and run dense, and models that were not tried."""
    from hilo_token.comfy_bridge.uncompressed import DENSE, NOT_TRIED

    classes: dict[str, list[str]] = {}
    for path, reason in DENSE.items():
        classes.setdefault(reason, []).append(f"`{path.split(':')[1]}`")
    rows = [[", ".join(names), "dense", reason] for reason, names in classes.items()]
    rows += [[name, "not known", why] for name, why in NOT_TRIED.items()]
    return markdown(["model", "", "because"], rows)


def bench() -> str:
    """Speed-ups of the demo model on a CPU."""
    facts = result("bench_cpu")
    rows = [[f"{ratio} %", f"{x:.2f}x"] for ratio, x in facts["speedup"]["1024"].items()]
    source = f"\n{facts['device']}; `{facts['command']}`; commit {facts['commit']}; {facts['steps']} steps, "
    source += f"1024x1024 px, preset `{facts['preset']}`.\n"
    return markdown(["mask", "whole run, dense time / compressed time"], rows) + source


STATES = ("cold", "new mask", "same mask", "without graphs")


def _kinds(rows: list[dict[str, Any]]) -> list[dict[str, dict[str, Any]]]:
    """Rows of whole runs by state, one dictionary for each model, canvas, batch, number of steps, preset and mask."""
    found = dict[Any, dict[str, dict[str, Any]]]()
    for r in rows:
        if r["state"] in STATES:
            kind = tuple(r[name] for name in ("model", "side", "batch", "steps", "dynamic", "preset", "ratio"))
            found.setdefault(kind, {})[r["state"]] = r
    return list(found.values())


def _times(row: dict[str, Any] | None) -> str:
    """The median gain of some runs, and where they are several from which to which."""
    if row is None:
        return ""
    spread = f" ({min(row['speedups']):.2f} to {max(row['speedups']):.2f})" if len(row["speedups"]) > 1 else ""
    return f"{row['speedup']:.2f}x{spread}"


def _measured(rows: list[dict[str, Any]]) -> str:
    """The line under a table of runs."""
    first, commits = rows[0], ", ".join(dict.fromkeys(r["commit"] for r in rows))
    where = f"{first['device']}, ComfyUI {first['host']}, {first['weights']}"
    return f"\n{where}; commit {commits}; `python -m lab.speed.runs`.\n"


def runs() -> str:
    """Whole runs of FLUX.1 Fill as an artist has them: cold, with a new mask, with the same again, without graphs."""
    facts, rows = result("bench_runs")["rows"], []
    for mine in _kinds(facts):
        r, new = next(iter(mine.values())), mine["new mask"]
        name = f"`{r['preset']}`, {r['side']} px" + (f", batch {r['batch']}" if r["batch"] > 1 else "")
        name += (f", {r['steps']} steps" if r["steps"] != 8 else "") + ", dynamic VRAM" * r["dynamic"]
        rows.append([name, f"{r['ratio']} %", f"{statistics.median(r['tokens']):.0f} of {r['total']}",
                     f"{r['dense_s']:.2f} s", *(_times(mine.get(state)) for state in STATES),
                     f"{new['steps'] / new['speedup']:.1f} of {new['steps']}"])  # fmt: skip
    heads = ["preset", "mask", "tokens", "dense", *STATES, "dense steps in that time"]
    return markdown(heads, rows) + _measured(facts)


AIMS = {  # preset, side, batch: cold, new mask, same mask, each for three mask ratios
    ("balanced", 1024, 1): ((2.7, 2.5, 1.7), (3.5, 2.8, 1.9), (3.8, 2.9, 2.0)),
    ("fast", 1024, 1): ((3.13, 2.7, 1.8), (4.0, 3.1, 2.0), (4.4, 3.3, 2.1)),
    ("balanced", 1024, 4): ((3.4, 2.8, 1.8), (3.8, 3.0, 2.0), (3.9, 3.0, 2.0)),
    ("balanced", 2048, 1): ((7.5, 4.5, 2.5), (8.0, 4.8, 2.6), (8.5, 5.0, 2.7)),
}


def aims() -> str:
    """What was measured, and what was aimed at."""
    facts, rows = result("bench_runs")["rows"], []
    for (preset_name, side, batch), wanted in AIMS.items():
        cells = []
        for state, numbers in zip(STATES, wanted, strict=False):
            kind = {"preset": preset_name, "side": side, "batch": batch, "steps": 8, "state": state, "dynamic": False}
            found = [r["speedup"] for r in facts if kind.items() <= r.items()]
            cells.append(" / ".join(f"{x:.2f}" for x in found) + " of " + " / ".join(f"{x:g}" for x in numbers))
        name = f"`{preset_name}`, {side} px" + (f", batch {batch}" if batch > 1 else "")
        rows.append([name, *cells])
    return markdown(["mask 6.38 / 15.92 / 35.36 %", *STATES[:3]], rows)


def beside() -> str:
    """Dense runs of FLUX.1 Fill with other speed-ups."""
    facts = [r for r in result("bench_runs")["rows"] if r["preset"] == "dense"]
    rows = [[f"dense, {r['state']}", f"{r['side']} px", f"{statistics.median(r['seconds']):.2f} s",
             f"{r['speedup']:.2f}x"] for r in facts]  # fmt: skip
    return markdown(["run", "canvas", "time", "faster than dense"], rows) + _measured(facts)


def cold() -> str:
    """Where the first run after loading spends its time."""
    facts = result("cold")
    names = [name for name in facts["rows"][0] if name not in ("ratio", "tokens")]
    rows = [[f"{r['ratio']} %", f"{r['tokens']}", *(f"{1000 * r[n]:.0f} ms" for n in names)] for r in facts["rows"]]
    return markdown(["mask", "tokens", *names], rows) + source(facts)


def graphs() -> str:
    """What was compared on a GPU, with CUDA graphs and without."""
    rows = []
    for name in ("graphs", "graphs_dynamic"):
        facts = result(name)
        same = sum(row["equal"] for row in facts["rows"])
        made = sum("replayed" in row["graphs"] for row in facts["rows"])
        rows.append([f"`{facts['command']}`", str(len(facts["rows"])), str(same), str(made)])
    return markdown(["command", "checks", "the same, bit for bit", "of them with graphs"], rows)


def models() -> str:
    """Other full-size models on a GPU."""
    from lab.speed.real_models import REAL

    facts, rows = result("bench_gpu"), []
    names = [name for name in REAL if name != "FLUX.1 Fill"]
    mine = [r for r in facts["rows"] if r["model"] in names and not r["stack"]]
    for r in sorted(mine, key=lambda r: (names.index(r["model"]), r["side"])):
        tokens = " to ".join(str(n) for n in sorted({min(r["tokens"]), max(r["tokens"])}))
        rows.append([r["model"], f"{r['side']} px", f"{r['ratio']} %", f"{r['speedup']:.2f}x",
                     f"{tokens} of {r['total']}", f"{r['dense_s']:.2f} s", f"{r['hilo_s']:.2f} s",
                     f"{r['hilo_gib']:.1f} of {r['dense_gib']:.1f} GiB"])  # fmt: skip
    head = ["model", "canvas", "mask", "whole run", "tokens", "dense", "compressed", "peak memory"]
    commits = ", ".join(dict.fromkeys(r["commit"] for r in mine))
    return markdown(head, rows) + f"\n{facts['device']}; commits {commits}; `python -m lab.speed.gpu`.\n"


def profile() -> str:
    """Where the time of a step goes: kernels, waiting for the processor, and what is outside the model."""
    lines = []
    for r in result("bench_gpu")["rows"]:
        if r["model"] == "FLUX.1 Fill" and r["preset"] == "balanced" and "hilo_busy_s" in r:
            n, same = r["tokens"][0], r["own_step_s"] / r["same_tokens_s"]
            lines.append([f"{r['side']} px", f"{r['ratio']} %", f"{n}", f"{1000 * r['own_step_s']:.0f} ms",
                          f"{1000 * r['hilo_busy_s']:.0f} ms", f"{same:.2f}", f"{100 * r['outside_share']:.0f} %",
                          f"{r['dense_busy_s'] / r['hilo_busy_s']:.2f}x", f"{r['speedup']:.2f}x"])  # fmt: skip
    head = ["canvas", "mask", "tokens", "compressed step", "its kernels", "over a dense step of as many tokens",
            "of the run outside the model", "speed-up of kernels", "of the whole run"]  # fmt: skip
    return markdown(head, lines)


QUALITY = ("dense, another seed", "dense, fewer steps, equal time", "paper", "paper with mass", "fast", "balanced",
           "quality")  # fmt: skip


def quality() -> str:
    """What the presets change, on the demo model."""
    facts, rows = result("evaluate"), []
    for r in facts["rows"]:
        if r["scheme"] in QUALITY:
            rows.append([r["scheme"], f"{r['ratio']} %", f"{r['psnr_truth_change'][0]:+.2f} dB",
                         f"{r['ssim_truth_change'][0]:+.4f}", f"{r['sharpness'][0]:.3f}", f"{r['border'][0]:.3f}",
                         f"{r['psnr_dense']:.1f} dB"])  # fmt: skip
    head = ["", "mask", "PSNR to the truth, change", "SSIM to the truth, change", "sharpness", "border jump",
            "PSNR to the dense fill"]  # fmt: skip
    return markdown(head, rows) + source(facts, f" {facts['pictures']} pictures.")


def planning() -> str:
    """Time of planning, and of the live map."""
    facts = result("bench_cpu")
    rows = [[f"{side}x{side}", f"{ms:.0f} ms", f"{facts['preview_ms'][side]:.0f} ms"]
            for side, ms in facts["planning_ms"].items()]  # fmt: skip
    return markdown(["picture", "planning, one CPU core", "live map after a change, slowest setting"], rows)


def compatibility() -> str:
    """What else may be on the model."""
    from hilo_token.comfy_bridge import features

    return markdown(["with", "result", "", "test"], [list(row) for row in features.table()])


def headline() -> str:
    """What an edit costs on two canvases, for three sizes of mask."""
    wanted = {"preset": "balanced", "steps": 8, "batch": 1, "state": "new mask", "dynamic": False}
    used = [r for r in result("bench_runs")["rows"] if wanted.items() <= r.items()]
    rows = [[f"{r['side']} px", f"{r['ratio']} %", f"{r['dense_s']:.2f} s", f"{statistics.median(r['seconds']):.2f} s",
             f"**{r['speedup']:.1f}x**"] for r in used]  # fmt: skip
    what = "FLUX.1 Fill, 8 steps, preset `balanced`, a new mask on a warm model"
    where = f"{used[0]['device'].split(',')[0]}, commit {used[0]['commit']}"
    return f"{markdown(['picture', 'masked', 'dense', 'HiLo-Token', 'faster'], rows)}\n{what}; {where}.\n"


def checkpoints() -> str:
    """The supported models in one sentence."""
    from hilo_token.comfy_bridge.families import FAMILIES

    return "; ".join(f.checkpoints for f in FAMILIES) + ".\n"


def workflows() -> str:
    """The example workflows, by the heading of their note."""
    rows = []
    for path in sorted((host.ROOT / "example_workflows").glob("*.json")):
        notes = [n["widgets_values"][0] for n in json.loads(path.read_text(encoding="utf-8"))["nodes"]
                 if n["type"] == "MarkdownNote"]  # fmt: skip
        titles = [found[1] for note in notes if (found := re.search("^## (.+)$", note, re.MULTILINE))]
        rows.append([f"`{path.stem}`", titles[0]])
    return markdown(["workflow", "what it does"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "headline": headline, "checkpoints": checkpoints, "workflows": workflows, "presets": presets, "families": families,
    "uncompressed": uncompressed,
    "bench": bench, "planning": planning, "runs": runs, "aims": aims, "models": models, "beside": beside, "cold": cold,
    "profile": profile, "quality": quality, "compatibility": compatibility, "graphs": graphs,
}  # fmt: skip
