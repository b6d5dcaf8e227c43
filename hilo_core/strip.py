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
    plan = plan.to(tokens.device)
    parts = [tokens[:, plan.kept]]
    parts += [pool_tokens(tokens, plan.rows, plan.columns, c.factor)[:, c.index] for c in plan.cells]
    return torch.cat(parts, dim=1)


def low_tokens(
    latent: Tensor,
    known: Tensor,
    grid: TokenGrid,
    plan: TokenPlan,
    small: dict[int, Tensor] | None = None,
    noise: bool = False,
) -> Tensor:
    """Tokens of the downsampled latent for the plan's cells: (B, C, H, W) -> (B, cells, C, p, p).

    known: (H, W) bool, latent pixels that are not being edited. small: latents of the downsampled *picture* by
    factor, used instead for cells that no edit touches. noise: keep unit variance (see `pool_latent`).
    """
    plan = plan.to(latent.device)
    parts = [latent.new_zeros(latent.shape[0], 0, latent.shape[1], grid.patch, grid.patch)]
    for cells in plan.cells:
        pooled = pool_latent(latent, known, cells.factor, noise)
        coarse = TokenGrid(pooled.shape[-2], pooled.shape[-1], grid.patch)
        tokens = to_tokens(pooled, coarse)
        if small and cells.factor in small:
            picture = to_tokens(small[cells.factor].to(latent), coarse)
            touched = pool_latent((~known).to(latent)[None, None], torch.ones_like(known), cells.factor) > 0
            touched_tokens = to_tokens(touched.to(latent), coarse).amax(dim=(2, 3, 4), keepdim=True) > 0
            tokens = torch.where(touched_tokens, tokens, picture)
        parts.append(tokens[:, cells.index])
    return torch.cat(parts, dim=1)


def compress(latent: Tensor, low: Tensor, grid: TokenGrid, plan: TokenPlan) -> Tensor:
    """The strip of a latent: (B, C, H, W) and its low-frequency tokens (B, cells, C, p, p) -> (B, C, p, n * p)."""
    tokens = torch.cat([to_tokens(latent, grid)[:, plan.kept.to(latent.device)], low.to(latent)], dim=1)
    b, n, c, p, _ = tokens.shape
    return tokens.permute(0, 2, 3, 1, 4).reshape(b, c, p, n * p)


def restore(strip: Tensor, background: Tensor, grid: TokenGrid, plan: TokenPlan) -> Tensor:
    """Put kept tokens back over a background: (B, C, p, n * p) and (B, C, H, W) -> (B, C, H, W).

    Low-frequency tokens are discarded.
    """
    b, c, p, _ = strip.shape
    tokens = strip.reshape(b, c, p, -1, p).permute(0, 3, 1, 2, 4)[:, : len(plan.kept)]
    full = to_tokens(background.to(strip), grid)
    return from_tokens(full.index_copy(1, plan.kept.to(strip.device), tokens), grid)
