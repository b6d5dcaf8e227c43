"""How far a decoded picture is from the original outside the edit and at its border: what compositing hides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

RING = 32  # pixels around the edit


@dataclass(frozen=True)
class Drift:
    """Sums over windows; `+` joins them. Differences are in 1/255."""

    outside_sum: float = 0.0
    outside_count: int = 0
    outside_max: float = 0.0
    ring_sum: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ring_count: int = 0
    jump: float = 0.0  # across the border of the edit, in the result
    jump_source: float = 0.0  # the same, in the original

    def __add__(self, other: Drift) -> Drift:
        return Drift(
            self.outside_sum + other.outside_sum,
            self.outside_count + other.outside_count,
            max(self.outside_max, other.outside_max),
            tuple(a + b for a, b in zip(self.ring_sum, other.ring_sum, strict=True)),  # type: ignore[arg-type]
            self.ring_count + other.ring_count,
            self.jump + other.jump,
            self.jump_source + other.jump_source,
        )

    @property
    def outside_mean(self) -> float:
        """Mean absolute difference outside the edit, before the original was put back."""
        return self.outside_sum / max(self.outside_count, 1)

    @property
    def ring_shift(self) -> float:
        """Mean colour difference on the ring around the edit: the largest of the three channels."""
        return max(abs(value) for value in self.ring_sum) / max(self.ring_count, 1)

    @property
    def border(self) -> float | None:
        """Jump of brightness across the border of the edit, over that of the original; None where there is none."""
        return self.jump / self.jump_source if self.jump_source > 0 else None

    def line(self) -> str:
        """For the node."""
        text = f"outside before: mean {self.outside_mean:.2f}, max {self.outside_max:.0f} of 255; after: 0; "
        text += f"ring colour {self.ring_shift:.2f} of 255"
        return text if self.border is None else f"{text}; border jump {self.border:.2f}x"


def measure(decoded: Tensor, result: Tensor, original: Tensor, mask: Tensor) -> Drift:
    """The drift of one window.

    decoded: what the VAE gave; result: what the user gets; original: (B, H, W, 3) in 0..1 each. mask: (B, H, W), pixels
    above 0 are the edit.
    """
    inside = mask > 0
    grown = F.max_pool2d(inside[:, None].float(), (1, 2 * RING + 1), 1, (0, RING))
    grown = F.max_pool2d(grown, (2 * RING + 1, 1), 1, (RING, 0))[:, 0] > 0
    off = 255 * (decoded - original) * ~inside[..., None]
    ring = (off * (grown & ~inside)[..., None]).sum((0, 1, 2))
    jumps = [_jump(picture, inside) for picture in (result, original)]
    found = torch.stack([off.abs().sum(), (~inside).sum().float(), off.abs().amax(), (grown & ~inside).sum().float(),
                         *ring, *jumps]).tolist()  # fmt: skip
    total, count, most, around, red, green, blue, jump, source = found
    return Drift(total / 3, int(count), most, (red, green, blue), int(around), jump, source)


def _jump(picture: Tensor, inside: Tensor) -> Tensor:
    """Sum of differences of neighbours across the border of the edit."""
    total = picture.new_zeros(())
    for axis in (1, 2):
        across = inside.float().diff(dim=axis) != 0
        total = total + (picture.diff(dim=axis).abs().mean(-1) * across).sum()
    return total
