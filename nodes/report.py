"""HiLo Report: what the last run gained, as text and as a picture."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

import numpy as np
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io, ui
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..comfy_bridge.call import KEY
from ..comfy_bridge.run_report import RunReport, in_words
from ..hilo_core.render import COLOURS
from .common import CATEGORY, schema
from .inputs import check_model, checked
from .last_run import last_report

WIDTH, MARGIN, BAR = 768, 24, 34
NORMAL = "Normal speed:"  # why a run gained nothing, in the words of the badge
GREY = (120, 120, 120)


class HiLoReport(io.ComfyNode):
    """The last run in numbers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="HiLoReport",
            display_name="HiLo Report",
            category=CATEGORY,
            description="Text and a picture of what the last run gained, to save with the result.",
            search_aliases=["speed", "benchmark", "timing", "statistics"],
            inputs=[
                io.Model.Input("model", tooltip="From HiLo Model Patch."),
                io.Latent.Input(
                    "samples", optional=True, tooltip="The sampler's latent, so that the report waits for the run."
                ),
                io.String.Input(
                    "drift", optional=True, force_input=True, tooltip="From HiLo Masked Decode: added to the report."
                ),
            ],
            outputs=[
                io.String.Output("text", display_name="text", tooltip="Steps, tokens, seconds and speed-up."),
                io.Image.Output("picture", display_name="picture", tooltip="The same as bars."),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        """Never cached: another run of the same model changes the report."""
        return float("nan")

    @classmethod
    @checked
    def execute(cls, model: Any, samples: dict[str, Any] | None = None, drift: str = "") -> io.NodeOutput:
        """Run the node."""
        report = last_report(check_model(model)) or RunReport(reason=_nothing_to_report(model))
        text = "; ".join(filter(None, [report.line(), drift])).replace("; ", "\n").replace("dense run:", NORMAL)
        picture = draw_report(report, drift)
        return io.NodeOutput(text, picture, ui=ui.PreviewImage(picture, cls=cls))


def _nothing_to_report(model: Any) -> str:
    if not model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY):
        return "no HiLo Model Patch on this model"
    return "preset is off, or the sampler's latent is not connected to 'samples', so that no run is known yet"


def draw_report(report: RunReport, drift: str = "") -> Tensor:
    """(1, H, W, 3) in 0..1: seconds of a dense and of a compressed step, the tokens by kind, the drift in words."""
    words = [line for part in drift.split("; ") for line in wrap(part, 84)]
    about, headline = "about " if report.predicted else "", _headline(report)
    bars = [("instead of", report.instead_of), ("this run", report.seconds)]
    bars = [(name, seconds) for name, seconds in bars if seconds is not None]
    top = 40 + 34 * len(headline)
    height = top + 36 + len(bars) * (BAR + 12) + (BAR + 60 if report.total else 0)
    canvas = Image.new("RGB", (WIDTH, height + 22 * len(words)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(20)
    pen.text((MARGIN, 20), "\n".join(headline), fill="black", font=ImageFont.load_default(28))
    y, longest = top, max((seconds for _, seconds in bars), default=1.0) or 1.0
    for name, seconds in bars:
        end = 220 + (WIDTH - 340) * seconds / longest
        pen.text((MARGIN, y + 5), name, fill="black", font=font)
        pen.rectangle((220, y, end, y + BAR), fill=COLOURS["edit"] if name == "this run" else COLOURS["low 4x4"])
        words_of = in_words(seconds) if name == "this run" else f"{about}{in_words(seconds)}"
        pen.text((end + 8, y + 5), words_of, fill="black", font=font)
        y += BAR + 12
    if report.total:
        pen.text((MARGIN, y + 5), "tokens", fill="black", font=font)
        _draw_tokens(pen, report, y)
    pen.text((MARGIN, height - 14), "\n".join(words), fill="black", font=ImageFont.load_default(16))
    return torch.from_numpy(np.asarray(canvas, dtype=np.float32) / 255)[None]


def _headline(report: RunReport) -> list[str]:
    if report.reason:
        return wrap(f"{NORMAL} {report.reason}.", 52)
    return [*wrap(report.gain(), 52), f"{report.share():.0%} of the picture computed"]


def _draw_tokens(pen: ImageDraw.ImageDraw, report: RunReport, y: int) -> None:
    """Tokens by kind as one bar, which the dense grid would fill, with its legend below."""
    x, font, label = 220.0, ImageFont.load_default(16), 220.0
    pen.rectangle((x, y, WIDTH - MARGIN, y + BAR), outline=GREY)
    for name, number in report.counts.items():
        width = (WIDTH - MARGIN - 220) * number / report.total
        pen.rectangle((x, y, x + width, y + BAR), fill=COLOURS[name])
        pen.rectangle((label, y + BAR + 16, label + 12, y + BAR + 28), fill=COLOURS[name])
        text = f"{name} {number}"
        pen.text((label + 17, y + BAR + 12), text, fill="black", font=font)
        label += 17 + pen.textlength(text, font=font) + 14
        x += width
