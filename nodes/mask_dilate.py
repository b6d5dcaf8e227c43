"""HiLo Mask Dilate: a clean mask, and the same grown by whole tokens."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..hilo_core.mask import BLACK
from .common import CATEGORY, advanced, schema
from .inputs import check_painted, checked
from .masks import Growth


class HiLoMaskDilate(io.ComfyNode):
    """Mask hygiene and a margin."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="HiLoMaskDilate",
            display_name="HiLo Mask Dilate",
            category=CATEGORY,
            description="Cleans a mask and grows it by whole tokens. Shows both: the mask white, the growth grey.",
            search_aliases=["grow mask", "expand mask", "clean mask", "inpaint mask", "dilate"],
            inputs=[
                io.Mask.Input("mask", tooltip="What is to be generated. Grey edges stay as they are: they are the feather."),
                io.Int.Input(
                    "margin", default=32, min=0, max=1024, step=8,
                    tooltip="How far to grow: in pixels, or in percent of the edit's radius. More comes nearer to the result at normal speed, and is slower.",
                ),
                io.Combo.Input(
                    "mode", options=["pixels", "percent"], default="pixels",
                    tooltip="pixels: the same margin everywhere. percent: each separate edit by a part of its own radius.",
                ),
                advanced(io.Float, "black", default=BLACK, min=0.0, max=0.5, step=0.01,
                         tooltip="Values up to this are taken for black: near-black is not an edit."),
                advanced(io.Float, "white", default=0.96, min=0.5, max=1.0, step=0.01,
                         tooltip="Values from this on are taken for white: near-white is not a half-edit."),
                advanced(io.Boolean, "fill_holes", default=True, tooltip="Fill holes inside the mask."),
                advanced(io.Int, "drop_specks", default=16, min=0, max=100000,
                         tooltip="Remove separate pieces of fewer pixels than this. 0 keeps all."),
                advanced(io.Int, "token_size", default=16, min=1, max=64,
                         tooltip="Pixels per token side: 16 for most models, 32 for HunyuanImage 2.1 and Wan 2.2 5B."),
            ],
            outputs=[
                io.Mask.Output("clean", display_name="mask", tooltip="The cleaned mask: use it as the noise mask."),
                io.Mask.Output("dilated", display_name="dilated", tooltip="Grown to whole tokens: what the model will see at full resolution."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, *args: Any, **given: Any) -> io.NodeOutput:
        """Run the node."""
        clean, dilated = cls.masks(*args, **given).args
        preview = torch.maximum(clean, 0.4 * dilated)
        return io.NodeOutput(clean, dilated, ui=ui.PreviewMask(preview, cls=cls))

    @classmethod
    @checked
    def masks(
        cls,
        mask: Tensor,
        margin: int,
        mode: str,
        black: float = BLACK,
        white: float = 0.96,
        fill_holes: bool = True,
        drop_specks: int = 16,
        token_size: int = 16,
    ) -> io.NodeOutput:
        """Both outputs, with nothing shown."""
        check_painted(mask)
        growth = Growth(margin, mode, black, white, fill_holes, drop_specks, token_size)
        clean = growth.clean(mask)
        return io.NodeOutput(clean, growth.grown(clean))
