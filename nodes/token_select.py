"""HiLo Token Select: the token plan of a picture, shown before anything is sampled."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..comfy_bridge.auto import setting_of
from ..comfy_bridge.families import find_family
from ..comfy_bridge.known import comparisons, identity
from ..comfy_bridge.planning import PlanRequest, said, with_speedup
from ..hilo_core.auto import AUTO, DEFAULT
from ..hilo_core.cost import ModelShape
from ..hilo_core.plan import TokenPlan, make_plan
from ..hilo_core.presets import PRESETS
from ..hilo_core.render import describe, token_map
from .common import CATEGORY, PRESET_TOOLTIP, HiLoPlan, advanced, schema
from .inputs import check_model, check_painted, checked, same_size
from .preview.sources import ASSUMED, remember
from .settings import AS_PRESET, CHOICES, CONTEXTS, token_settings
from .tokens import TokenSize, details, first_picture


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
                io.Image.Input("image", tooltip="The picture that goes to the sampler, at its size; of a video model, the frames of a clip."),
                io.Mask.Input("mask", tooltip="What is to be generated, of the picture's size: one mask, or one for each frame of a clip."),
                io.Combo.Input("preset", options=[*CHOICES, AUTO], default="balanced", tooltip=PRESET_TOOLTIP),
                io.Float.Input(
                    "speedup", default=0.0, min=0.0, max=20.0, step=0.1,
                    tooltip="How many times faster a step is to be; what is left of the picture is chosen as well as that allows. "
                            "0: as the preset says.",
                ),
                io.Int.Input(
                    "margin", default=0, min=0, max=1024, step=8,
                    tooltip="Pixels around the edit that are computed with it. Less than a token (16 px on most models) changes the edit "
                            "more; more costs speed. 0: as the preset says.",
                ),
                advanced(io.Float, "detail", default=0.0, min=0.0, max=100.0, step=0.5,
                         tooltip="Percent of all tokens that are kept whole for the detail in them, edges first. 0: as the preset says."),
                advanced(io.Combo, "context", options=[AS_PRESET, *CONTEXTS], default=AS_PRESET,
                         tooltip="What stands for the rest of the picture: one real token, or the average, of each cell. "
                                 "pyramid: larger cells with distance. none: nothing (not advised)."),
                advanced(io.Int, "budget", default=0, min=0, max=262144,
                         tooltip="The most tokens to use. 0: no limit. The edit is kept in any case."),
                io.Model.Input(
                    "model", optional=True, tooltip="For its token size and the predicted speed-up. Not changed."
                ),
            ],
            outputs=[
                HiLoPlan.Output("plan", display_name="plan", tooltip="For HiLo Model Patch."),
                io.Image.Output("map", display_name="map", tooltip="The tokens over the picture; of a clip, over the first of each latent frame's pictures."),
                io.String.Output("text", display_name="text", tooltip="The tokens in numbers."),
            ],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, preset: Any = None, **_: Any) -> Any:
        """With `auto`, a comparison may change the plan."""
        return comparisons.stamp() if preset == AUTO else None

    @classmethod
    @checked
    def execute(
        cls,
        image: Tensor,
        mask: Tensor,
        preset: str,
        speedup: float = 0.0,
        margin: int = 0,
        detail: float = 0.0,
        context: str = AS_PRESET,
        budget: int = 0,
        model: Any = None,
    ) -> io.NodeOutput:
        """Run the node."""
        check_painted(mask)
        same_size(image, mask)
        shape, name, family, base, known = ModelShape(), ASSUMED, None, None, ""
        if model is not None:
            base, known = check_model(model).model, identity(model)
            family = find_family(base.diffusion_model)
            shape, name = ModelShape(family.hidden(base.diffusion_model)), family.name
        size = TokenSize.of(family, base)
        edit, whole = size.edit(mask, size.frames(len(image))), size.whole(image)
        choice = comparisons.decide(known, setting_of(edit)) if preset == AUTO else None
        preset = preset if choice is None else choice.preset or DEFAULT
        settings = token_settings(preset, margin, detail, context, budget, size.pixels)
        settings = with_speedup(settings, speedup, shape, edit.numel())
        found = details(whole, edit.shape)
        plan = said(make_plan(edit, found, settings), speedup, shape)
        text = "\n".join([describe(plan, shape), *([choice.reason] if choice else [])])
        request = PlanRequest(settings, edit, found, plan, preset=PRESETS[preset], speedup=speedup, choice=choice)
        key = remember(image, edit, shape, name, size, found, known)
        return io.NodeOutput(request, _drawn(image, whole, plan, size), text, ui={"text": (text,), "hilo_key": (key,)})


def _drawn(image: Tensor, whole: Tensor, plan: TokenPlan, size: TokenSize) -> Tensor:
    """(T, H, W, 3): the tokens over the part of the picture that the latent holds; a clip's over the first of each latent
    frame's."""
    y, x = size.inside(*image.shape[1:3])
    chosen = [first_picture(frame) for frame in range(plan.frames)]
    pictures = image[chosen].float().cpu()
    for frame, picture in enumerate(pictures):
        drawn = token_map(whole[chosen[frame]], plan, frame=frame)
        picture[y, x] = drawn[: y.stop - y.start, : x.stop - x.start]
    return pictures
