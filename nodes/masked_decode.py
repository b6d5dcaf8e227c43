"""HiLo Masked Decode: decode around the edit, keep the rest of the original bit for bit."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..hilo_core import HiLoError
from ..hilo_core.decode.composite import composite
from ..hilo_core.decode.drift import Drift
from ..hilo_core.decode.window_decoder import REACH, UnfitDecoder, WindowDecoder, global_layers, is_local
from ..hilo_core.decode.windows import Canvas, Window, decode_windows, edit_windows
from ..hilo_core.mask import is_edited
from .common import CATEGORY, advanced, before_and_after, node_id, schema, show_on_node
from .inputs import check_latent, check_vae, checked, same_size

TITLE = "HiLo Masked Decode"  # in the log, as on screen
EMPTY = "nothing is painted: the original, untouched"
CROPPED = "only the border that VAE Encode crops off is painted: the original, untouched"
SEAM = "Edge of the mask: a seam may show; raise feather"
ROUGH = 1.5  # times the original's step across the mask's border
_log = logging.getLogger("hilo-token")


class HiLoMaskedDecode(io.ComfyNode):
    """VAE decode for masked edits."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="HiLoMaskedDecode",
            display_name=TITLE,
            category=CATEGORY,
            description="Decodes only around the edit and puts it into the original picture, whose other pixels stay exactly as they are.",
            search_aliases=["crop and stitch", "stitch", "composite", "keep original", "inpaint decode", "blend edit"],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE that encoded the picture."),
                io.Latent.Input("samples", tooltip="The sampler's latent."),
                io.Image.Input("original", tooltip="The picture that was encoded, at its size."),
                io.Mask.Input(
                    "mask",
                    tooltip="The mask of the edit, of the picture's size. What is painted is replaced; near-black is not.",
                ),
                io.Int.Input(
                    "feather",
                    default=8,
                    min=0,
                    max=256,
                    tooltip="Pixels outside the mask over which the new picture fades into the original. 0: a hard edge.",
                ),
                io.Boolean.Input(
                    "match_colour",
                    default=False,
                    tooltip="Shift the new picture's colours to agree with the original around the edit. For models that drift.",
                ),
                advanced(
                    io.Int,
                    "margin",
                    default=8,
                    min=0,
                    max=64,
                    tooltip="Context around the edit that is decoded with it, in latent pixels. More is closer to a full decode, and slower.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The original with the edit in it."),
                io.String.Output(
                    "drift",
                    display_name="drift",
                    tooltip="What the decode changed outside the edit, and what is left of it.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        vae: Any,
        samples: dict[str, Any],
        original: Tensor,
        mask: Tensor,
        feather: int = 8,
        match_colour: bool = False,
        margin: int = 8,
    ) -> io.NodeOutput:
        """Run the node."""
        check_vae(vae, "decode")
        latent, edited = check_latent(samples), is_edited(mask)
        batch, (height, width), (rows, columns) = latent.shape[0], original.shape[1:3], latent.shape[-2:]
        if not bool(edited.any()):
            return cls._result(original, _for_batch(original, batch, "images").clone(), EMPTY, EMPTY)
        same_size(original, mask)
        original = _for_batch(original, batch, "images")
        edited = _for_batch(edited.to(original.device), batch, "masks")
        canvas = Canvas.of((height, width), (rows, columns), int(vae.spacial_compression_decode()))
        used = canvas.used(edited, feather)
        if not used.any():
            return cls._result(original, original.clone(), CROPPED, CROPPED)
        windows, decoded, share, note = _decode(vae, latent, canvas, used, margin, original)
        regions = [canvas.pixels(window) for window in windows]
        out, drift = composite(original, decoded, share, edited, regions, feather, match_colour)
        part = sum(window.area for window in windows) / (rows * columns)
        note = note if part < 1 else ""
        return cls._result(
            original, out, f"{drift.line()}; {part:.0%} of the latent decoded{note}", _seen(drift, feather) + note
        )

    @classmethod
    def _result(cls, original: Tensor, image: Tensor, text: str, shown: str) -> io.NodeOutput:
        """Both outputs; the text in the log too; on the node what an artist wants to know, and before and after."""
        _log.info("%s: %s", TITLE, text)
        show_on_node(node_id(cls), f"{shown[0].upper()}{shown[1:]}.")
        return io.NodeOutput(image, text, ui=before_and_after(original, image))


def _seen(drift: Drift, feather: int) -> str:
    """What can be seen of a result, without numbers. What `composite` left alone has the original's bits."""
    outside = f"{'Beyond the feather' if feather else 'Outside the mask'}: not a pixel changed"
    if drift.border is None:
        return outside
    return f"{outside}. " + (SEAM if drift.border > ROUGH else "Edge of the mask: smooth")


def _decode(
    vae: Any, latent: Tensor, canvas: Canvas, used: Tensor, margin: int, like: Tensor
) -> tuple[list[Window], Tensor, Tensor, str]:
    """(windows, picture, its share, what to say of the method); see `decode_windows`."""

    def plain(window: Window) -> Tensor:
        decoded: Tensor = vae.decode(window.of(latent))
        return decoded

    decoder, note = getattr(getattr(vae, "first_stage_model", None), "decoder", None), ""
    if global_layers(decoder) is not None:
        reach = min(margin, REACH)
        windows = edit_windows(used, reach, full_from=0.5)
        if windows[0].area == used.numel():
            return windows, *decode_windows(plain, canvas, windows, reach, like), ""
        try:
            whole = WindowDecoder(vae.decode, decoder, latent, windows)
            return windows, *decode_windows(whole, canvas, windows, reach, like), ""
        except UnfitDecoder as reason:
            note = f"; colours may differ from a full decode: {reason}"
            _log.warning("%s: plain windows, %s", TITLE, reason)
    elif not is_local(getattr(vae, "first_stage_model", None)):
        note = "; colours may differ from a full decode: this VAE's layers are not known, and some see all of a picture"
    windows = edit_windows(used, margin)
    return windows, *decode_windows(plain, canvas, windows, margin, like), note


def _for_batch(value: Tensor, batch: int, name: str) -> Tensor:
    if value.shape[0] not in (1, batch):
        raise HiLoError(f"There are {value.shape[0]} {name} for {batch} latents. Give one, or one for each latent.")
    return value.expand(batch, *value.shape[1:])
