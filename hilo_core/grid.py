"""Pixels, latent and tokens: a token is a `patch x patch` square of latent pixels.

Takes sizes of latents, gives sizes of grids and the way between a latent (B, C, H, W) and its tokens (B, N, C, p, p).
Latents whose sides are no multiple of the patch wrap round, as the models of the host pad them.
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

    def __post_init__(self) -> None:
        if min(self.latent_height, self.latent_width, self.patch) < 1:
            raise HiLoError(
                f"The latent is {self.latent_width}x{self.latent_height}: it holds no token. Use a larger picture."
            )

    @property
    def height(self) -> int:
        """Rows of tokens."""
        return -(-self.latent_height // self.patch)

    @property
    def width(self) -> int:
        """Tokens in a row."""
        return -(-self.latent_width // self.patch)

    @property
    def count(self) -> int:
        """All tokens of the dense grid."""
        return self.height * self.width

    def pixels(self, tokens: Tensor) -> Tensor:
        """Each latent pixel's value of its token: (rows, columns) -> (H, W)."""
        full = tokens.repeat_interleave(self.patch, 0).repeat_interleave(self.patch, 1)
        return full[: self.latent_height, : self.latent_width]


def to_tokens(latent: Tensor, grid: TokenGrid) -> Tensor:
    """Cut a latent into tokens: (B, C, H, W) -> (B, N, C, p, p), row by row.

    Padding wraps round, as in the host's `pad_to_patch_size`, so that border tokens equal the model's own.
    """
    p, rows, columns = grid.patch, grid.height, grid.width
    right, bottom = columns * p - latent.shape[-1], rows * p - latent.shape[-2]
    if right or bottom:
        latent = F.pad(latent, (0, right, 0, bottom), mode="circular")
    b, c = latent.shape[:2]
    return latent.reshape(b, c, rows, p, columns, p).permute(0, 2, 4, 1, 3, 5).reshape(b, rows * columns, c, p, p)
