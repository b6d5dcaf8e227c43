"""Which steps of a run are dense.

Takes a number of steps or the run's sigmas, gives booleans and step numbers. Pure arithmetic on lists: a step is found
by its sigma, so that samplers which evaluate between steps agree with those that do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Dense steps; all others are compressed. The first set the layout, the last lets everything settle."""

    first: float = 0.0  # dense steps at the start: a number of steps, or below 1 a share of all, rounded
    last: int = 0  # dense steps at the end
    every: int = 0  # and a dense step every so many steps in between; 0: none

    def dense(self, steps: int) -> list[bool]:
        """For each of `steps` sampling steps, whether it runs dense."""
        first = round(self.first * steps) if self.first < 1 else round(self.first)
        between = [self.every > 0 and i > first and (i - first) % self.every == 0 for i in range(steps)]
        return [i < first or i >= steps - self.last or between[i] for i in range(steps)]


def step_of(sigma: float, sigmas: Sequence[float]) -> int:
    """The sampling step that an evaluation at `sigma` belongs to, also between steps (Heun, SDE samplers).

    sigmas: descending, one more than there are steps.
    """
    after = sum(s >= sigma * (1 - 1e-5) for s in sigmas)
    return min(max(after - 1, 0), max(len(sigmas) - 2, 0))
