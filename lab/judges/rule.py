"""The rule that a preset must meet. Written before the measurement; `choose` applies it to stored results.

Over every judge, every size and number of steps measured, and every bin of mask sizes, a setting is *admissible* if

1. it is not inferior to the dense run against the true picture: the lower 95 % bound of the paired change of the PSNR
   inside the mask is above -0.1 dB, and that of the SSIM above -0.005;
2. its fill is as sharp as the dense fill: the ratio of the mean absolute Laplacian inside the mask is 0.98 to 1.02 for
   `quality`, 0.95 to 1.03 for the others;
3. its border is no more visible: the ratio of the mean jump across the mask's border is 0.97 to 1.03;
4. it is perceptually no worse: the lower 95 % bound of the change of HaarPSI to the truth is above -0.005. (LPIPS and
   DISTS were wanted. Both need a network that was trained on photographs, whose weights were not to be had.)

Of the admissible settings a preset takes the fastest, by the predicted time of the kernels at 4,096 tokens (mean over
the bins), whose PSNR to the dense fill, averaged over the bins and runs of a judge, is at least `AGREEMENT` dB for the
worst judge.

Bounds are of the mean over pictures: the masks of one picture are averaged first, then a t interval is taken over the
pictures. Ratios are of sums over all pictures. A run that the product refuses to compress, because too many tokens
are needed, counts as what it is: dense.

The limits may be moved once, before the final pictures are looked at, if the judges disagree; `MOVED` says what was
moved and why. The numbers above are the ones written before the measurement; the constants below are in force.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

AGREEMENT = {"fast": 35.0, "balanced": 38.0, "quality": 44.0}  # dB
REFERENCE = {"J3": 3.0}  # dB less where the source is a reference latent
PSNR, SSIM, HAARPSI = -0.3, -0.01, -0.01  # lowest lower bounds of a change, over all judges and runs
MEANS = (-0.15, -0.01, -0.01)  # lowest means of the same, for each judge and run
SHARPNESS = {"quality": (0.97, 1.02)}  # others: OTHERS
OTHERS = (0.90, 1.03)
BORDER = (0.96, 1.04)
MOVED = """\
The device time allowed 16 pictures (7 at 1024 px and at 4 and 20 steps). A cell of 16 pictures has half-widths of 0.1
to 0.5 dB: dense with another seed has 0.3 to 0.7, so no cell can show -0.1 dB. Therefore bounds are taken over all
judges, bins and runs together and stand at -0.3 dB, -0.01 and -0.01; in addition each judge's run, over its bins, must
have means above -0.15 dB, -0.01 and -0.01. Ratios of sums turned out to be one picture's: a star field of ten times the
others' sharpness gives J1 0.85 where its median is 0.96. Therefore sharpness is the geometric mean of the single ratios
of a judge's run. The judges disagree on softness (J1 0.92 to 0.95 with the whole mass, J2 and J3 0.97 to 0.98 at the
same setting), so its lower limit is 0.90 (`quality`: 0.97), half of what dense with fewer steps at equal time loses on
J1, and that of the border 0.96 to 1.04. With a reference (J3)
every setting is about 3 dB further from dense than without, while dense with fewer steps is just as far as on J2; its
limit of agreement is 3 dB lower."""


@dataclass(frozen=True)
class Verdict:
    """What a setting fails, over all cells, and its agreement with dense for the worst judge."""

    failures: tuple[str, ...]
    agreement: float  # dB, mean of the worst judge's bins and runs, with what REFERENCE allows

    @property
    def admissible(self) -> bool:
        """Whether nothing fails."""
        return not self.failures


def failures(cell: dict[str, Any], preset: str) -> list[str]:
    """What one pooled cell fails, in words: a judge's run over its bins, or all judges and runs together. See
    `summary.summed` for its fields."""
    low, high = SHARPNESS.get(preset, OTHERS)
    found, everything = [], cell["judge"] == "all"
    limits = zip(("psnr", "ssim", "haarpsi"), (PSNR, SSIM, HAARPSI), MEANS, (2, 4, 4), strict=True)
    for name, bound, mean, digits in limits:
        value, half = cell[f"{name}_change"], cell[f"{name}_change_half"] or 0.0
        if (value - half < bound) if everything else (value < mean):
            found.append(f"change of {name} {value:+.{digits}f} ±{half:.{digits}f}")
    if not everything and not low <= cell["sharpness_mid"] <= high:
        found.append(f"sharpness {cell['sharpness_mid']:.3f}")
    if not everything and not BORDER[0] <= cell["border"] <= BORDER[1]:
        found.append(f"border {cell['border']:.3f}")
    where = "all judges" if everything else f"{cell['judge']} {cell['side']} px {cell['steps']} steps"
    return [f"{where}: {text}" for text in found]


def judge(cells: list[dict[str, Any]], preset: str) -> Verdict:
    """The verdict on one setting, from its cells with bins pooled."""
    found = tuple(text for cell in cells for text in failures(cell, preset))
    return Verdict(found, min(agreements(cells).values(), default=0.0))


def agreements(cells: list[dict[str, Any]]) -> dict[str, float]:
    """PSNR to dense of each judge, dB, mean of its bins and runs, with what REFERENCE allows."""
    runs: dict[str, list[float]] = {}
    for cell in cells:
        if cell["judge"] != "all":
            runs.setdefault(cell["judge"], []).append(cell["psnr_dense"] + REFERENCE.get(cell["judge"], 0.0))
    return {name: sum(v) / len(v) for name, v in runs.items()}
