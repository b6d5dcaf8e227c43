"""HiLo Model Patch: the one node that is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

from comfy_api.latest import io
from torch import Tensor

from ..comfy_bridge.patch import Patch, patch_model
from ..comfy_bridge.planning import PlanRequest
from ..comfy_bridge.run_report import RunReport
from ..hilo_core import HiLoError
from ..hilo_core.presets import PRESETS
from ..hilo_core.presets import preset as preset_named
from .common import CATEGORY, PRESET_TOOLTIP, HiLoPlan, advanced, node_id, schema, send_report, send_state
from .inputs import check_model, checked
from .report import LastRun, keep_report

REFERENCES = {"whole": 0, "coarse 2x2": 2, "coarse 4x4": 4}


class HiLoModelPatch(io.ComfyNode):
    """MODEL in, MODEL out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="HiLoModelPatch",
            display_name="HiLo Model Patch",
            category=CATEGORY,
            description="Makes masked sampling faster: the model sees the edit, the detail near it, and a coarse picture of "
            "the rest. Put it between the model loader and the sampler; it takes the mask from the sampler's latent.",
            search_aliases=["inpaint", "inpaint faster", "generative fill", "speed up", "faster", "accelerate", "masked edit", "object removal", "token compression"],
            inputs=[
                io.Model.Input("model", tooltip="Any supported diffusion transformer, with LoRAs and other patches on it."),
                io.Combo.Input("preset", options=list(PRESETS), default="balanced", tooltip=PRESET_TOOLTIP),
                HiLoPlan.Input("plan", optional=True,
                               tooltip="From HiLo Token Select; overrides the preset's token choice. Needed where the latent has "
                                       "no noise mask (edit models with an empty latent)."),
                advanced(io.Int, "dense_first", default=-1, min=-1, max=1000,
                         tooltip="Dense steps at the start. More is closer to the dense result, and slower. -1: as the preset says."),
                advanced(io.Int, "dense_last", default=-1, min=-1, max=1000,
                         tooltip="Dense steps at the end. -1: as the preset says."),
                advanced(io.Int, "dense_every", default=-1, min=-1, max=1000,
                         tooltip="A dense step every so many steps in between. 0: none. -1: as the preset says."),
                advanced(io.Float, "mass_bias", default=-1.0, min=-1.0, max=2.0, step=0.05,
                         tooltip="Strength of the attention bias that makes a low-frequency token weigh what it stands for. "
                                 "1: all of it, 0: none. -1: as the preset says (0.92 or 1; paper 0)."),
                advanced(
                    io.Combo,
                    "references",
                    options=list(REFERENCES),
                    default="whole",
                    tooltip="Reference pictures of another size than the target. coarse: fewer tokens for them, faster, less exact. "
                    "A reference of the target's size always follows the plan.",
                ),
                io.Mask.Input("mask", optional=True,
                              tooltip="What is to change, where the latent has no noise mask: an edit through a reference picture. "
                                      "The mask of that picture; all outside it stays as it was."),
            ],
            outputs=[io.Model.Output("patched", display_name="model", tooltip="For the sampler or the guider.")],
            hidden=[io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    @checked
    def execute(
        cls,
        model,
        preset: str,
        plan: PlanRequest | None = None,
        dense_first: int = -1,
        dense_last: int = -1,
        dense_every: int = -1,
        mass_bias: float = -1.0,
        references: str = "whole",
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        """Run the node."""
        check_model(model)
        if plan is not None and not isinstance(plan, PlanRequest):
            raise HiLoError("The plan is not one of HiLo Token Select's. Connect its 'plan' output.")
        chosen = preset_named(preset)
        given = {
            name: value
            for name, value in (("first", dense_first), ("last", dense_last), ("every", dense_every))
            if value >= 0
        }
        chosen = replace(chosen, schedule=replace(chosen.schedule, **given))
        if mass_bias >= 0:
            chosen = replace(chosen, mass_bias=mass_bias)
        run = LastRun()
        tell = _tell(node_id(cls), run)
        patched = patch_model(model, Patch(chosen, plan, tell, REFERENCES[references], mask))
        keep_report(patched, run)
        if chosen.off:
            send_state(node_id(cls), "off")
        return io.NodeOutput(patched)


def _tell(number: str | None, run: LastRun) -> Callable[[RunReport], None]:
    """Send a run's summary to the node's badge, and keep it for the report; the log has its line."""

    def tell(report: RunReport) -> None:
        run.report = report
        send_report(number, asdict(report))

    return tell
