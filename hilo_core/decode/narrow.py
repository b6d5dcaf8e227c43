"""Windows that shrink from level to level of a decoder to what its later layers still see.

A window enters the first level with all its context. Each level sees less far than the one before it, in pixels of the
picture, so what is no longer seen is cut off where a level begins. The picture of a window is then smaller than the
window; zeros stand for what was cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from .windows import Canvas, Window


class Level(NamedTuple):
    """The layers of one size of a decoder, after one that enlarges."""

    first: nn.Module
    seen: int  # pixels at its size that it and all later layers see to each side
    work: int  # multiply-adds for a pixel at its size, the layer that enlarges among them


def levels(decoder: Any, spare: int) -> list[Level]:
    """The levels after the latent's, in order, of a decoder whose picture needs `spare` good pixels around the window's
    own part. Empty where the structure is not known.
    """
    tiny, middle = isinstance(decoder, nn.Sequential), getattr(decoder, "middle", None)
    if tiny or isinstance(middle, nn.Sequential):
        groups: list[tuple[list[nn.Module], list[nn.Module]]] = [([], [])]  # what enlarges, what follows it
        for module in decoder if tiny else decoder.upsamples:
            if hasattr(module, "resample") or isinstance(module, nn.Upsample):
                groups.append(([module], []))
            else:
                groups[-1][1].append(module)
        tail, last = groups[1:], nn.Identity() if tiny else decoder.head
    elif isinstance(getattr(decoder, "up", None), nn.ModuleList) and hasattr(decoder, "conv_out"):
        up: Any = decoder.up
        tail = [([up[k + 1].upsample], list(up[k].block)) for k in range(len(up) - 2, -1, -1)]
        last = decoder.conv_out
    else:
        return []
    found: list[Level] = []
    seen = _sees([last]) + spare
    for enlarge, blocks in reversed(tail):
        seen += _sees(blocks)
        work = multiply_adds([*enlarge, *blocks, *([] if found else [last])])
        found.insert(0, Level(blocks[0], seen, work))
        seen = -(-(seen + _sees(enlarge)) // 2)
    return found


def _sees(modules: list[nn.Module]) -> int:
    """Pixels to each side that modules in a row see: one for each convolution of three."""
    return sum(m.kernel_size[-1] // 2 for m in _convolutions(modules))


def multiply_adds(modules: list[nn.Module]) -> int:
    """Of the modules' convolutions, for one pixel of one picture."""
    return sum(m.in_channels * m.out_channels * m.kernel_size[-2] * m.kernel_size[-1] for m in _convolutions(modules))


def _convolutions(modules: list[nn.Module]) -> Iterator[nn.Conv2d | nn.Conv3d]:
    return (m for module in modules for m in module.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))


class Narrowing:
    """What is cut off one window at each level. margin: latent pixels of context that each side has, but those on the
    picture's border; of the latent `canvas`."""

    def __init__(self, window: Window, margin: int, canvas: Canvas, stages: list[Level]) -> None:
        inner = window.top > 0, window.bottom < canvas.rows, window.left > 0, window.right < canvas.columns
        self.cuts: list[tuple[nn.Module, int]] = []
        self.work = 0.0  # multiply-adds of all levels
        left = margin * canvas.ratio  # pixels of the picture
        height, width = (canvas.ratio * n for n in (window.bottom - window.top, window.right - window.left))
        for number, level in enumerate(stages):
            size = 2 ** (len(stages) - 1 - number)  # pixels of the picture for one at this level
            cut = max(left // size - level.seen, 0)
            left -= cut * size
            gone = margin * canvas.ratio - left
            self.work += level.work * (height - gone * sum(inner[:2])) * (width - gone * sum(inner[2:])) / size**2
            if cut:
                self.cuts.append((level.first, cut))
        self._inner = inner
        self._gone = margin * canvas.ratio - left

    @contextmanager
    def within(self) -> Iterator[None]:
        """While open, each level's input loses what it does not need."""
        handles = [module.register_forward_pre_hook(self._cutting(cut)) for module, cut in self.cuts]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _cutting(self, cut: int) -> Any:
        top, bottom, left, right = (cut * side for side in self._inner)

        def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            height, width = args[0].shape[-2:]
            return args[0][..., top : height - bottom, left : width - right].contiguous(), *args[1:]

        return before

    def whole(self, picture: Tensor) -> Tensor:
        """(..., h, w, channels) with zeros for what is gone."""
        top, bottom, left, right = (self._gone * side for side in self._inner)
        return F.pad(picture, (0, 0, left, right, top, bottom)) if self._gone else picture
