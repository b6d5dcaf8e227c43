"""A plan for a picture that shows the same at almost the same size: the tokens that lie where another plan's lie.

Edit models get the picture that is edited as a reference, and some encoders scale it by a few pixels. Takes the plan of
the target, gives one for the reference's grid; knows nothing of latents or models.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .plan import NATIVE, TokenPlan


def follow(plan: TokenPlan, rows: int, columns: int) -> TokenPlan | None:
    """The plan at the same places of a grid of rows x columns; its turns follow those of the plan.

    Where the plan keeps every token, so does this. Where one stands for others, one of these, nearest to it, stands for
    all that lie there. None for a plan with averaged tokens, which stand for whole cells of their own grid, and for a
    clip's.
    """
    if plan.cells or plan.frames > 1:
        return None
    first, *later = [_place(turn, rows, columns) for turn in (plan, *plan.later_turns)]
    return replace(first, later_turns=tuple(later))


def _place(plan: TokenPlan, rows: int, columns: int) -> TokenPlan:
    y, x = _there(rows, plan.rows), _there(columns, plan.columns)
    there = (y[:, None] * plan.columns + x).flatten()  # for each token of this grid the one of the plan's at its place
    owner = plan.owner[there]
    alone = plan.kind[owner] != NATIVE
    numbers = torch.arange(rows * columns)
    nearest = [numbers[alone]]
    for group in owner[~alone].unique().tolist():
        members = numbers[owner == group]
        nearest.append(members[_distance(members, columns, plan, int(plan.kept[group]), rows).argmin()][None])
    kept = torch.cat(nearest)
    own = torch.full((len(plan.kept),), -1)  # for each token of the plan that stands for others its place here
    own[owner[kept[int(alone.sum()) :]]] = torch.arange(int(alone.sum()), len(kept))
    stands = torch.where(alone, torch.cumsum(alone, 0) - 1, own[owner])
    mass = torch.bincount(stands, minlength=len(kept)).float()
    return TokenPlan(rows, columns, kept, plan.kind[owner[kept]], (), mass, stands)


def _there(count: int, other: int) -> Tensor:
    """(count,) for each place of an axis the nearest of another axis of the same length in the picture."""
    return (((torch.arange(count) + 0.5) * other / count).long()).clamp(max=other - 1)


def _distance(members: Tensor, columns: int, plan: TokenPlan, token: int, rows: int) -> Tensor:
    """Squared distance of tokens of this grid to one of the plan's, in the plan's tokens."""
    y = (members // columns + 0.5) * plan.rows / rows - token // plan.columns - 0.5
    x = (members % columns + 0.5) * plan.columns / columns - token % plan.columns - 0.5
    return y * y + x * x
