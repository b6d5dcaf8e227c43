"""What all stand-ins share."""

from __future__ import annotations

from typing import Any

import torch


class Neighbour:
    """One foreign node on one model."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []  # (image tokens, computed), one for each model call it counted

    def put(self, model: Any) -> Any:
        """A clone of the ModelPatcher with this node on it."""
        raise NotImplementedError

    @property
    def skipped(self) -> int:
        """Model calls that came from the cache."""
        return sum(not computed for _, computed in self.calls)


def network(model: Any) -> Any:
    """The diffusion model as the clone sees it."""
    return model.get_model_object("diffusion_model")


def step_index(call: dict[str, Any]) -> int:
    """The step of a model function wrapper's call, as most caches find it: by the nearest sigma."""
    sigmas = call["c"]["transformer_options"]["sample_sigmas"]
    return int((sigmas - call["timestep"][0]).abs().argmin())


def relative_change(now: torch.Tensor, before: torch.Tensor) -> float:
    """Mean absolute change over the mean absolute value before."""
    return float((now - before).abs().mean() / before.abs().mean())
