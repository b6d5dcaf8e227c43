"""Fills the README's tables from code and stored results: `python -m tools.readme`; `--check` only compares."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

from tools import host

README = host.ROOT / "README.md"
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def result(name: str) -> dict[str, Any]:
    """A stored result."""
    return json.loads((host.ROOT / "lab" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def presets() -> str:
    """Presets and their settings."""
    from hilo_core.presets import PRESETS

    rows = []
    for name, p in PRESETS.items():
        if p.off:
            rows.append([f"`{name}`", "-", "-", "-", "all", p.meaning])
            continue
        t = p.tokens
        low = ", ".join(f"{f}x{f}" + (f" from {least:g} tokens" if least else "") for f, least in t.levels)
        most = "" if t.rule == "ratio" else f", at most {t.max_high:.1%} of all"
        high = f"{t.amount:.0%} of {'all tokens' if t.rule == 'ratio' else 'the detail energy'}{most}"
        dense = f"{p.schedule.first:.0%} of the steps, rounded" if p.schedule.first else "none"
        rows.append([f"`{name}`", high, low, "yes" if p.bias else "no", dense, p.meaning])
    return _table(
        ["preset", "high-frequency tokens", "low-frequency tokens", "mass bias", "dense steps", "meaning"], rows
    )


def families() -> str:
    """Model families."""
    from hilo_core.host.families import FAMILIES

    rows = []
    for f in FAMILIES:
        compressed = "picture and references" if f.references else "picture"
        rows.append([f.name, f.checkpoints, compressed, f.dense_when or "-", f.since])
    return _table(["family", "checkpoints", "compressed", "runs dense with", "ComfyUI"], rows)


def bench() -> str:
    """Speed-ups of the demo model on a CPU."""
    facts = result("bench_cpu")
    rows = [[f"{ratio} %", f"{x:.2f}x"] for ratio, x in facts["speedup"]["1024"].items()]
    source = f"\n{facts['device']}; `{facts['command']}`; commit {facts['commit']}; {facts['steps']} steps, "
    source += f"1024x1024 px, preset `{facts['preset']}`.\n"
    return _table(["mask", "whole run, dense time / compressed time"], rows) + source


def planning() -> str:
    """Time of planning."""
    facts = result("bench_cpu")
    rows = [[f"{side}x{side}", f"{ms:.0f} ms"] for side, ms in facts["planning_ms"].items()]
    return _table(["picture", "planning, one CPU core"], rows)


def compatibility() -> str:
    """What else may be on the model."""
    from hilo_core.host import compat

    return _table(["with", "result", ""], [list(row) for row in compat.table()])


TABLES: dict[str, Callable[[], str]] = {
    "presets": presets,
    "families": families,
    "bench": bench,
    "planning": planning,
    "compatibility": compatibility,
}


def filled(text: str) -> str:
    """The README with every table made anew."""
    return _BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def main() -> int:
    """Write, or with --check compare: 1 if the README is not up to date."""
    text = README.read_text(encoding="utf-8")
    made = filled(text)
    if "--check" in sys.argv:
        return int(made != text)
    README.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
