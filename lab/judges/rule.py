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
the bins), whose PSNR to the dense fill, averaged over the bins, is at least `AGREEMENT` dB for the worst judge.

Bounds are of the mean over pictures: the masks of one picture are averaged first, then a t interval is taken over the
pictures. Ratios are of sums over all pictures. A run that the product refuses to compress, because too many tokens
are needed, counts as what it is: dense.

The limits may be moved once, before the final pictures are looked at, if the judges disagree; `MOVED` then says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

AGREEMENT = {"fast": 35.0, "balanced": 38.0, "quality": 44.0}  # dB
PSNR, SSIM, HAARPSI = -0.1, -0.005, -0.005  # lowest lower bounds of a change
SHARPNESS = {"quality": (0.98, 1.02)}  # others: OTHERS
OTHERS = (0.95, 1.03)
BORDER = (0.97, 1.03)
MOVED = ""


@dataclass(frozen=True)
class Verdict:
    """What a setting fails, over all cells, and its agreement with dense for the worst judge."""

    failures: tuple[str, ...]
    agreement: float  # dB, mean of the bins, worst judge and run

    @property
    def admissible(self) -> bool:
        """Whether nothing fails."""
        return not self.failures


def failures(cell: dict[str, Any], preset: str) -> list[str]:
    """What one cell (one judge, size, number of steps, bin) fails, in words. See `evaluate.summed` for its fields."""
    low, high = SHARPNESS.get(preset, OTHERS)
    found = []
    for field, limit, digits in (("psnr_change", PSNR, 2), ("ssim_change", SSIM, 4), ("haarpsi_change", HAARPSI, 4)):
        bound = cell[field] - cell[f"{field}_half"]
        if bound < limit:
            found.append(f"{field} {cell[field]:+.{digits}f} ±{cell[f'{field}_half']:.{digits}f}")
    if not low <= cell["sharpness"] <= high:
        found.append(f"sharpness {cell['sharpness']:.3f}")
    if not BORDER[0] <= cell["border"] <= BORDER[1]:
        found.append(f"border {cell['border']:.3f}")
    return [f"{cell['judge']} {cell['side']} px {cell['steps']} steps {cell['kind']}: {text}" for text in found]


def judge(cells: list[dict[str, Any]], preset: str) -> Verdict:
    """The verdict on one setting, from all its cells."""
    found = tuple(text for cell in cells for text in failures(cell, preset))
    runs: dict[tuple[Any, ...], list[float]] = {}
    for cell in cells:
        runs.setdefault((cell["judge"], cell["side"], cell["steps"]), []).append(cell["psnr_dense"])
    return Verdict(found, min((sum(v) / len(v) for v in runs.values()), default=0.0))
