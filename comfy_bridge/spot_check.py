"""One step of a run, checked: two strips' answers on the edit against the dense model's, all for the same latent.

Takes the answers, says how they agree and whether strips stand for this picture at all. Knows nothing of how an answer
is made. Two strips of different turns stand for the context by different tokens, so that their errors differ where
nothing is wrong but the choice of tokens, and their mean is nearer to dense; an error that both share stays in the
mean, and is the method's or the model's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..hilo_core.schedule import step_of
from ..hilo_core.words import Said
from .call import flat

SHARED = 1.25  # error of two strips' mean over their difference: 0.5 where nothing is shared; `lab.checks.agreement`
HARMLESS = 0.98  # agreement from which on it does not matter what is shared
LEAST = 0.7  # agreement below which a strip is no use, whatever is shared


@dataclass
class SpotCheck:
    """Due once in a run, at one step."""

    step: int
    agreement: float | None = None  # once it is known; 1: the same velocity on the edit, 0: nothing in common
    shared: float | None = None  # the error of two strips' mean over their difference; None: there is but one

    @classmethod
    def in_the_middle(cls, dense_steps: list[bool]) -> SpotCheck | None:
        """At the middle one of the compressed steps; None where there are fewer than two."""
        compressed = [step for step, dense in enumerate(dense_steps) if not dense]
        return cls(compressed[len(compressed) // 2]) if len(compressed) > 1 else None

    def due(self, sigma: Tensor, sigmas: list[float]) -> bool:
        """Whether this call is to be checked. Reads sigma, so a GPU waits, until the check is over."""
        return self.agreement is None and step_of(float(sigma.max()), sigmas) >= self.step

    def note(self, x: Tensor, strips: list[Tensor], dense: Tensor, edited: Tensor) -> bool:
        """Keep how they agree; whether that is enough.

        x: the call's latent. strips, dense: what the model takes for the clean latent there, by one or two strips, and
        densely. edited: (H, W) bool.
        """
        velocity, error = _size(x, dense, edited), _size(strips[0], dense, edited)
        self.agreement = max(0.0, 1 - _worst(error / velocity))
        if len(strips) > 1:
            mean = (strips[0] + strips[1]) / 2
            self.shared = _worst(_size(mean, dense, edited) / _size(strips[0], strips[1], edited))
        if self.agreement < LEAST:
            return False
        return self.agreement >= HARMLESS or self.shared is None or self.shared <= SHARED

    def words(self) -> str:
        """The result, for the report."""
        return Said("{} agreement with dense at step {}", f"{self.agreement or 0:.0%}", self.step + 1)


def _size(a: Tensor, b: Tensor, edited: Tensor) -> Tensor:
    """(B,) how far two latents are apart on the edit."""
    sizes: Tensor = (flat(a) - flat(b)).float()[..., edited].flatten(1).norm(dim=1)
    return sizes.clamp(min=1e-12)


def _worst(ratios: Tensor) -> float:
    """Of all conds and pictures; NaN and infinity are as bad as can be."""
    return float(torch.nan_to_num(ratios, nan=1e9, posinf=1e9).max())
