"""The preset of a run that chooses it itself: what the run is, what is known of its model, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..hilo_core.auto import DEFAULT, Setting, slow
from ..hilo_core.cost import ModelShape
from ..hilo_core.plan import TokenPlan
from ..hilo_core.presets import Preset
from .known import comparisons, gain_of, identity
from .planning import PlanRequest
from .reasons import DenseRun


@dataclass(frozen=True)
class Decided:
    """What one run takes."""

    preset: Preset
    setting: Setting
    why: str = ""  # of the choice; empty where the user made it

    def check(self, plan: TokenPlan, shape: ModelShape, model: Any) -> None:
        """DenseRun where the choice was the run's own and this plan is not worth it. model: the host's BaseModel."""
        if self.why and (reason := slow(plan.count, plan.total, shape, gain_of(model, plan.count, plan.total))):
            raise DenseRun(reason)


def setting_of(edit: Tensor, steps: int | None = None, sampler: Any = None) -> Setting:
    """What a run is, as far as it is known.

    edit: ((T,) rows, columns) bool, tokens that may change. sampler: the host's.
    """
    function = getattr(sampler, "sampler_function", sampler)
    name = None if sampler is None else getattr(function, "__name__", type(function).__name__)
    return Setting(float(edit.float().mean()), edit.numel(), steps, name)


def decide(
    preset: Preset, auto: Callable[[str], Preset] | None, request: PlanRequest | None, patcher: Any, setting: Setting
) -> Decided:
    """What a run takes; DenseRun where dense was chosen, by it or by its plan.

    preset: the user's, or that of the plan. auto: from a name to a preset, where the run is to choose.
    """
    choice = request.choice if request else None
    if auto is not None:
        choice = comparisons.decide(identity(patcher), setting)
        preset = auto(choice.preset or DEFAULT)
    if choice is None:
        return Decided(preset, setting)
    if choice.preset is None:
        raise DenseRun(choice.reason)
    return Decided(preset, setting, choice.reason)
