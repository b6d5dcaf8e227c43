"""How the tokens of a strip lie in the model's sequences: their positions, and the attention bias over them.

Takes what the probe found on a tiny picture and what the dense model asked its position embedder for, gives both for
the strip. DenseRun where the two do not agree. It calls no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..hilo_core.bias import key_bias
from ..hilo_core.plan import TokenPlan
from ..hilo_core.strip import gather
from .attention import Attention
from .parts import CONST, PAD, TARGET, Part
from .positions import has_batch, rows_of
from .probe import ASKED_NOTHING, Probe
from .reasons import DenseRun


@dataclass(frozen=True)
class Segment:
    """Image tokens that the model sees in one piece: the target, or a reference."""

    total: int  # dense tokens
    plan: TokenPlan | None  # None: whole

    @property
    def count(self) -> int:
        """Tokens in the strip."""
        return self.plan.count if self.plan else self.total

    @property
    def averages(self) -> bool:
        """Whether it has tokens that are averages of others."""
        return bool(self.plan and self.plan.cells)

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
    attention: Attention  # as the model calls it
    lengths: frozenset[int] = frozenset()  # numbers of keys that the model has, biased or not
    least: int = 0  # attention over fewer keys than this cannot hold the strip's tokens
    seeing: int = 0  # how many attentions of a call see the picture
    source: int | None = None  # number of the reference that is the picture, and follows its plan
    turn: int = 0  # of the plan
    devices: dict[torch.device, dict[int, Tensor]] = field(default_factory=dict)  # the bias there

    def bias_on(self, device: torch.device) -> dict[int, Tensor]:
        """The bias where the model computes."""
        if device not in self.devices:
            self.devices[device] = {length: bias.to(device) for length, bias in self.bias.items()}
        return self.devices[device]


@dataclass(frozen=True)
class Pictures:
    """What a model call holds: the target and its references, densely and in the strip, and the model's pad tokens."""

    target: Segment
    references: tuple[Segment, ...]
    pads: Callable[[int], int]

    def of(self, kind: int) -> Segment:
        """The target or a reference."""
        return self.target if kind == TARGET else self.references[kind]

    def dense(self, part: Part) -> int:
        """Tokens of a part in the dense call."""
        kind, count = part
        return count if kind == CONST else self.pads(self.target.total) if kind == PAD else self.of(kind).total

    def strip(self, part: Part) -> int:
        """Tokens of a part in the strip."""
        kind, count = part
        return count if kind == CONST else self.pads(self.target.count) if kind == PAD else self.of(kind).count

    def mass(self, part: Part) -> Tensor:
        """Dense tokens that each one of a part in the strip stands for. Pads are all alike: few stand for many."""
        kind, count = part
        if kind == CONST:
            return torch.ones(count)
        if kind != PAD:
            return self.of(kind).mass()
        dense, strip = self.dense(part), self.strip(part)
        if dense and not strip:
            raise DenseRun("the strip has no pad token, the picture has some")
        return torch.full((strip,), dense / max(strip, 1))


def make_layout(
    probe: Probe, asked: list[Tensor], pictures: Pictures, strength: float, source: int | None = None, turn: int = 0
) -> Layout:
    """Gather the strip's positions from the dense ones and lay the bias over the same sequences.

    asked: what the dense model asked its embedder for, (1, L, axes) of ids each, or a table. strength: of the bias of
    cells. DenseRun where the dense model did not ask as the tiny one did, or two kinds of attention cannot be told
    apart by length.
    """
    if not asked:
        raise DenseRun(ASKED_NOTHING)
    if len(asked) != len(probe.asks):
        raise DenseRun("the model asked for other positions than on a tiny picture")
    answers = tuple(_answer(ids, parts, pictures) for ids, parts in zip(asked, probe.asks, strict=True))
    device, dtype = asked[0].device, probe.attention.dtype
    seen: dict[int, Tensor] = {}
    for parts in sorted(probe.attentions):
        mass = torch.cat([pictures.mass(part) for part in parts])
        strengths = torch.cat([torch.full((pictures.strip(p),), 1.0 if p[0] == PAD else strength) for p in parts])
        bias = key_bias(mass, strengths, dtype)
        if not torch.equal(seen.setdefault(len(mass), bias), bias):
            raise DenseRun("text and picture have as many tokens, so their attention cannot be told apart")
    biased = {length: bias.to(device) for length, bias in seen.items() if bool((bias != 0).any())}
    return Layout(answers, biased, probe.attention, frozenset(seen), pictures.target.count, probe.seeing, source, turn)


def _answer(ids: Tensor, parts: tuple[Part, ...], pictures: Pictures) -> Tensor:
    """The strip's positions of one sequence, as they were recorded: ids, or a table."""
    lengths, rows = [pictures.dense(part) for part in parts], rows_of(ids)
    if sum(lengths) != rows.shape[1]:
        raise DenseRun("the model asked for other positions than on a tiny picture")
    tail = rows.shape[2:]
    if any(pictures.of(kind).averages for kind, _ in parts if kind >= TARGET):
        if tail[-2:] == (2, 2):
            raise DenseRun("this model gives no position between two tokens, which averaged tokens need")
        rows = rows if rows.is_floating_point() else rows.float()
    pieces = []
    for part, piece in zip(parts, rows.flatten(2).split(lengths, dim=1), strict=True):
        if part[0] == CONST:
            pieces.append(piece)
        elif part[0] == PAD:
            pieces.append(piece.new_zeros(1, pictures.strip(part), piece.shape[2]))
        else:
            pieces.append(pictures.of(part[0]).gather(piece))
    out: Tensor = torch.cat(pieces, dim=1).unflatten(2, tail)
    return out if has_batch(ids) else out[0]
