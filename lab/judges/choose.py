"""Choose the presets by the rule (`lab.judges.rule`) from stored results: `python -m lab.judges.choose`.

Reads `lab/results/judges.json` and prints, for each preset, the setting that the rule takes, in the form of
`hilo_core.presets`, with its figures for the worst judge; and, where nothing meets the rule, the setting that fails
least, with what it fails.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from hilo_token.hilo_core.cost import ModelShape
from hilo_token.hilo_core.frequency import detail
from hilo_token.hilo_core.mask import mask_to_tokens
from hilo_token.hilo_core.plan import TokenSettings, make_plan

from lab.judges import rule, settings
from tools import host

RATIOS = ("6.38", "15.92", "35.36")
SIDE = 64  # tokens a side for the predicted speed
SHAPE = ModelShape()


@dataclass(frozen=True)
class Choice:
    """A setting with its verdict and speed."""

    setting: settings.Setting
    verdict: rule.Verdict
    shares: tuple[float, ...]  # of 4,096 tokens, for each bin
    speed: tuple[float, ...]  # predicted, dense over compressed, for each bin

    @property
    def cost(self) -> float:
        """Mean predicted time over the bins, of the dense time."""
        return sum(1 / s for s in self.speed) / len(self.speed)


def load() -> dict[str, Any]:
    """The stored file."""
    found: dict[str, Any] = json.loads((host.ROOT / "lab" / "results" / "judges.json").read_text(encoding="utf-8"))
    return found


def cells(stored: dict[str, Any], chosen: str = "choice") -> list[dict[str, Any]]:
    """The cells that the rule looks at: plain runs of euler, with bins pooled."""
    from lab.judges.summary import expand

    return [c for c in expand(stored[chosen]) if c["group"] == "main" and c["kind"] == "all"]


def by_scheme(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Cells of each scheme."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["scheme"], []).append(row)
    return found


@cache
def _grounds() -> list[tuple[int, torch.Tensor, torch.Tensor]]:
    """(bin, edit, detail) of the repository's photographs at 1024 px, for counting tokens: the pixels stand for the
    latent, which the count depends on little."""
    from PIL import Image

    from lab.data import masks

    found = []
    for number, file in enumerate(sorted((host.ROOT / "lab" / "photos").glob("*.jpg"))):
        with Image.open(file) as picture:
            short = min(picture.size)
            square = picture.convert("RGB").crop((0, 0, short, short)).resize((2 * SIDE, 2 * SIDE))
        latent = torch.from_numpy(np.asarray(square).astype(np.float32) / 255).permute(2, 0, 1)[None]
        score = detail(latent, SIDE, SIDE)
        for at, ratio in enumerate(RATIOS):
            for k in range(3):
                drawn = [masks.draw(np.random.default_rng((number, at, k, i)), 512, 512, float(ratio) / 100,
                                    masks.KINDS[k]) for i in range(8)]  # fmt: skip
                mask = min(drawn, key=lambda m: abs(100 * m.mean() - float(ratio)))
                edit = mask_to_tokens(torch.from_numpy(mask.repeat(2, 0).repeat(2, 1))[None].float(), SIDE, SIDE, 16)
                found.append((at, edit, score))
    return found


@cache
def shares(tokens: TokenSettings) -> tuple[float, ...]:
    """Mean share of 4,096 tokens in each bin."""
    sums, counts = [0.0] * len(RATIOS), [0] * len(RATIOS)
    for at, edit, score in _grounds():
        plan = make_plan(edit, score, tokens)
        sums[at] += plan.count / plan.total
        counts[at] += 1
    return tuple(s / n for s, n in zip(sums, counts, strict=True))


def speeds(setting: settings.Setting) -> tuple[float, ...]:
    """Predicted speed of a run of 8 steps, FLUX.1's shape, 4,096 tokens, in each bin."""
    dense, total = setting.preset.schedule.dense(8), SIDE * SIDE
    found = []
    for share in shares(setting.preset.tokens):
        step = 1 / SHAPE.speedup(round(share * total), total)
        found.append(8 / sum(1.0 if d else step for d in dense))
    return tuple(found)


def ranked(stored: dict[str, Any], preset: str, chosen: str = "choice") -> list[Choice]:
    """All settings that were tried on every judge, size and number of steps, the best first."""
    rows = by_scheme(cells(stored, chosen))
    named = {s.name: s for s in (*settings.settings(), *settings.few())}
    wanted = {(row["judge"], row["side"], row["steps"]) for group in rows.values() for row in group}
    found = []
    for name, setting in named.items():
        mine = rows.get(name, [])
        if {(row["judge"], row["side"], row["steps"]) for row in mine} != wanted or setting.turns != 4:
            continue
        found.append(Choice(setting, rule.judge(mine, preset), shares(setting.preset.tokens), speeds(setting)))
    goal = rule.AGREEMENT[preset]

    def order(c: Choice) -> tuple[Any, ...]:
        near = c.verdict.agreement >= goal
        return (not (near and c.verdict.admissible), not near, len(c.verdict.failures), c.cost, -c.verdict.agreement)

    return sorted(found, key=order)


def as_code(name: str, setting: settings.Setting) -> str:
    """As `hilo_core.presets` has it."""
    made = setting.preset
    tokens = f"dilation={made.tokens.dilation:g}, amount={made.tokens.amount:g}, max_high={made.tokens.max_high:g}, "
    tokens += f"levels={made.tokens.levels}, native=True"
    schedule = f"first={made.schedule.first:g}" if made.schedule.first else ""
    return f'"{name}": Preset(TokenSettings({tokens}), Schedule({schedule}), mass_bias={made.mass_bias:g})'


def main() -> None:
    """Print the choice."""
    stored = load()
    out = sys.stdout.write
    for preset in ("fast", "balanced", "quality"):
        best = ranked(stored, preset)
        first = best[0]
        met = first.verdict.admissible and first.verdict.agreement >= rule.AGREEMENT[preset]
        out(
            f"{preset}: {first.setting.name}{'' if met else '  (fails the rule)'}\n  {as_code(preset, first.setting)}\n"
        )
        for choice in best[:4]:
            tokens = " / ".join(f"{100 * s:.0f}" for s in choice.shares)
            speed = " / ".join(f"{s:.2f}" for s in choice.speed)
            out(f"  {choice.setting.name}: {tokens} % of 4,096 tokens, {speed}x predicted, worst judge "
                f"{choice.verdict.agreement:.1f} dB to dense, {len(choice.verdict.failures)} failures\n")  # fmt: skip
        for failure in first.verdict.failures[:12]:
            out(f"    fails: {failure}\n")


if __name__ == "__main__":
    main()
