"""The plan as a picture and as a text.

Takes a plan and the picture (H, W, 3), of a clip one frame; gives an image of the same size with each kind of token in
its colour, and a few lines with the numbers. It draws what the plan holds and decides nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cost import ModelShape
from .plan import EDIT, HIGH, NATIVE, TokenPlan

# Okabe and Ito, "Color Universal Design", 2008: told apart with any colour vision
COLOURS = {
    "edit": (213, 94, 0),
    "high": (240, 228, 66),
    "low native": (204, 121, 167),
    "low 2x2": (86, 180, 233),
    "low 4x4": (0, 114, 178),
    "low 8x8": (0, 158, 115),
    "dropped": (0, 0, 0),
}


def kind_map(plan: TokenPlan) -> tuple[Tensor, list[str]]:
    """((T,) rows, columns) long, an index into the returned names for each token of the dense grid."""
    names = list(COLOURS)
    kinds = torch.full((plan.total,), names.index("dropped"))
    if plan.cells:
        sizes = [torch.full_like(c.index, names.index(f"low {c.factor}x{c.factor}")) for c in plan.cells]
        averaged = plan.owner >= len(plan.kept)
        kinds[averaged] = torch.cat(sizes)[plan.owner[averaged] - len(plan.kept)]
    for kind, name in ((EDIT, "edit"), (HIGH, "high"), (NATIVE, "low native")):
        kinds[plan.kept[plan.kind == kind]] = names.index(name)
    return kinds.reshape(plan.shape), names


def token_map(image: Tensor, plan: TokenPlan, opacity: float = 0.55, frame: int = 0) -> Tensor:
    """The tokens over a picture: (H, W, 3) in 0..1 -> the same. Cell borders are drawn.

    frame: the latent frame of a clip.
    """
    height, width = image.shape[:2]
    found, names = kind_map(plan)
    kinds = found.reshape(-1, plan.rows, plan.columns)[frame]
    palette = torch.tensor([COLOURS[name] for name in names], dtype=torch.float32) / 255
    size = -(-height // plan.rows)
    rows = (torch.arange(height) // size).clamp(max=plan.rows - 1)
    columns = (torch.arange(width) // size).clamp(max=plan.columns - 1)
    colour = palette[kinds][rows][:, columns]
    factor = torch.ones(len(names), dtype=torch.long)
    for name, f in (("low 2x2", 2), ("low 4x4", 4), ("low 8x8", 8)):
        factor[names.index(name)] = f
    step = (factor[kinds] * size)[rows][:, columns]
    y, x = torch.arange(height)[:, None], torch.arange(width)[None, :]
    line = ((y % step == 0) | (x % step == 0))[..., None]
    blend = image.cpu().float() * (1 - opacity) + colour * opacity
    return torch.where(line, blend * 0.6, blend)


def describe(plan: TokenPlan, shape: ModelShape) -> str:
    """The plan in numbers, for the node and the log."""
    share = 100 * plan.count / plan.total
    lines = [f"{plan.count} of {plan.total} tokens ({share:.1f} %)"]
    lines += [f"{name}: {number}" for name, number in plan.counts().items()]
    lines.append(f"predicted speed-up of a step: {shape.speedup(plan.count, plan.total):.2f}x")
    return "\n".join([*lines, plan.note] if plan.note else lines)
