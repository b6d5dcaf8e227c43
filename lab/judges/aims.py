"""What was aimed at for the presets, what they keep, and why not less: tables of `lab/REPORT.md`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hilo_token.hilo_core.presets import PRESETS

from lab.judges import choose, rule, settings
from lab.judges.settings import Setting

AIMS = {  # shares of 4,096 tokens, predicted speed of kernels
    "balanced": ((18, 29, 49), (3.6, 2.7, 1.8)), "fast": ((13, 23, 43), (4.2, 3.1, 1.95)),
    "quality": ((26, 38, 58), None),
}  # fmt: skip


def shipped(name: str) -> Setting:
    """The setting that a preset is."""
    preset = PRESETS[name]
    every = (*settings.settings(), *settings.few())
    return next(s for s in every if s.turns == 4 and (s.preset.tokens, s.preset.schedule, s.preset.mass_bias)
                == (preset.tokens, preset.schedule, preset.mass_bias))  # fmt: skip


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown."""
    lines = [list(head), *(list(row) for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in [lines[0], ["---"] * len(lines[0]), *lines[1:]])


def aims() -> str:
    """The presets, what they keep, what was aimed at, and why it is missed: what edit and margin take alone, and
    of the settings with as few tokens as were aimed at, the one nearest to dense and what of the rule it fails."""
    lines, stored = [], choose.load()
    rows = choose.by_scheme(choose.cells(stored))
    for name, (tokens, speed) in AIMS.items():
        setting = shipped(name)
        kept, fast = choose.shares(setting.preset.tokens), choose.speeds(setting)
        found = rule.judge(rows[setting.name], name)
        alone = replace(setting.preset.tokens, levels=(), amount=0.0, max_high=0.0, multiple=1)
        few = [c for c in choose.ranked(stored, name) if within(name, c.shares) and not c.setting.first]
        best = max(few, key=lambda c: c.verdict.agreement)
        near, fails = rule.agreements(rows[best.setting.name]), best.verdict.failures
        wish = "-"
        if speed:
            met = all(a >= b for a, b in zip(fast, speed, strict=True))
            wish = f"{' / '.join(map(str, speed))}: {'met' if met else '**missed**'}"
        lines.append([
            f"`{name}`", setting.name, _whole(kept),
            f"{' / '.join(map(str, tokens))}: {'met' if within(name, kept) else '**missed**'}",
            _whole(choose.shares(alone)),
            f"{best.setting.name} ({_whole(best.shares)}): {' / '.join(f'{near[j]:.1f}' for j in sorted(near))} dB; "
            + (f"{len(fails)} other limits, as {fails[0]}" if fails else "no other limit"),
            " / ".join(f"{s:.2f}x" for s in fast), wish,
            f"{found.agreement:.1f} of {rule.AGREEMENT[name]:.0f} dB",
        ])  # fmt: skip
    head = ["preset", "cells, margin, detail, bias", "% of 4,096 tokens", "aim", "edit and margin alone",
            "within the aim, nearest to dense (J1 / J2 / J3); fails", "predicted, kernels", "aim",
            "worst judge to dense"]  # fmt: skip
    return table(head, lines)


def _whole(shares: Iterable[float]) -> str:
    return " / ".join(f"{100 * s:.0f}" for s in shares)


def within(name: str, shares: Iterable[float]) -> bool:
    """Whether shares of the tokens are those aimed at, or fewer, in whole percent."""
    return all(100 * s <= aim + 0.5 for s, aim in zip(shares, AIMS[name][0], strict=True))
