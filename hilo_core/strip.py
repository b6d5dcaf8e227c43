"""A strip: the chosen tokens side by side, a latent one token high that the model takes for a narrow picture.

`compress` gathers, `restore` puts back; with everything kept, `restore(compress(x)) == x` bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cells import pool_latent, pool_tokens
from .grid import TokenGrid, from_tokens, to_tokens
from .plan import TokenPlan


def gather(tokens: Tensor, plan: TokenPlan) -> Tensor:
    """A value that every dense token has, for the tokens of the strip: (B, N, D) -> (B, n, D).

    Kept tokens have their own; a cell has the mean over its tokens (positions: its centre).
    """
    parts = [tokens[:, plan.kept]]
    parts += [pool_tokens(tokens, plan.rows, plan.columns, c.factor)[:, c.index] for c in plan.cells]
    return torch.cat(parts, dim=1)


def low_tokens(latent: Tensor, known: Tensor, grid: TokenGrid, plan: TokenPlan, noise: bool = False) -> Tensor:
    """Tokens of the downsampled latent for the plan's cells: (B, C, H, W) -> (B, cells, C, p, p).

    known: (H, W) bool, latent pixels that are not being edited. noise: keep unit variance (see `pool_latent`).
    """
    parts = []
    for cells in plan.cells:
        small = pool_latent(latent, known, cells.factor, noise)
        parts.append(to_tokens(small, TokenGrid(*small.shape[-2:], grid.patch))[:, cells.index])
    if not parts:
        return latent.new_zeros(latent.shape[0], 0, latent.shape[1], grid.patch, grid.patch)
    return torch.cat(parts, dim=1)


def compress(latent: Tensor, low: Tensor, grid: TokenGrid, plan: TokenPlan) -> Tensor:
    """The strip of a latent: (B, C, H, W) and its low-frequency tokens (B, cells, C, p, p) -> (B, C, p, n * p)."""
    tokens = torch.cat([to_tokens(latent, grid)[:, plan.kept], low.to(latent)], dim=1)
    b, n, c, p, _ = tokens.shape
    return tokens.permute(0, 2, 3, 1, 4).reshape(b, c, p, n * p)


def restore(strip: Tensor, background: Tensor, grid: TokenGrid, plan: TokenPlan, kinds: Tensor | None = None) -> Tensor:
    """Put kept tokens back over a background: (B, C, p, n * p) and (B, C, H, W) -> (B, C, H, W).

    kinds: bool over the kept tokens, which of them to put back; None means all. Low-frequency tokens are discarded.
    """
    b, c, p, _ = strip.shape
    tokens = strip.reshape(b, c, p, -1, p).permute(0, 3, 1, 2, 4)[:, : len(plan.kept)]
    index = plan.kept
    if kinds is not None:
        tokens, index = tokens[:, kinds], index[kinds]
    full = to_tokens(background.to(strip), grid)
    return from_tokens(full.index_copy(1, index, tokens), grid)
