"""The token plan: every edit token, the tokens of high frequency, low-frequency tokens for the rest.

Takes the edit and the detail of a picture as token grids, and settings; gives which tokens the model sees, in which
order, and how many dense tokens each one represents. It knows nothing of latents, models or samplers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .cells import Cells, Levels, cell_distance, cell_numbers, choose_cells, first_tokens, real_tokens
from .errors import HiLoError
from .grid import grid_shape
from .mask import FRAME, dilate_tokens, distance_to, nearest
from .words import Said

EDIT, HIGH, NATIVE = 0, 1, 2  # kinds of kept tokens
OVER_BUDGET = (
    "The edit with its surroundings needs {} tokens ({} in the edit), more than the budget of {}. "
    "The edit is kept whole."
)
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
    native: bool = False  # low-frequency tokens are real tokens, not averages
    turns: int = 4  # native tokens change from step to step, in so many turns; 1: never
    budget: int = 0  # tokens in all; 0: as many as the rules give
    multiple: int = 32  # round the number of tokens up to a multiple, with real tokens (see `rounded`)


def rounded(count: int, multiple: int) -> int:
    """The length of a strip of at least so many tokens: a multiple, of longer strips only each 2nd, 4th or 8th of them.

    So masks that are alike have strips of one length, for a twentieth more tokens or so. multiple: 1 leaves it.
    """
    step = multiple
    while 1 < step < 8 * multiple and count > 16 * step:
        step *= 2
    return -(-count // step) * step


@dataclass(frozen=True)
class TokenPlan:
    """Which tokens the model sees, in the order of the strip: edit and detail tokens by place, then one token for each
    cell, small cells first. So a token of the edit has the same place in the strip in every turn, which whatever keeps
    features between steps relies on."""

    rows: int
    columns: int
    kept: Tensor  # (k,) long: dense indices of the kept tokens
    kind: Tensor  # (k,) EDIT, HIGH or NATIVE
    cells: tuple[Cells, ...]
    mass: Tensor  # (n,) float: dense tokens that each strip token stands for; sums to the total with cells
    owner: Tensor  # (total,) long: for each dense token the one of the strip that is it or stands for it
    note: str = ""  # what a user should know, e.g. a budget that could not be met
    later_turns: tuple[TokenPlan, ...] = ()  # for the steps that follow: as many tokens, other real ones for the cells
    frames: int = 1  # latent frames

    @classmethod
    def of_cells(cls, rows: int, columns: int, factor: int) -> TokenPlan:
        """A plan that keeps no token of its own: a picture seen from afar, in cells of one size."""
        none, kept = torch.zeros(0, dtype=torch.long), torch.zeros(rows, columns, dtype=torch.bool)
        factors = torch.full((rows, columns), factor)
        cells = choose_cells(kept, factors)
        mass = torch.cat([c.mass for c in cells])
        return cls(rows, columns, none, none, cells, mass, cell_numbers(kept, cells, factors))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the dense grid: (T,) rows, columns."""
        return grid_shape(self.frames, self.rows, self.columns)

    @property
    def total(self) -> int:
        """Tokens of the dense grid."""
        return self.frames * self.rows * self.columns

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
    """The plan for one picture, or for one clip.

    edit: ((T,) rows, columns) bool, tokens that may change, before dilation (`mask.mask_to_tokens`). detail: ((T,)
    rows, columns) float, `frequency.detail` of the clean source. Both on the CPU; a grid has few tokens, and choosing
    them there costs less than a launch on a GPU. Raises HiLoError on settings that have no meaning.
    """
    if edit.shape != detail.shape:
        raise HiLoError(f"The mask has {tuple(edit.shape)} tokens and the picture {tuple(detail.shape)}.")
    if settings.rule not in RULES:
        raise HiLoError(f"Unknown selection rule '{settings.rule}'. Use one of: {', '.join(RULES)}.")
    candidates = _Candidates(edit, detail, settings)
    if settings.budget:
        return _plan_for_budget(candidates, settings)
    return _assemble(candidates, candidates.choose(settings), settings)


@dataclass(frozen=True)
class _Choice:
    """The tokens of a plan, before the plan is put together."""

    kept: Tensor  # ((T,) rows, columns) bool
    factors: Tensor  # ((T,) rows, columns) long: size of each token's cell
    length: int  # of the strip


