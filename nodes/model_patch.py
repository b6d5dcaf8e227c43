"""HiLo Model Patch: the one node that is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..comfy_bridge.patch import Patch, patch_model
from ..comfy_bridge.planning import PlanRequest
from ..comfy_bridge.run_report import RunReport
from ..hilo_core import HiLoError
from ..hilo_core.auto import AUTO, DEFAULT
from ..hilo_core.presets import PRESETS, Preset
from ..hilo_core.words import in_parts
from .common import CATEGORY, PRESET_TOOLTIP, HiLoPlan, advanced, node_id, schema, send_report, send_state
from .inputs import check_model, checked
from .last_run import LastRun, keep_report, saved_today
from .settings import AS_PRESET, BIASES, DENSE_STEPS, REFERENCES, with_overrides


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
                io.Combo.Input("preset", options=[*PRESETS, AUTO], default="balanced",
                               tooltip=f"{PRESET_TOOLTIP}\nWith a plan wired, the plan's own preset counts; off is off in any case."),
                io.Float.Input(
                    "speedup", default=0.0, min=0.0, max=20.0, step=0.1,
                    tooltip="How many times faster a step is to be; what is left of the picture is chosen as well as that allows. "
                            "0: as the preset says. With a plan wired, the plan's own counts.",
                ),
                HiLoPlan.Input("plan", optional=True,
                               tooltip="From HiLo Token Select, which then decides, also what is to change. To say only that, wire 'mask'."),
                advanced(io.Combo, "dense_steps", options=[AS_PRESET, *DENSE_STEPS], default=AS_PRESET,
                         tooltip="Steps at normal speed, in which the whole picture is computed. More is closer to the result without "
                                 "HiLo-Token, and slower. half: the first half of the steps."),
                advanced(io.Combo, "mass_bias", options=[AS_PRESET, *BIASES], default=AS_PRESET,
                         tooltip="How much more a coarse token weighs in attention than a single one. 1: as much as all that it stands "
                                 "for. 0: like any other token."),
                advanced(
                    io.Combo,
                    "references",
                    options=list(REFERENCES),
                    default="whole",
                    tooltip="Reference pictures of another size than the target. coarse: fewer tokens for them, faster, less exact. "
                    "A reference of the target's size always follows the plan.",
                ),
                advanced(io.Boolean, "check", default=False, optional=True,
                         tooltip="Compute one step in the middle both ways. The report says how far they agree; where a coarse context does not "
                                 "stand for this picture, or for this model, the rest of the run is at normal speed. Costs about one step at normal speed."),
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
        model: Any,
        preset: str,
        speedup: float = 0.0,
        plan: PlanRequest | None = None,
        dense_steps: str = AS_PRESET,
        mass_bias: str = AS_PRESET,
        references: str = "whole",
        check: bool = False,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        """Run the node."""
        check_model(model)
        if plan is not None and not isinstance(plan, PlanRequest):
            raise HiLoError("The plan is not one of HiLo Token Select's. Connect its 'plan' output.")
        chosen = PRESETS[DEFAULT if preset == AUTO else preset]
        if plan is not None and plan.preset is not None and not chosen.off:
            chosen = plan.preset

        def named(name: str) -> Preset:
            return with_overrides(PRESETS[name], dense_steps, mass_bias)

        chosen, run, number = with_overrides(chosen, dense_steps, mass_bias), LastRun(), node_id(cls)
        coarse, tell, start = REFERENCES[references], _tell(number, run), _start(number)
        auto = named if preset == AUTO and plan is None else None
        patched = patch_model(
            model, Patch(chosen, plan, tell, coarse, mask, speedup=speedup, spot_check=check, auto=auto, on_start=start)
        )
        keep_report(patched, run)
        if chosen.off:
            send_state(number, "off")
        return io.NodeOutput(patched)


def _start(number: str | None) -> Callable[[RunReport], None]:
    """Tell the node's badge what a run is about to do: what share of the picture, or why it is at normal speed."""
    return lambda report: send_state(
        number, "running", reason=in_parts(report.reason), kept=report.kept, total=report.total
    )


def _tell(number: str | None, run: LastRun) -> Callable[[RunReport], None]:
    """Send a run's summary to the node's badge, and keep it for the report; the log has its line."""

    def tell(report: RunReport) -> None:
        run.report = report
        words = {"reason": in_parts(report.reason), "notes": [in_parts(note) for note in report.notes]}
        send_report(number, asdict(report) | words | {"saved_today": saved_today.add(report)})

    return tell
