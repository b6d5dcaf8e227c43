"""How the tokens of a strip lie in the model's sequences: their positions, and the attention bias over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..bias import key_bias
from ..errors import HiLoError
from ..plan import TokenPlan
from ..strip import gather
from .attention import Attention
from .families import Family


@dataclass(frozen=True)
class Segment:
    """Image tokens that the model sees in one piece: the target, or a reference."""

    total: int  # dense tokens
    plan: TokenPlan | None  # None: whole

    @property
    def count(self) -> int:
        """Tokens in the strip."""
        return self.plan.count if self.plan else self.total

    def gather(self, tokens: Tensor) -> Tensor:
        """(B, total, D) -> (B, count, D)."""
        return gather(tokens, self.plan) if self.plan else tokens

    def mass(self) -> Tensor:
        """(count,) dense tokens that each one stands for."""
        return self.plan.mass if self.plan else torch.ones(self.total)


@dataclass(frozen=True)
class Layout:
    """The same for every step of a run with the same conditioning shapes."""

    positions: tuple[Tensor, ...]  # answers of the position embedder, in the order the model asks
    bias: dict[int, Tensor]  # additive attention bias, by the number of keys
    attention: Attention | None = None  # as the model called it


def make_layout(
    asked: list[Tensor],
    family: Family,
    model: Any,
    target: Segment,
    references: list[Segment],
    strength: float,
    attention: Attention | None = None,
) -> Layout:
    """Gather the strip's positions from the dense ones and lay the bias over the same sequences.

    asked: what the dense model asked its embedder for, (B or 1, L, axes) each. A sequence that is too short to hold
    the image tokens is text alone and stays. attention: a call of the model's, whose type the bias takes.
    HiLoError when no sequence holds them.
    """
    pad, strip_pad = family.padding(model, target.total), family.padding(model, target.count)
    image = target.total + pad + sum(r.total for r in references)
    mass = torch.cat([target.mass(), torch.ones(strip_pad), *(r.mass() for r in references)]).to(asked[0].device)
    biased = strength > 0 and not bool((mass == 1).all())
    dtype = attention.dtype if attention else None
    answers, bias = [], {}
    for ids in asked:
        text = ids.shape[1] - image
        if text < 0:
            answers.append(ids[:1])
            continue
        first = text if family.text_first else 0
        tokens = ids[:1, first:]
        padding = tokens.new_zeros(1, strip_pad, ids.shape[2])
        pieces, start = [target.gather(tokens[:, : target.total]), padding], target.total + pad
        for reference in references:
            pieces.append(reference.gather(tokens[:, start : start + reference.total]))
            start += reference.total
        answers.append(torch.cat([ids[:1, :first], *pieces, tokens[:, start:]], dim=1))
        if biased:
            for before, after in ((first, text - first), (0, 0)):  # attention over all tokens, and over the image's
                over = key_bias(mass, before, after, strength, dtype)
                bias[over.shape[-1]] = over
    if all(ids.shape[1] < image for ids in asked):
        raise HiLoError(
            f"{family.name} asked for no positions of image tokens: this ComfyUI version is not supported. "
            "Remove the HiLo node, or set its preset to 'off', and please report it."
        )
    return Layout(tuple(answers), bias, attention)
