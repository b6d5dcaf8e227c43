"""Settings with a name: what a user chooses instead of a dozen numbers.

The values come from measurements: `lab/judges/choose.py` prints them from stored results, and a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass

from .cells import Levels
from .errors import HiLoError
from .plan import TokenSettings
from .schedule import Schedule


@dataclass(frozen=True)
class Preset:
    """Token settings, schedule and bias strength."""

    tokens: TokenSettings
    schedule: Schedule
    mass_bias: float = 1.0  # 1: a low-frequency token weighs what it stands for; 0: no bias
    off: bool = False
    meaning: str = ""


LEVELS: dict[str, Levels] = {
    "pyramid": ((2, 0.0), (4, 4.0), (8, 24.0)),
    "2x2": ((2, 0.0),),
    "4x4": ((4, 0.0),),
    "8x8": ((8, 0.0),),
    "none": (),
}  # by the name that the nodes show

PRESETS: dict[str, Preset] = {
    "balanced": Preset(
        TokenSettings(dilation=1.0, max_high=0.03, levels=((2, 0.0), (4, 2.0), (8, 8.0)), native=True),
        Schedule(first=0.05),
        mass_bias=0.75,
        meaning="A one-token margin, 3 % detail tokens, context thinning out with distance. One dense step in twenty.",
    ),
    "quality": Preset(
        TokenSettings(dilation=3.0, amount=0.5, max_high=0.1, levels=LEVELS["pyramid"], native=True),
        Schedule(first=0.05),
        mass_bias=0.75,
        meaning="A three-token margin, 10 % detail tokens, wide fine context. One dense step in twenty.",
    ),
    "fast": Preset(
        TokenSettings(dilation=1.0, amount=0.1, max_high=0.01, levels=((4, 0.0), (8, 6.0)), native=True),
        Schedule(),
        mass_bias=0.75,
        meaning="A one-token margin, 1 % detail tokens, thin context, no dense step.",
    ),
    "paper": Preset(
        TokenSettings(rule="ratio", amount=0.1, max_high=1.0, nearness=0.0, levels=LEVELS["4x4"]),
        Schedule(),
        mass_bias=0.0,
        meaning="The three token sets of the paper: edit, 10 % of highest frequency, 4x4 low-frequency, no bias.",
    ),
    "off": Preset(TokenSettings(), Schedule(), off=True, meaning="Exactly the dense model."),
}


def preset(name: str) -> Preset:
    """The preset of that name; HiLoError if there is none."""
    if name not in PRESETS:
        raise HiLoError(f"Unknown preset '{name}'. Use one of: {', '.join(PRESETS)}.")
    return PRESETS[name]
