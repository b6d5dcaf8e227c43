"""HiLo Token Select: the token plan of a picture, shown before anything is sampled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from comfy_api.latest import io
from torch import Tensor

from ..comfy_bridge.families import find_family
from ..comfy_bridge.planning import PlanRequest
from ..hilo_core.cells import cell_grid
from ..hilo_core.cost import ModelShape
from ..hilo_core.frequency import SCORES
from ..hilo_core.plan import RULES, TokenPlan, TokenSettings, make_plan
from ..hilo_core.presets import LEVELS, PRESETS
from ..hilo_core.presets import preset as preset_named
from ..hilo_core.render import describe, token_map
from .common import CATEGORY, PRESET_TOOLTIP, HiLoPlan, advanced, schema
from .inputs import check_model, check_painted, check_vae, checked, same_size
from .sources import ASSUMED, remember
from .tokens import TokenSize, details

AS_PRESET = "as preset"


class HiLoTokenSelect(io.ComfyNode):
    """Picture and mask to plan."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="HiLoTokenSelect",
            display_name="HiLo Token Select",
            category=CATEGORY,
            description="Decides from the picture which tokens the model sees, and shows them before sampling.",
            search_aliases=["mask tokens", "token map", "masked edit", "inpaint preview", "speed up"],
            inputs=[
                io.Image.Input("image", tooltip="The picture that goes to the sampler, at its size."),
                io.Mask.Input("mask", tooltip="What is to be generated, of the picture's size."),
                io.Combo.Input("preset", options=[n for n in PRESETS if n != "off"], default="balanced", tooltip=PRESET_TOOLTIP),
                io.Float.Input(
                    "speedup", default=0.0, min=0.0, max=20.0, step=0.1,
                    tooltip="Wanted speed-up of a step; the plan spends the tokens that leaves as well as it can. 0: as the preset says.",
                ),
                advanced(io.Float, "dilation", default=-1.0, min=-1.0, max=64.0, step=0.5,
                         tooltip="Tokens around the edit that are kept whole. Less than 1 risks a seam; more costs speed. "
                                 "-1: as the preset says."),
                advanced(io.Combo, "dilation_mode", options=["tokens", "relative"], default="tokens",
                         tooltip="relative: in parts of each edit's radius instead of in tokens."),
                advanced(io.Combo, "score", options=list(SCORES), default=SCORES[0],
                         tooltip="How local detail is measured."),
                advanced(io.Combo, "rule", options=[AS_PRESET, *RULES], default=AS_PRESET,
                         tooltip="energy: tokens that hold this share of all detail. ratio: this share of all tokens. "
                                 "threshold: every token above this score."),
                advanced(io.Float, "amount", default=0.25, min=0.0, max=10.0, step=0.01,
                         tooltip="The share, ratio or score of the rule. Not used with 'as preset'."),
                advanced(io.Float, "nearness", default=-1.0, min=-1.0, max=1.0, step=0.05,
                         tooltip="0: detail alone decides. 1: nearness to the edit alone. -1: as the preset says."),
                advanced(io.Combo, "low", options=[AS_PRESET, *LEVELS], default=AS_PRESET,
                         tooltip="Size of low-frequency tokens. pyramid: coarser with distance. none: drop the rest (not advised)."),
                advanced(io.Boolean, "native", default=False,
                         tooltip="Low-frequency tokens are real tokens at a stride instead of averages. With low 'as preset', "
                                 "off means as the preset says."),
                advanced(io.Int, "budget", default=0, min=0, max=262144,
                         tooltip="The most tokens to use. 0: no limit. The edit is kept in any case."),
                io.Model.Input(
                    "model", optional=True, tooltip="For its token size and the predicted speed-up. Not changed."
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Encodes the downsampled picture for low-frequency tokens that are averages. Without it the latent is averaged.",
                ),
            ],
            outputs=[
                HiLoPlan.Output("plan", display_name="plan", tooltip="For HiLo Model Patch."),
                io.Image.Output("map", display_name="map", tooltip="The tokens over the picture."),
                io.String.Output("text", display_name="text", tooltip="The tokens in numbers."),
            ],
        )  # fmt: skip

    @classmethod
    @checked
    def execute(
        cls,
        image: Tensor,
        mask: Tensor,
        preset: str,
        speedup: float,
        dilation: float = -1.0,
        dilation_mode: str = "tokens",
        score: str = SCORES[0],
        rule: str = AS_PRESET,
        amount: float = 0.25,
        nearness: float = -1.0,
        low: str = AS_PRESET,
        native: bool = False,
        budget: int = 0,
        model: Any = None,
        vae: Any = None,
    ) -> io.NodeOutput:
        """Run the node."""
        check_painted(mask)
        same_size(image, mask)
        settings = token_settings(preset, dilation, dilation_mode, score, rule, amount, nearness, low, native, budget)
        shape, name, family, base = ModelShape(), ASSUMED, None, None
        if vae is not None:
            check_vae(vae, "encode")
        if model is not None:
            base = check_model(model).model
            family = find_family(base.diffusion_model)
            shape, name = ModelShape(family.hidden(base.diffusion_model)), family.name
        size = TokenSize.of(family, base, vae)
        edit, whole = size.edit(mask), size.whole(image)
        rows, columns = edit.shape
        settings = with_speedup(settings, speedup, shape, rows * columns)
        found = details(whole, rows, columns)
        plan = said(make_plan(edit, found[SCORES.index(settings.score)], settings), speedup, shape)
        text = describe(plan, shape)
        small = {}
        if vae is not None:
            small = {c.factor: vae.encode(shrink(whole[:1], rows, columns, c.factor)) for c in plan.cells}
        request = PlanRequest(settings, edit, found[SCORES.index(settings.score)], plan, small)
        key = remember(image, edit, shape, name, size, found)
        return io.NodeOutput(
            request, _drawn(image[0], whole[0], plan, size), text, ui={"text": (text,), "hilo_key": (key,)}
        )


