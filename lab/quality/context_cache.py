"""The context cache of the evaluation: dropped tokens stay visible through the K and V of a dense step.

An attention override for the host. A dense call records K and V of the tokens that the plan drops, call by call; in
a compressed call they are appended to the strip's own. Nothing of it is in the product: see `REPORT.md`.
"""

from __future__ import annotations

from typing import Any

import torch
from hilo_token.hilo_core.plan import TokenPlan
from torch import Tensor


class ContextCache:
    """Give it as `optimized_attention_override` of a model whose sequences are text, then image, then `copies` - 1
    references that follow the plan."""

    def __init__(self, plan: TokenPlan, text: int, blocks: int, copies: int = 1) -> None:
        dropped = torch.ones(plan.total, dtype=torch.bool)
        dropped[plan.kept] = False
        rows = dropped.nonzero()[:, 0]
        self.rows = torch.cat([text + copy * plan.total + rows for copy in range(copies)])
        self.dense, self.strip = text + copies * plan.total, text + copies * plan.count
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.blocks, self.next = blocks, 0

    def __call__(self, function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kw: Any) -> Tensor:
        """The host's attention, over more keys in a compressed call. k, v: (B, heads, L, d)."""
        if k.shape[2] == self.dense:
            if len(self.kept) == self.blocks:  # the first block of another dense call: record anew
                self.kept = []
            rows = self.rows.to(k.device)
            self.kept.append((k[:, :, rows], v[:, :, rows]))
        elif k.shape[2] == self.strip and self.kept:
            old_k, old_v = self.kept[self.next]
            self.next = (self.next + 1) % len(self.kept)
            k, v = torch.cat([k, old_k], dim=2), torch.cat([v, old_v], dim=2)
        out: Tensor = function(q, k, v, heads, *args, **kw)
        return out

    def bytes(self) -> int:
        """What is held."""
        return sum(t.numel() * t.element_size() for pair in self.kept for t in pair)
