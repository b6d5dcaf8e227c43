"""From what a node's widgets say to the settings of a plan and a run. A number of 0 and the choice "as preset" leave
the preset's own; each other value has an effect of its own. Knows no picture and no model."""

from __future__ import annotations

from dataclasses import replace

from ..hilo_core.cells import Levels
from ..hilo_core.plan import TokenSettings
from ..hilo_core.presets import LEVELS, PRESETS, Preset
from ..hilo_core.schedule import Schedule

AS_PRESET = "as preset"
CHOICES = [name for name, one in PRESETS.items() if not one.off]  # presets that choose tokens

# what stands for the rest of the picture, by the name that the nodes show: (cells, whether by one of its real tokens)
CONTEXTS: dict[str, tuple[Levels, bool]] = {
    **{f"real tokens, {name}": (levels, True) for name, levels in LEVELS.items() if levels},
    **{f"averages, {name}": (levels, False) for name, levels in LEVELS.items() if levels},
    **{name: ((), False) for name, levels in LEVELS.items() if not levels},
}
DENSE_STEPS = {
    "none": Schedule(),
    "first": Schedule(first=1),
    "first and last": Schedule(first=1, last=1),
    "first and every 4th": Schedule(first=1, every=4),
    "half": Schedule(first=0.5),
}
BIASES = ("0", "0.25", "0.5", "0.75", "0.92", "1")
REFERENCES = {"whole": 0, "coarse 2x2": 2, "coarse 4x4": 4}  # cell size for references of another size than the target


def token_settings(
    preset: str, margin: int = 0, detail: float = 0.0, context: str = AS_PRESET, budget: int = 0, pixels: int = 16
) -> TokenSettings:
    """What a plan keeps.

    margin: pixels around the edit. detail: percent of all tokens. context: of `CONTEXTS`. budget: tokens in all.
    pixels: of a token's side.
    """
    found = replace(PRESETS[preset].tokens, budget=budget)
    if margin:
        found = replace(found, dilation=margin / pixels)
    if detail:
        found = replace(found, rule="ratio", amount=detail / 100, max_high=1.0)
    if context != AS_PRESET:
        levels, native = CONTEXTS[context]
        found = replace(found, levels=levels, native=native)
    return found


def with_overrides(preset: Preset, dense_steps: str = AS_PRESET, mass_bias: str = AS_PRESET) -> Preset:
    """A preset with the schedule of that name and that strength of bias."""
    if dense_steps != AS_PRESET:
        preset = replace(preset, schedule=DENSE_STEPS[dense_steps])
    return preset if mass_bias == AS_PRESET else replace(preset, mass_bias=float(mass_bias))