def _drawn(image: Tensor, whole: Tensor, plan: TokenPlan, size: TokenSize) -> Tensor:
    """(1, H, W, 3): the tokens over the part of the picture that the latent holds."""
    y, x = size.inside(*image.shape[:2])
    picture = image.float().cpu().clone()
    picture[y, x] = token_map(whole, plan)[: y.stop - y.start, : x.stop - x.start]
    return picture[None]


def shrink(image: Tensor, rows: int, columns: int, factor: int) -> Tensor:
    """The picture that has one token for each cell: (B, H, W, 3) of whole tokens -> (B, H', W', 3), area-averaged.

    The picture is first extended, by repeating its border, to whole cells.
    """
    height, width = image.shape[1:3]
    size = height // rows
    down, across = cell_grid(rows, columns, factor)
    x = F.pad(
        image.movedim(-1, 1), (0, across * factor * size - width, 0, down * factor * size - height), mode="replicate"
    )
    return F.avg_pool2d(x, factor).movedim(1, -1)


def token_settings(
    preset: str,
    dilation: float,
    dilation_mode: str,
    score: str,
    rule: str,
    amount: float,
    nearness: float,
    low: str,
    native: bool,
    budget: int,
) -> TokenSettings:
    """Settings from the node's widgets."""
    base = preset_named(preset).tokens
    base = replace(
        base,
        dilation=base.dilation if dilation < 0 else dilation,
        dilation_relative=dilation_mode == "relative",
        score=score,
        nearness=base.nearness if nearness < 0 else nearness,
        native=native or (low == AS_PRESET and base.native),
        budget=budget,
    )
    if rule != AS_PRESET:
        base = replace(base, rule=rule, amount=amount, max_high=1.0)
    return base if low == AS_PRESET else replace(base, levels=LEVELS[low])


def with_speedup(settings: TokenSettings, speedup: float, shape: ModelShape, total: int) -> TokenSettings:
    """The same with a budget that gives at least this speed-up of a step, of `total` tokens; 1 or less asks nothing."""
    if speedup <= 1:
        return settings
    fitting = shape.tokens_for(speedup, total)
    return replace(settings, budget=min(fitting, settings.budget or fitting))


def said(plan: TokenPlan, speedup: float, shape: ModelShape) -> TokenPlan:
    """The plan; where it cannot be as fast as was wanted, with a note in the terms of that wish."""
    most = shape.speedup(plan.count, plan.total)
    if speedup <= 1 or most >= speedup:
        return plan
    return replace(plan, note=f"{speedup:g}x is out of reach with this mask; the most is {most:.1f}x.")
