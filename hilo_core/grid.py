"""Pixels, latent and tokens: a token is a `patch x patch` square of latent pixels of one latent frame.

Takes sizes of latents, gives sizes of grids and the way between a latent (B, C, H, W) and its tokens (B, N, C, p, p).
Latents whose sides are no multiple of the patch wrap round, as the models of the host pad them.
A clip has a frame axis before the other two, in latents (B, C, T, H, W), masks and token grids alike: written (T,) H, W
here, and a picture is the clip of one frame that leaves the axis out. Tokens are numbered frame by frame, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from .errors import HiLoError


@dataclass(frozen=True)
class TokenGrid:
    """The token grid of one latent. A latent that is not a multiple of the patch is padded up, as the models do."""

    latent_height: int  # latent pixels
    latent_width: int  # latent pixels
    patch: int  # latent pixels per token side
    frames: int = 1  # latent frames

    def __post_init__(self) -> None:
        if min(self.latent_height, self.latent_width, self.patch, self.frames) < 1:
            raise HiLoError(
                f"The latent is {self.latent_width}x{self.latent_height}: it holds no token. Use a larger picture."
            )

    @classmethod
    def of(cls, latent: Tensor, patch: int) -> TokenGrid:
        """The grid of a latent (B, C, (T,) H, W)."""
        frames, height, width = (1, *latent.shape[2:])[-3:]
        return cls(height, width, patch, frames)

    @property
    def height(self) -> int:
        """Rows of tokens."""
        return -(-self.latent_height // self.patch)

    @property
    def width(self) -> int:
        """Tokens in a row."""
        return -(-self.latent_width // self.patch)

    @property
    def shape(self) -> tuple[int, ...]:
        """(T,) rows, columns of tokens."""
        return grid_shape(self.frames, self.height, self.width)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(T,) H, W of the latent."""
        return grid_shape(self.frames, self.latent_height, self.latent_width)

    @property
    def count(self) -> int:
        """All tokens of the dense grid."""
        return self.frames * self.height * self.width

    def pixels(self, tokens: Tensor) -> Tensor:
        """Each latent pixel's value of its token: ((T,) rows, columns) -> ((T,) H, W)."""
        full = tokens.repeat_interleave(self.patch, -2).repeat_interleave(self.patch, -1)
        return full[..., : self.latent_height, : self.latent_width]


def grid_shape(frames: int, height: int, width: int) -> tuple[int, ...]:
    """(T,) height, width: a picture has no frame axis."""
    return (height, width) if frames == 1 else (frames, height, width)


def to_tokens(latent: Tensor, grid: TokenGrid) -> Tensor:
    """Cut a latent into tokens: (B, C, (T,) H, W) -> (B, N, C, p, p), frame by frame, row by row.

    Padding wraps round, as in the host's `pad_to_patch_size`, so that border tokens equal the model's own.
    """
    p, rows, columns = grid.patch, grid.height, grid.width
    right, bottom = columns * p - latent.shape[-1], rows * p - latent.shape[-2]
    b, c = latent.shape[:2]
    if right or bottom:
        latent = F.pad(latent.flatten(1, -3), (0, right, 0, bottom), mode="circular")
    cut = latent.reshape(b, c, grid.frames, rows, p, columns, p)
    return cut.permute(0, 2, 3, 5, 1, 4, 6).reshape(b, grid.count, c, p, p)