class _Candidates:
    """What a plan stands on and no amount changes: a search for a budget computes it once."""

    def __init__(self, edit: Tensor, detail: Tensor, settings: TokenSettings) -> None:
        self.core = dilate_tokens(edit, settings.dilation, settings.dilation_relative)
        self.detail = detail
        self.distance = distance_to(self.core)
        priority = _priority(detail, self.distance, settings.nearness).masked_fill(self.core, -1.0)
        outside = int((~self.core).sum())
        self.order = priority.flatten().argsort(descending=True, stable=True)[:outside]  # best first
        self._cells: dict[int, tuple[Tensor, Tensor]] = {}

    def cells(self, factor: int) -> tuple[Tensor, Tensor]:
        """For each token the least distance in its cell of this size, and the number of the cell's first token."""
        if factor not in self._cells:
            self._cells[factor] = cell_distance(self.distance, factor), first_tokens(self.core.shape, factor)
        return self._cells[factor]

    def choose(self, settings: TokenSettings) -> _Choice:
        """Kept tokens and cells by the rules, whatever the budget.

        The cells are a quadtree that coarsens with distance: the largest factor wins whose whole cell is at least its
        least distance away; the smallest takes the rest. Factors must divide one another (2, 4, 8).
        """
        kept = self.core.clone()
        kept.view(-1)[self.order[: _high_count(self.detail, self.core, self.order, settings)]] = True
        if not settings.levels:
            return self._round_up(kept, torch.ones_like(kept, dtype=torch.long), None, settings.multiple)
        (smallest, _), *coarser = sorted(settings.levels)
        factors, first = torch.full(kept.shape, smallest), self.cells(smallest)[1]
        for factor, least in coarser:
            nearest, numbers = self.cells(factor)
            factors = torch.where(nearest >= least, factor, factors)
            first = torch.where(nearest >= least, numbers, first)
        return self._round_up(kept, factors, first.flatten(), settings.multiple)

    def _round_up(self, kept: Tensor, factors: Tensor, cell: Tensor | None, multiple: int) -> _Choice:
        """Keep the next-best tokens until the strip has a `rounded` length, so that few sizes occur.

        cell: (tokens,) a number for each token's cell; None without cells. A cell whose last token is kept is gone.
        """
        flat, at = kept.view(-1), 0
        spare = self.order[~flat[self.order]]
        dropped = torch.zeros(0, dtype=torch.long) if cell is None else cell[~flat].bincount(minlength=len(flat))
        count = int(flat.sum())
        length = count + int(dropped.count_nonzero())
        wanted = rounded(length, multiple)
        for _ in range(16):
            more = spare[at : at + wanted - length]
            if not len(more):
                break
            at += len(more)
            flat[more] = True
            if cell is not None:
                dropped -= cell[more].bincount(minlength=len(flat))
            length = count + at + int(dropped.count_nonzero())
        return _Choice(kept, factors, length)


def _priority(detail: Tensor, distance: Tensor, nearness: float) -> Tensor:
    """Weighted geometric mean of relative detail and of a nearness that halves every 8 tokens, both 0..1.

    Equals are told apart by their detail, never by their place, so that a mirrored picture gets the mirrored plan. In
    double precision: float32 has but some ten steps for that between equals.
    """
    relative = detail.double() / detail.max().clamp_min(1e-12)
    near = 1 / (1 + distance.double() / 8)
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


def _assemble(candidates: _Candidates, choice: _Choice, settings: TokenSettings) -> TokenPlan:
    core, kept, factors = candidates.core, choice.kept, choice.factors
    frames, rows, columns = (1, *core.shape)[-3:]
    index = kept.flatten().nonzero()[:, 0]
    kind = torch.where(core.flatten()[index], EDIT, HIGH)
    place = torch.full((kept.numel(),), -1)
    place[index] = torch.arange(len(index))
    whole = torch.ones(len(index))
    if not settings.levels:
        return TokenPlan(rows, columns, index, kind, (), whole, place[nearest(kept)], frames=frames)
    cells = choose_cells(kept, factors)
    owner = torch.where(place < 0, len(index) + cell_numbers(kept, cells, factors), place)
    mass = torch.cat([whole, *(c.mass for c in cells)])
    plan = TokenPlan(rows, columns, index, kind, () if settings.native else cells, mass, owner, frames=frames)
    if not settings.native or not cells:
        return plan
    turns = [_with_real(plan, native) for native in real_tokens(kept, factors, settings.turns)]
    return replace(turns[0], later_turns=tuple(turns[1:]))


def _with_real(plan: TokenPlan, native: Tensor) -> TokenPlan:
    """A native token stands for its whole cell, itself included; the others of the strip stand for themselves."""
    kind = torch.cat([plan.kind, torch.full_like(native, NATIVE)])
    return replace(plan, kept=torch.cat([plan.kept, native]), kind=kind)


def _plan_for_budget(candidates: _Candidates, settings: TokenSettings) -> TokenPlan:
    """The richest plan of at most `budget` tokens.

    One number, 0..1, runs from 8x8 cells alone to full resolution near the edit: with it grow both the ratio of
    high-frequency tokens and the radii within which cells are fine. Length grows with it, so bisection finds it.
    """
    free = replace(settings, budget=0, rule="ratio")
    frames, rows, columns = (1, *candidates.core.shape)[-3:]
    extent = float(torch.tensor([(frames - 1) * FRAME, rows, columns]).norm())

    def rich(amount: float) -> tuple[TokenSettings, _Choice]:
        reach = amount * amount * extent
        levels = ((2, 0.0), (4, reach / 2), (8, reach * 2)) if settings.levels else ()
        chosen = replace(free, amount=amount**3, levels=levels)
        return chosen, candidates.choose(chosen)

    low, high, best = 0.0, 1.0, rich(0.0)
    if best[1].length > settings.budget:
        plan = _assemble(candidates, best[1], best[0])
        edits = int((plan.kind == EDIT).sum())
        return replace(
            plan,
            note=Said(OVER_BUDGET, plan.count, edits, settings.budget),
        )
    for _ in range(12):
        middle = (low + high) / 2
        found = rich(middle)
        if found[1].length <= settings.budget:
            low, best = middle, found
        else:
            high = middle
    return _assemble(candidates, best[1], best[0])
