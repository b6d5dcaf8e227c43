"""HiLo Fit: a picture of any size on a canvas that the model likes; HiLo Masked Decode puts the edit back."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..hilo_core.decode.fit import Fit, Fitted, edited_box, fit_detail, fit_whole
from ..hilo_core.errors import HiLoError
from ..hilo_core.words import Said
from .common import CATEGORY, FitWire, advanced, on_node, schema
from .inputs import check_painted, checked, same_size

MEGAPIXEL = 1024 * 1024
WHOLE, DETAIL = "fit", "detail"
ALL = "The whole picture on {}x{} px."
PART = "{}x{} px around the edit on {}x{} px."
EDIT = "The edit is {} px wide or high there, {} px in the picture."


class HiLoFit(io.ComfyNode):
    """Fits a picture and its mask to a canvas."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="HiLoFit",
            display_name="HiLo Fit",
            category=CATEGORY,
            description="Brings a picture of any size to one that the model likes, or enlarges the edit for more detail. HiLo Masked Decode puts the edit back at full size.",
            search_aliases=["crop and stitch", "inpaint crop", "resize image and mask", "scale to megapixels", "upscale edit", "detailer"],
            inputs=[
                io.Image.Input("image", tooltip="The picture, of any size."),
                io.Mask.Input("mask", tooltip="What is to be generated, of the picture's size."),
                io.Combo.Input(
                    "mode", options=[WHOLE, DETAIL], default=WHOLE,
                    tooltip="fit: the whole picture at about 'megapixels'.\ndetail: the edit enlarged to 'edit_size', with the whole picture around it, or as much of it as 'largest' holds.",
                ),
                io.Float.Input(
                    "megapixels", default=1.0, min=0.1, max=16.0, step=0.1,
                    tooltip="Size of the canvas in mode fit. 1 is 1024x1024. A picture that is near it keeps its pixels.",
                ),
                io.Int.Input(
                    "edit_size", default=1024, min=64, max=4096, step=16,
                    tooltip="Pixels that the edit's longer side gets in mode detail. It is enlarged four times at the most.",
                ),
                advanced(io.Float, "largest", default=4.0, min=0.25, max=16.0, step=0.25,
                         tooltip="Megapixels of the canvas in mode detail, at the most. 4 is 2048x2048: what most models draw well."),
                advanced(io.Int, "multiple", default=16, min=8, max=64, step=8,
                         tooltip="The canvas's sides are multiples of this: 16 for most models, 32 for HunyuanImage 2.1 and Wan 2.2 5B."),
            ],
            outputs=[
                io.Image.Output("canvas", display_name="image", tooltip="The canvas: encode this."),
                io.Mask.Output("canvas_mask", display_name="mask", tooltip="The mask on the canvas. No painted pixel is lost."),
                FitWire.Output("fit", display_name="fit", tooltip="For HiLo Masked Decode, which puts the edit back at full size."),
            ],
        )  # fmt: skip

    @classmethod
    @checked
    def execute(
        cls,
        image: Tensor,
        mask: Tensor,
        mode: str = WHOLE,
        megapixels: float = 1.0,
        edit_size: int = 1024,
        largest: float = 4.0,
        multiple: int = 16,
    ) -> io.NodeOutput:
        """Run the node."""
        check_painted(mask)
        same_size(image, mask)
        size, box = (image.shape[1], image.shape[2]), edited_box(mask)
        if mode == WHOLE:
            fit = fit_whole(size, megapixels * MEGAPIXEL, multiple)
        else:
            fit = fit_detail(size, box, edit_size, largest * MEGAPIXEL, multiple)
        if max(fit.canvas) > 32 * max(min(fit.canvas), multiple):
            raise HiLoError(f"The image is {size[1]}x{size[0]} px, too long and narrow for a canvas. Crop it first.")
        canvas_mask = fit.mask(mask)
        found = Fitted(fit, image, mask, canvas_mask)
        return io.NodeOutput(fit.image(image), canvas_mask, found, ui=on_node(*told(fit, box)))


def told(fit: Fit, box: tuple[int, int, int, int]) -> list[str]:
    """What became of a picture and its edit, for the node."""
    (height, width), (tall, wide) = fit.canvas, fit.region
    side = max(box[1] - box[0], box[3] - box[2])
    shown = Said(ALL, width, height) if fit.whole else Said(PART, wide, tall, width, height)
    return [shown, Said(EDIT, round(side * fit.factor), side)]
