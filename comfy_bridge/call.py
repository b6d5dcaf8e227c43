"""The arguments of one model call of the host's, and what of them lies on the picture's grid.

A call is what the host's `apply_model` gets. Nothing here changes a tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

# this pack's keys in transformer_options: the run, what it protects, the stopwatch of a run that is dense throughout
KEY, OUTSIDE, WATCH = OURS = ("hilo_token", "hilo_token_outside", "hilo_token_watch")
OVERRIDE = "optimized_attention_override"  # the host's name for an attention override in transformer_options
CARRIED = ("wrappers", "callbacks", "patches", "patches_replace", OVERRIDE)  # what nodes put into a model call


class Call(NamedTuple):
    """The arguments of the host's `apply_model`."""

    x: Tensor  # (B, C, H, W) or (B, C, T, H, W), all conds of the batch
    t: Tensor  # (B,) sigma
    concat: Any
    context: Any
    control: Any
    options: dict[str, Any]  # transformer_options
    kwargs: dict[str, Any]

    @property
    def shapes(self) -> Any:
        """What a dense call's time depends on: shapes of the picture, the text and the references."""
        return self.x.shape, shape_of(self.context), shape_of(self.kwargs.get("ref_latents"))

    def execute(self, executor: Callable[..., Tensor]) -> Tensor:
        """Hand it on."""
        return executor(self.x, self.t, self.concat, self.context, self.control, self.options, **self.kwargs)


def flat(latent: Tensor) -> Tensor:
    """As the core has it, a picture without frame axis: (B, C, 1, H, W) or (B, C, H, W) -> (B, C, H, W)."""
    return latent[:, :, 0] if latent.ndim == 5 and latent.shape[2] == 1 else latent


def unflat(latent: Tensor, like: Tensor) -> Tensor:
    """With a frame axis if `like` has one."""
    return latent[:, :, None] if like.ndim == 5 and latent.ndim == 4 else latent


def on_grid(value: Any, x: Tensor) -> bool:
    """Whether a conditioning value, or each of several side by side in it, lies on the pixel grid of the latent."""
    axes = x.ndim - 2
    return isinstance(value, Tensor) and value.ndim >= x.ndim and value.shape[-axes:] == x.shape[2:]


def shape_of(value: Any, of: Callable[[Tensor], Any] = lambda tensor: tuple(tensor.shape)) -> Any:
    """A hashable stand-in for a conditioning value: shapes, not contents. of: what stands for a tensor."""
    if isinstance(value, Tensor):
        return of(value)
    if isinstance(value, (list, tuple)):
        return tuple(shape_of(item, of) for item in value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
