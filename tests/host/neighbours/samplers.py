"""Ways to sample that call the model more often, or on less, than the host's samplers do."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor


def lanpaint(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: Any = None,
    inner: int = 3,
    lead: float = 0.3,
    fresh: float = 0.2,
) -> Tensor:
    """A sampler function for flow models in the manner of scraed/LanPaint: in each step, before Euler's, some unmasked
    model calls at the same sigma. The unknown part takes Langevin steps (a share of its noise is renewed); the known
    part is the source at that noise level, led away from the model's own view of it."""
    args = extra_args or {}
    mask = args["denoise_mask"]
    noise = torch.Generator().manual_seed(args.get("seed") or 0)
    source = model.latent_image
    for i, (sigma, following) in enumerate(itertools.pairwise(sigmas)):
        level = sigma.expand(x.shape[0])
        x = x * mask + (sigma * model.noise + (1 - sigma) * source) * (1 - mask)
        for _ in range(inner):
            clean = model.inner_model(x, level, model_options=args["model_options"], seed=args.get("seed"))
            rest = (x - (1 - sigma) * clean) / sigma
            new = torch.randn(x.shape, generator=noise).to(x)
            unknown = (1 - sigma) * clean + sigma * ((1 - fresh**2) ** 0.5 * rest + fresh * new)
            known = (1 - sigma) * (source + lead * (source - clean)) + sigma * model.noise
            x = unknown * mask + known * (1 - mask)
        clean = model(x, level, **args)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": clean})
        x = x + (x - clean) / sigma * (following - sigma)
    return x
