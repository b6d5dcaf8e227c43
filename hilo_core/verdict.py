"""What a comparison with dense means, in one sentence that an artist understands.

Takes the figures of each preset tried, gives words and the preset that they recommend. The limits below are
conventions, not measurements: differences of 40 dB are at the edge of what an eye finds between two pictures flipped on
a screen, and the ratios are where softness and seams begin to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .likeness import Likeness

SAME, SAME_AT_WORST, SAME_SSIM = 40.0, 30.0, 0.97  # dB in the mean, dB at the worst place, SSIM: cannot be told
CLOSE, CLOSE_AT_WORST = 28.0, 20.0  # dB: differs, but not so that one looks wrong
SOFT, GRAINY = 0.9, 1.15  # sharpness as a multiple of dense's
ROUGH = 1.25  # step across the border as a multiple of dense's


@dataclass(frozen=True)
class Tried:
    """One preset, run on the same noise as dense."""

    name: str
    likeness: Likeness | None = None  # None: the run was dense
    speedup: float | None = None  # of the run's model calls
    reason: str = ""  # why the run was dense
    about: bool = False  # the speed-up is predicted, not measured


@dataclass(frozen=True)
class Verdict:
    """One sentence, and which of the presets tried it recommends; None: dense."""

    sentence: str
    best: str | None


def fault(found: Likeness, place: str = "the edit") -> str:
    """What looks wrong against dense, as the rest of a sentence; empty where nothing does."""
    if found.sharper < SOFT and found.psnr < SAME:
        return f"softens {place}"
    if found.rougher > ROUGH:
        return "shows a seam at the border of the edit"
    if found.sharper > GRAINY and found.psnr < SAME:
        return f"adds grain in {place}"
    if found.psnr < CLOSE or found.worst_psnr < CLOSE_AT_WORST:
        return f"paints {place} otherwise"
    return ""


def same(found: Likeness) -> bool:
    """Whether two pictures cannot be told apart by eye."""
    return found.psnr >= SAME and found.worst_psnr >= SAME_AT_WORST and found.ssim >= SAME_SSIM and not fault(found)


def place_in(edit: tuple[int, int, int, int], worst: tuple[int, int, int, int]) -> str:
    """Where a box lies within another, both (top, left, bottom, right): "the upper left of the edit"."""

    def third(low: int, high: int, a: int, b: int) -> int:
        return min(int(3 * ((a + b) / 2 - low) / max(high - low, 1)), 2)

    row = ("upper ", "", "lower ")[third(edit[0], edit[2], worst[0], worst[2])]
    column = ("left", "", "right")[third(edit[1], edit[3], worst[1], worst[3])]
    words = f"{row}{column}".strip() or "middle"
    return f"the {words} part of the edit" if words in ("upper", "lower") else f"the {words} of the edit"


def judge(tried: Sequence[Tried], edit: tuple[int, int, int, int], seeds: int = 1) -> Verdict:
    """The verdict over all presets tried.

    edit: bounds of what is painted, as `bounds` gives them. seeds: how many runs the figures are means of.
    """
    ran = sorted((one for one in tried if one.likeness is not None), key=lambda one: -(one.speedup or 0))
    if not ran:
        reason = next((one.reason for one in tried), "no preset was tried")
        return Verdict(f"Every preset runs at normal speed here: {reason}.", None)
    here = "here (one seed)" if seeds == 1 else f"here ({seeds} seeds)"
    faults = {one.name: _fault(one, edit) for one in ran}
    fast = ran[0]
    good = next((one for one in ran if not faults[one.name] and _gains(one)), None)
    if not any(_gains(one) for one in ran):
        return Verdict(f"No preset is faster than dense {here}: {_named(fast)} takes as long.", None)
    if good is None:
        words = f"{_named(fast)} {faults[fast.name]} {here}: {_figures(fast)}"
        others = f", and {'none of the others avoids it' if len(ran) > 2 else 'the other does not avoid it'}"
        return Verdict(f"{words}{others if len(ran) > 1 else ''}; stay with dense.", None)
    if good is fast:
        if fast.likeness is not None and same(fast.likeness):
            return Verdict(f"{_named(fast)} cannot be told from dense {here}: {_figures(fast)}.", fast.name)
        place = _place(fast, edit)
        return Verdict(f"{_named(fast)} is close to dense {here}, least in {place}: {_figures(fast)}.", fast.name)
    return Verdict(
        f"{_named(fast)} {faults[fast.name]} {here}: {_figures(fast)}; {_named(good)} does not: {_figures(good)}.",
        good.name,
    )


def _gains(one: Tried) -> bool:
    return one.speedup is None or one.speedup > 1


def _fault(one: Tried, edit: tuple[int, int, int, int]) -> str:
    return "" if one.likeness is None else fault(one.likeness, _place(one, edit))


def _place(one: Tried, edit: tuple[int, int, int, int]) -> str:
    return "the edit" if one.likeness is None else place_in(edit, one.likeness.worst)


def _named(one: Tried) -> str:
    return f"'{one.name}'"


def _figures(one: Tried) -> str:
    """What stands behind a claim: "41 dB, 2.9x faster"."""
    parts = [] if one.likeness is None else [f"{one.likeness.psnr:.0f} dB"]
    if one.speedup is not None:
        parts.append(f"{'about ' if one.about else ''}{one.speedup:.1f}x faster")
    return ", ".join(parts)
