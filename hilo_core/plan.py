"""The token plan: every edit token, the tokens of high frequency, low-frequency tokens for the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .cells import Cells, Levels, cell_factors, central_tokens, choose_cells
from .errors import HiLoError
from .mask import dilate_tokens, distance_to

EDIT, HIGH, NATIVE = 0, 1, 2  # kinds of kept tokens
RULES = ("energy", "ratio", "threshold")


@dataclass(frozen=True)
class TokenSettings:
    """What to keep."""

    dilation: float = 2.0  # tokens, or parts of the edit's radius
    dilation_relative: bool = False
    score: str = "spatial frequency"  # see `frequency.SCORES`
    rule: str = "energy"  # share of detail energy | ratio of all tokens | threshold on the score
    amount: float = 0.25  # share 0..1, ratio 0..1, or score in standard deviations
    max_high: float = 0.05  # high-frequency tokens are at most this ratio of all tokens
    nearness: float = 0.5  # 0: detail alone; 1: nearness to the edit alone
    levels: Levels = ((4, 0.0),)  # empty: no low-frequency tokens
    native: bool = False  # low-frequency tokens are real tokens at a stride, not averages
    budget: int = 0  # tokens in all; 0: as many as the rules give
    multiple: int = 32  # round the number of tokens up to a multiple, with real tokens


@dataclass(frozen=True)
class TokenPlan:
    """Which tokens the model sees, in the order of the strip: kept tokens, then the cells, small ones first."""

    rows: int
    columns: int
    kept: Tensor  # (k,) long, sorted: dense indices of the kept tokens
    kind: Tensor  # (k,) EDIT, HIGH or NATIVE
    cells: tuple[Cells, ...]
    mass: Tensor  # (n,) float: dense tokens that each strip token stands for; sums to rows * columns with cells
    note: str = ""  # what a user should know, e.g. a budget that could not be met

    @classmethod
    def of_cells(cls, rows: int, columns: int, cells: tuple[Cells, ...]) -> TokenPlan:
        """A plan that keeps no token of its own: a picture seen from afar."""
        none = torch.zeros(0, dtype=torch.long)
        return cls(rows, columns, none, none, cells, torch.cat([c.mass for c in cells]))

    @property
    def total(self) -> int:
        """Tokens of the dense grid."""
        return self.rows * self.columns

    @property
    def count(self) -> int:
        """Tokens of the strip."""
        return len(self.mass)

    @property
    def complete(self) -> bool:
        """Nothing is dropped."""
        return len(self.kept) == self.total

    def to(self, device: torch.device) -> TokenPlan:
        """With its indices on a device, where every step gathers by them. Kinds and masses stay: set-up reads those."""
        cells = tuple(replace(c, index=c.index.to(device)) for c in self.cells)
        return replace(self, kept=self.kept.to(device), cells=cells)

    def counts(self) -> dict[str, int]:
        """Tokens by kind, for reports."""
        names = {EDIT: "edit", HIGH: "high", NATIVE: "low native"}
        found = {name: int((self.kind == kind).sum()) for kind, name in names.items()}
        found |= {f"low {c.factor}x{c.factor}": len(c.index) for c in self.cells}
        return {name: number for name, number in found.items() if number}


def make_plan(edit: Tensor, detail: Tensor, settings: TokenSettings) -> TokenPlan:
    """The plan for one picture.

    edit: (rows, columns) bool, tokens that may change, before dilation (`mask.mask_to_tokens`). detail: (rows,
    columns) float, `frequency.detail` of the clean source. Both on the CPU; a grid has few tokens, and choosing them
    there costs less than a launch on a GPU. Raises HiLoError on settings that have no meaning.
    """
    if edit.shape != detail.shape:
        raise HiLoError(f"The mask has {tuple(edit.shape)} tokens and the picture {tuple(detail.shape)}.")
    if settings.rule not in RULES:
        raise HiLoError(f"Unknown selection rule '{settings.rule}'. Use one of: {', '.join(RULES)}.")
    if settings.budget:
        return _plan_for_budget(edit, detail, settings)
    return _plan(edit, detail, settings)


def _plan(edit: Tensor, detail: Tensor, settings: TokenSettings) -> TokenPlan:
    core = dilate_tokens(edit, settings.dilation, settings.dilation_relative)
    distance = distance_to(core)
    priority = _priority(detail, distance, settings.nearness).masked_fill(core, -1.0)
    order = priority.flatten().argsort(descending=True, stable=True)[: int((~core).sum())]
    kept = core.clone()
    kept.view(-1)[order[: _high_count(detail, core, order, settings)]] = True
    factors = (
        cell_factors(distance, settings.levels) if settings.levels else torch.ones_like(distance, dtype=torch.long)
    )
    kept = _round_up(kept, factors, order, settings)
    return _assemble(core, kept, factors, settings)


def _priority(detail: Tensor, distance: Tensor, nearness: float) -> Tensor:
    """Weighted geometric mean of relative detail and of a nearness that halves every 8 tokens, both 0..1.

    Equals are told apart by their detail, never by their place, so that a mirrored picture gets the mirrored plan.
    """
    relative = detail / detail.max().clamp_min(1e-12)
    near = 1 / (1 + distance / 8)
    return relative ** (1 - nearness) * near**nearness + 1e-6 * relative


def _high_count(detail: Tensor, core: Tensor, order: Tensor, settings: TokenSettings) -> int:
    """How many tokens outside the edit are kept at their full resolution."""
    most = int(settings.max_high * detail.numel())
    if settings.rule == "ratio":
        return min(round(settings.amount * detail.numel()), len(order))
    if settings.rule == "threshold":
        return min(int(((detail > settings.amount) & ~core).sum()), most)
    energy = detail.flatten()[order].double().square().cumsum(0)
    if not len(energy) or energy[-1] <= 0:
        return 0
    return min(int((energy < settings.amount * energy[-1]).sum()) + 1, most) if settings.amount > 0 else 0


def _round_up(kept: Tensor, factors: Tensor, order: Tensor, settings: TokenSettings) -> Tensor:
    """Keep the next-best tokens until the strip is a multiple long, so that few sizes occur."""
    kept = kept.clone()
    for _ in range(16):
        missing = -_length(kept, factors, settings) % settings.multiple
        spare = order[~kept.view(-1)[order]]
        if not missing or not len(spare):
            break
        kept.view(-1)[spare[:missing]] = True
    return kept


def _length(kept: Tensor, factors: Tensor, settings: TokenSettings) -> int:
    cells = choose_cells(kept, factors) if settings.levels else ()
    return int(kept.sum()) + sum(len(c.index) for c in cells)


def _assemble(core: Tensor, kept: Tensor, factors: Tensor, settings: TokenSettings) -> TokenPlan:
    index = kept.flatten().nonzero()[:, 0]
    kind = torch.where(core.flatten()[index], EDIT, HIGH)
    mass = torch.ones(len(index))
    cells: tuple[Cells, ...] = ()
    if settings.levels and settings.native:
        native, native_mass = central_tokens(kept, factors)
        # a native token stands for its whole cell, itself included; the others of the strip stand for themselves
        index, order = torch.cat([index, native]).sort()
        kind = torch.cat([kind, torch.full_like(native, NATIVE)])[order]
        mass = torch.cat([mass, native_mass])[order]
    elif settings.levels:
        cells = choose_cells(kept, factors)
        mass = torch.cat([mass, *(c.mass for c in cells)])
    return TokenPlan(core.shape[0], core.shape[1], index, kind, cells, mass)


def _plan_for_budget(edit: Tensor, detail: Tensor, settings: TokenSettings) -> TokenPlan:
    """The richest plan of at most `budget` tokens.

    One number, 0..1, runs from 8x8 cells alone to full resolution near the edit: with it grow both the ratio of
    high-frequency tokens and the radii within which cells are fine. Length grows with it, so bisection finds it.
    """
    free = replace(settings, budget=0, rule="ratio")
    extent = float(torch.tensor(edit.shape, dtype=torch.float).norm())

    def rich(amount: float) -> TokenPlan:
        reach = amount * amount * extent
        levels = ((2, 0.0), (4, reach / 2), (8, reach * 2)) if settings.levels else ()
        return _plan(edit, detail, replace(free, amount=amount**3, levels=levels))

    low, high, best = 0.0, 1.0, rich(0.0)
    if best.count > settings.budget:
        edits = int((best.kind == EDIT).sum())
        return replace(
            best,
            note=f"The edit with its surroundings needs {best.count} tokens ({edits} in the edit), "
            f"more than the budget of {settings.budget}. The edit is kept whole.",
        )
    for _ in range(12):
        middle = (low + high) / 2
        plan = rich(middle)
        if plan.count <= settings.budget:
            low, best = middle, plan
        else:
            high = middle
    return best
