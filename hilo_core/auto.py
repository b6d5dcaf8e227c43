"""Which preset a run takes that is to choose one itself, from comparisons of its model with dense.

Takes what is known and what the run is, gives a preset and the reason in words. Where comparisons are kept, and what
makes a model the same one, others know. The limits are conventions: so many pictures before anything is believed, and
so few on which a fault may be seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .cost import ModelShape

AUTO = "auto"
MEANING = (
    "Takes fast, balanced or quality by what HiLo Compare found on this model, and says why; never slower than dense."
)
DEFAULT = "balanced"  # while too little is known
CANDIDATES = ("fast", DEFAULT, "quality")  # the fastest first
ENOUGH = 3  # pictures that decide
FAULTY = 0.1  # share of them on which a fault may be seen
ALIKE = 2.0  # runs are alike within this factor of edit, picture and steps
WORTH = 1.05  # predicted speed-up of a step below which a strip is not tried


@dataclass(frozen=True)
class Setting:
    """What a run is, as far as the choice depends on it."""

    share: float  # of the tokens that are edited, without a margin
    total: int  # tokens of the picture
    steps: int | None = None  # None: not known yet
    sampler: str | None = None

    def like(self, other: Setting) -> bool:
        """Whether what was found in one holds for the other."""
        if None not in (self.sampler, other.sampler) and self.sampler != other.sampler:
            return False
        pairs = ((self.share, other.share), (self.total, other.total), (self.steps, other.steps))
        return all(a is None or b is None or (a <= ALIKE * b and b <= ALIKE * a) for a, b in pairs)


@dataclass(frozen=True)
class Trial:
    """One preset beside dense, on one picture and the same noise."""

    preset: str
    picture: str  # tells pictures apart, and nothing of them
    setting: Setting
    psnr: float  # dB to dense, inside the edit
    fault: str  # what looked wrong against dense, as `verdict.fault` words it; empty: nothing
    speedup: float | None = None  # of the run's model calls, measured


@dataclass(frozen=True)
class Choice:
    """A preset, or None: dense; and why."""

    preset: str | None
    reason: str


def choose(known: Sequence[Trial], setting: Setting) -> Choice:
    """The fastest preset that is known to be close to dense where a run is like this one.

    Of those not known to be so, `DEFAULT` is taken, or one that keeps more where `DEFAULT` is known not to be close;
    dense where none of them is.
    """
    alike, passed = [one for one in known if one.setting.like(setting)], list[str]()
    for number, name in enumerate(CANDIDATES):
        own = [one for one in alike if one.preset == name]
        pictures = len({one.picture for one in own})
        if pictures < ENOUGH:
            if number >= CANDIDATES.index(DEFAULT):
                return Choice(name, _took(name, [*passed, _too_few(name, pictures, bool(known))]))
        elif wrong := _wrong(own):
            passed.append(f"{name} {wrong}")
        else:
            good, mean = sum(not one.fault for one in own), sum(one.psnr for one in own) / len(own)
            words = f"close to dense in {good} of {len(own)} comparisons like this run, {mean:.0f} dB"
            return Choice(name, _took(name, [*passed, words]))
    return Choice(None, f"{AUTO} stays with dense: {'; '.join(passed)}")


def slow(tokens: int, total: int, shape: ModelShape, measured: float | None) -> str:
    """Why a strip of so many of all tokens is not worth it; empty where it is.

    measured: dense time over the strip's of such a step of this model; None: not known, so that the cost model says.
    """
    gain = shape.speedup(tokens, total) if measured is None else measured
    if gain >= (WORTH if measured is None else 1.0):
        return ""
    how = "would be" if measured is None else "was"
    return f"{AUTO} stays with dense: a step of {tokens} of {total} tokens {how} {gain:.2f} times as fast"


def _took(name: str, why: list[str]) -> str:
    return f"{AUTO} took {name}: {'; '.join(why)}"


def _too_few(name: str, pictures: int, compared: bool) -> str:
    if not compared:
        return f"this model has not been compared with dense; HiLo Compare on {ENOUGH} pictures lets it choose"
    return f"compared on {pictures} of the {ENOUGH} pictures like this one that decide"


def _wrong(own: list[Trial]) -> str:
    """What speaks against a preset in its comparisons; empty where nothing does."""
    faults = Counter(one.fault for one in own if one.fault)
    if sum(faults.values()) > FAULTY * len(own):
        return f"{faults.most_common(1)[0][0]} in {sum(faults.values())} of {len(own)} comparisons like this run"
    speeds = [one.speedup for one in own if one.speedup is not None]
    return "was no faster than dense" if speeds and sum(speeds) / len(speeds) <= 1 else ""
