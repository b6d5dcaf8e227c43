"""Mass-preserving attention: a key that stands for s tokens gets a logit bias of log s.

Dropping context takes its share out of the softmax, and the edit then attends too much to itself. With log s a
low-frequency token weighs as much as the tokens it stands for; at s = 1 everywhere it is the plain softmax.
Proportional attention: Bolya et al., "Token Merging", arXiv 2210.09461, section 3 (there for merged tokens).
"""

from __future__ import annotations

import torch
from torch import Tensor

_ALIGN = 8  # elements; fast attention kernels want row strides that are multiples of it


def key_bias(mass: Tensor, strength: float | Tensor = 1.0, dtype: torch.dtype | None = None) -> Tensor:
    """Additive bias over all keys: (L,) -> (1, 1, 1, L), strength * log(mass). Keys that stand for themselves get 0,
    keys of no mass are out.

    mass: dense tokens that each key stands for. strength: of all keys, or (L,). dtype: of the result. A conversion
    afterwards would cost the alignment, and each attention call a copy.
    """
    length = len(mass)
    bias = mass.new_zeros(1, 1, 1, -(-length // _ALIGN) * _ALIGN, dtype=dtype)
    bias[..., :length] = (strength * mass.log()).clamp_min(torch.finfo(bias.dtype).min)
    return bias[..., :length]


def add_bias(mask: Tensor | None, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Merge the bias into an attention mask: None, bool (True attends) or additive; 2, 3 or 4 dimensions."""
    bias = bias.to(dtype)
    if mask is None:
        return bias
    while mask.ndim < 4:
        mask = mask.unsqueeze(0 if mask.ndim == 2 else 1)
    if mask.dtype == torch.bool:
        return bias.masked_fill(~mask, torch.finfo(dtype).min)
    return mask.to(dtype) + bias
