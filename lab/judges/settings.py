"""The settings that are tried: variants of the presets, by name, and lists of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hilo_token.hilo_core.cells import Levels
from hilo_token.hilo_core.plan import TokenSettings
from hilo_token.hilo_core.presets import Preset, preset
from hilo_token.hilo_core.schedule import Schedule

LEVELS: dict[str, Levels] = {
    "2-4-8": ((2, 0.0), (4, 2.0), (8, 8.0)),  # of `balanced`
    "2-4-8 wide": ((2, 0.0), (4, 4.0), (8, 24.0)),  # of `quality`
    "2-4-8 near": ((2, 0.0), (4, 1.0), (8, 5.0)),
    "4-8": ((4, 0.0), (8, 6.0)),  # of `fast`
    "4-8 near": ((4, 0.0), (8, 2.0)),
    "8": ((8, 0.0),),
}


@dataclass(frozen=True)
class Setting:
    """One variant of a preset."""

    levels: str
    margin: float
    detail: float  # ratio of all tokens
    bias: float = 1.0
    turns: int = 4
    first: float = 0.0  # dense steps at the start
    energy: float = 0.5  # share of the detail energy that the detail tokens may hold

    @property
    def preset(self) -> Preset:
        """For `patch_model`."""
        tokens = TokenSettings(dilation=self.margin, amount=self.energy if self.detail else 0.0, max_high=self.detail,
                               levels=LEVELS[self.levels], native=True, turns=self.turns)  # fmt: skip
        return Preset(tokens, Schedule(first=self.first), mass_bias=self.bias)

    @property
    def name(self) -> str:
        """In tables and records."""
        text = f"{self.levels}, margin {self.margin:g}, detail {self.detail:.0%}, bias {self.bias:g}"
        text += f", {self.energy:.0%} of the energy" if self.detail and self.energy != 0.5 else ""
        text += f", {self.turns} set" if self.turns != 4 else ""
        return text + (f", {self.first:g} dense" if self.first else "")


# Bases of the experiments: the presets before the rule chose, with the whole mass. THICK, LEANEST: what it chose.
BALANCED, QUALITY = Setting("2-4-8", 1, 0.03), Setting("2-4-8 wide", 3, 0.1)
FAST, LEAN = Setting("4-8", 1, 0.01), Setting("4-8 near", 0, 0.0)
THICK, LEANEST = Setting("2-4-8", 3, 0.1), Setting("2-4-8", 1, 0.0)


def settings() -> list[Setting]:
    """What `choose` may choose from, and what explains the choice."""
    found = [Setting("2-4-8", m, d) for m in (0, 1, 2, 3) for d in (0, 0.01, 0.03, 0.1)]
    found += [Setting("2-4-8 wide", m, d) for m in (1, 2, 3) for d in (0.03, 0.1)]
    found += [Setting("2-4-8 near", m, d) for m in (0, 1, 2) for d in (0, 0.03)]
    found += [Setting("4-8", m, d) for m in (0, 1, 2, 3) for d in (0, 0.01, 0.03)]
    found += [Setting("4-8 near", m, d) for m in (0, 1, 2) for d in (0, 0.01)]
    found += [Setting("8", m, 0.01) for m in (1, 2)]
    for base in (BALANCED, QUALITY, FAST):
        found += [replace(base, bias=b) for b in (0.75, 0.92)]
    found += [replace(BALANCED, bias=b) for b in (0.0, 1.1)]
    found += [replace(b, turns=1) for b in (BALANCED, QUALITY, FAST)]
    found += [replace(b, first=1.0) for b in (BALANCED, QUALITY, FAST)]
    return found


def few() -> list[Setting]:
    """For sizes and numbers of steps where not everything can be tried."""
    found = [
        b for base in (BALANCED, QUALITY, FAST) for b in (base, replace(base, bias=0.75), replace(base, bias=0.92))
    ]
    found += [Setting("2-4-8", m, d) for m, d in ((0, 0), (0, 0.03), (1, 0), (2, 0.03), (2, 0.1), (3, 0.1))]
    found += [Setting("2-4-8 wide", 2, 0.03), Setting("2-4-8 near", 1, 0.03), Setting("2-4-8 near", 1, 0)]
    found += [Setting("4-8", 2, 0.01), Setting("4-8", 0, 0), Setting("4-8 near", 1, 0.01), Setting("4-8 near", 0, 0)]
    found += [replace(BALANCED, first=1.0), replace(BALANCED, turns=1)]
    return found + later()


def later() -> list[Setting]:
    """Thought of after the first measurement: the lower bias, and less detail, with what the rule chose."""
    found = [replace(base, bias=0.92) for base in (THICK, LEANEST)]
    found += [replace(THICK, energy=0.25, bias=b) for b in (0.92, 1.0)]
    return [*found, replace(BALANCED, energy=0.25, bias=0.92)]


def paper() -> dict[str, Preset]:
    """The method as published, and with the whole mass."""
    published = preset("paper")
    real = replace(published, mass_bias=1.0, tokens=replace(published.tokens, native=True))
    return {"paper": published, "paper, bias 0.92": replace(published, mass_bias=0.92),
            "paper, bias 1": replace(published, mass_bias=1.0), "paper, bias 1, real tokens": real}  # fmt: skip
