"""A strip: the chosen tokens side by side, a latent one token high that the model takes for a narrow picture.

`compress` gathers, `restore` puts back; with everything kept, `restore(compress(x)) == x` bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cells import pool_latent, pool_tokens, pool_weights, weighted_pool
from .grid import TokenGrid, to_tokens
from .plan import TokenPlan


def gather(tokens: Tensor, plan: TokenPlan) -> Tensor:
    """A value that every dense token has, for the tokens of the strip: (B, N, D) -> (B, n, D).

    Kept tokens have their own; a cell has the mean over its tokens (positions: its centre).
    """
    plan = plan.to(tokens.device)
    parts = [tokens[:, plan.kept]]
    parts += [pool_tokens(tokens, plan.rows, plan.columns, c.factor, plan.frames)[:, c.index] for c in plan.cells]
    return torch.cat(parts, dim=1)


def average_tokens(
    latent: Tensor,
    known: Tensor,
    grid: TokenGrid,
    plan: TokenPlan,
    downsampled: dict[int, Tensor] | None = None,
    noise: bool = False,
) -> Tensor:
    """Tokens of the downsampled latent for the plan's cells, side by side: (B, C, (T,) H, W) -> (B, C, p, cells * p).

    known: ((T,) H, W) bool, latent pixels that are not being edited. downsampled: latents of the downsampled *picture*
    by factor, used instead for cells that no edit touches. noise: keep unit variance (see `pool_latent`).
    """
    plan = plan.to(latent.device)
    parts = [latent.new_zeros(latent.shape[0], 0, latent.shape[1], grid.patch, grid.patch)]
    for cells in plan.cells:
        pooled = pool_latent(latent, known, cells.factor, noise)
        coarse = TokenGrid.of(pooled, grid.patch)
        tokens = to_tokens(pooled, coarse)
        if downsampled and cells.factor in downsampled:
            picture = to_tokens(downsampled[cells.factor].to(latent), coarse)
            touched = pool_latent((~known).to(latent)[None, None], torch.ones_like(known), cells.factor) > 0
            touched_tokens = to_tokens(touched.to(latent), coarse).amax(dim=(2, 3, 4), keepdim=True) > 0
            tokens = torch.where(touched_tokens, tokens, picture)
        parts.append(tokens[:, cells.index])
    return _row(parts)


def compress(latent: Tensor, averages: Tensor, grid: TokenGrid, plan: TokenPlan) -> Tensor:
    """The strip of a latent (B, C, (T,) H, W) and its low-frequency tokens (B, C, p, cells * p): (B, C, p, n * p)."""
    return StripMap(grid, plan, latent.device).compress(latent, averages)


def restore(strip: Tensor, background: Tensor, grid: TokenGrid, plan: TokenPlan) -> Tensor:
    """Put kept tokens back over a background: (B, C, p, n * p) and (B, C, (T,) H, W) -> (B, C, (T,) H, W).

    Low-frequency tokens are discarded. See `StripMap.restore` for a result that is sensible in dropped tokens too.
    """
    strip_map = StripMap(grid, plan, strip.device)
    return torch.where(strip_map.kept(), strip_map.restore(strip, torch.zeros_like(background)), background)


class StripMap:
    """Which pixel of a latent each pixel of its strip is, worked out once: a step then gathers and scatters only.

    Latents are (B, C, (T,) H, W); a strip is one picture, whether of a picture or of a clip. known: ((T,) H, W) bool,
    latent pixels that count for low-frequency tokens (see `average_tokens`); None: all of them.
    """

    def __init__(self, grid: TokenGrid, plan: TokenPlan, device: torch.device, known: Tensor | None = None) -> None:
        self.grid, self.plan = grid, plan.to(device)
        pixel = _pixels(plan.kept.cpu(), grid)
        self.taken = pixel.to(device)
        self.source = _sources(plan, grid).to(device)
        known = torch.ones(grid.latent_shape, dtype=torch.bool) if known is None else known
        self.pools = []
        for cells in plan.cells:
            weights, divisor = pool_weights(known.to(device), cells.factor)
            coarse = TokenGrid.of(divisor, grid.patch)
            self.pools.append((weights, divisor, cells.factor, _pixels(cells.index.cpu(), coarse).to(device)))

    def compress(self, latent: Tensor, averages: Tensor | None = None) -> Tensor:
        """(B, C, (T,) H, W) and its low-frequency tokens (B, C, p, cells * p) -> (B, C, p, n * p).

        averages: None takes them from the latent.
        """
        parts = [self._take(latent, self.taken)]
        if averages is None:
            for weights, divisor, factor, taken in self.pools:
                pooled = weighted_pool(latent, weights.to(latent), divisor.to(latent), factor)
                parts.append(self._take(pooled, taken))
        elif averages.shape[-1]:
            parts.append(averages.to(latent))
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    def _take(self, latent: Tensor, pixels: Tensor) -> Tensor:
        """(B, C, (T,) H, W) and (p * n * p,) pixel numbers -> (B, C, p, n * p)."""
        taken = latent.flatten(2).gather(2, pixels.expand(*latent.shape[:2], -1))
        return taken.reshape(*latent.shape[:2], self.grid.patch, -1)

    def offset(self, latent: Tensor, averages: Tensor | None = None) -> Tensor:
        """What `restore` has to add so that the strip of a latent gives that latent: (B, C, (T,) H, W) -> the same,
        exactly 0 where a token is kept. averages: as in `compress`."""
        return (latent - self._spread(self.compress(latent, averages))).masked_fill(self.kept(), 0.0)

    def kept(self) -> Tensor:
        """((T,) H, W) bool: pixels of kept tokens."""
        kept = torch.zeros(self.grid.count, dtype=torch.bool, device=self.plan.kept.device)
        kept[self.plan.kept] = True
        return self.grid.pixels(kept.reshape(self.grid.shape))

    def restore(self, strip: Tensor, offset: Tensor) -> Tensor:
        """(B, C, p, n * p) and the `offset` of a clean latent (B or 1, C, (T,) H, W) -> (B, C, (T,) H, W).

        Kept tokens are put back as they are; a dropped one is the clean latent with the change of the token that stands
        for it, so that statistics over the whole latent stay sensible.
        """
        return self._spread(strip) + offset

    def _spread(self, strip: Tensor) -> Tensor:
        size = strip.shape[:2]
        full = strip.flatten(2).gather(2, self.source.expand(*size, -1))
        return full.reshape(*size, *self.grid.latent_shape)


def _sources(plan: TokenPlan, grid: TokenGrid) -> Tensor:
    """For each latent pixel the number of the strip's pixel that is it, or stands for it: (T * H * W,)."""
    p = grid.patch
    y, x = torch.arange(grid.latent_height)[:, None], torch.arange(grid.latent_width)
    owner = grid.pixels(plan.owner.cpu().reshape(grid.shape))
    return (y % p * plan.count * p + owner * p + x % p).flatten()


def _pixels(tokens: Tensor, grid: TokenGrid) -> Tensor:
    """Latent pixels of tokens side by side: (n,) indices -> (p * n * p,) pixel numbers. Padding wraps round, as in
    `to_tokens`."""
    side = torch.arange(grid.patch)
    frame, rows = (tokens // (grid.height * grid.width))[None, :, None], tokens // grid.width % grid.height
    y = (rows * grid.patch)[None, :, None] + side[:, None, None]  # (p, n, 1)
    x = (tokens % grid.width * grid.patch)[None, :, None] + side  # (1, n, p)
    line = frame * grid.latent_height + y % grid.latent_height
    return (line * grid.latent_width + x % grid.latent_width).flatten()


def _row(parts: list[Tensor]) -> Tensor:
    """Tokens side by side, (B, n, C, p, p) each -> (B, C, p, sum of n * p)."""
    tokens = torch.cat(parts, dim=1)
    b, n, c, p, _ = tokens.shape
    return tokens.permute(0, 2, 3, 1, 4).reshape(b, c, p, n * p)
