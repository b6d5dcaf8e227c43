"""A drift meter: how much the decode changed pixels that are not edited, and how much of it is left in the result.

Takes pictures (H, W, 3) of 0..1 and the pixels outside the edit, gives numbers in steps of 1/255. It only measures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .shift import Shift


@dataclass(frozen=True)
class Drift:
    """What was found in the decoded windows. Differences are in 1/255, over the pixels outside the blend."""

    before_largest: float = 0.0  # of the decode from the original
    before_mean: float = 0.0
    after_largest: float = 0.0  # of the result from the original; 0 when it was left alone
    after_mean: float = 0.0
    border: float | None = None  # mean step between neighbours across the mask's border, relative to the original's
    shift: tuple[float, float, float] | None = None  # mean of decode minus original on the ring: red, green, blue
    corrected: bool = False  # whether the colours were matched
    moved: Shift | None = None  # of the decode against the original around the edit; of a batch the largest
    undone: bool = False  # whether it was moved back

    def line(self) -> str:
        """One line for the log and the node."""
        parts = [
            f"outside the edit the decode differs by {self.before_mean:.2f}/255 (largest {self.before_largest:.0f}), "
            f"the result by {self.after_mean:.2g} (largest {self.after_largest:.2g})"
        ]
        if self.border is not None:
            parts.append(f"step at the mask's border {self.border:.2f}x the original's")
        if self.shift is not None:
            red, green, blue = self.shift
            parts.append(f"colours around the edit {red:+.2f} red, {green:+.2f} green, {blue:+.2f} blue")
        if self.moved is not None:
            parts.append(f"around the edit all lies {self.moved}{', moved back' if self.undone else ''}")
        return "; ".join([*parts, *(["colours matched"] if self.corrected else [])])


class DriftMeter:
    """Adds up windows; sums stay on the windows' device until `result`."""

    def __init__(self) -> None:
        self._largest: dict[str, Tensor] = {}
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, original: Tensor, decoded: Tensor, out: Tensor, mask: Tensor, outside: Tensor, ring: Tensor) -> None:
        """One window, before the colours are matched and after the blend.

        original, decoded, out: (B, h, w, 3) in 0..1; the rest (B, h, w) bool: the edit, the decoded pixels outside the
        blend, the decoded pixels on a ring around the edit.
        """
        for name, picture in (("before", decoded), ("after", out)):
            gap = (picture - original).abs_().amax(-1) * outside
            self._largest[name] = torch.maximum(self._largest.get(name, gap.new_zeros(())), gap.amax())
            self._sum(name, gap, outside)
        self._sum("shift", (decoded - original) * ring[..., None], ring)
        for axis in (1, 2):
            size = mask.shape[axis] - 1
            across = mask.narrow(axis, 1, size) != mask.narrow(axis, 0, size)
            for name, picture in (("step", out), ("step of the original", original)):
                step = picture.narrow(axis, 1, size) - picture.narrow(axis, 0, size)
                self._sum(name, step.abs_() * across[..., None], across)

    def _sum(self, name: str, values: Tensor, of: Tensor) -> None:
        """values: (B, h, w) or (B, h, w, channels), 0 outside of `of` (B, h, w) bool."""
        total, count = self._sums.get(name, (values.new_zeros(values.shape[3:]), 0))
        self._sums[name] = total + values.sum((0, 1, 2)), count + int(torch.count_nonzero(of))

    def _mean(self, name: str) -> Tensor | None:
        total, count = self._sums.get(name, (torch.zeros(()), 0))
        return total / count if count else None

    def result(self, corrected: bool = False, moved: Shift | None = None, undone: bool = False) -> Drift:
        """All windows together."""
        largest = {name: 255 * value.item() for name, value in self._largest.items()}
        means = {name: self._mean(name) for name in ("before", "after", "shift", "step", "step of the original")}
        step, normal, shift = means["step"], means["step of the original"], means["shift"]
        border = None if step is None or normal is None else step.mean().item() / max(normal.mean().item(), 1e-6)
        red, green, blue = (0.0, 0.0, 0.0) if shift is None else (255 * shift).tolist()
        return Drift(
            largest.get("before", 0.0),
            0.0 if means["before"] is None else 255 * means["before"].item(),
            largest.get("after", 0.0),
            0.0 if means["after"] is None else 255 * means["after"].item(),
            border,
            None if shift is None else (red, green, blue),
            corrected,
            moved,
            undone,
        )
