"""HiLo Masked Decode: decode around the edit, keep the rest of the original bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..hilo_core import HiLoError
from ..hilo_core.decode.composite import composite
from ..hilo_core.decode.drift import Drift
from ..hilo_core.decode.fit import Fitted
from ..hilo_core.decode.window_decoder import UnfitDecoder, WindowDecoder, context, global_layers, is_local
from ..hilo_core.decode.windows import Canvas, Window, decode_windows, edit_windows
from ..hilo_core.decode.work import CALL, WORTH, share
from ..hilo_core.mask import is_edited
from ..hilo_core.words import Said
from .common import CATEGORY, FitWire, advanced, before_and_after, on_node, schema
from .inputs import check_latent, check_vae, checked, same_size

TITLE = "HiLo Masked Decode"  # in the log, as on screen
EMPTY = "Nothing is painted: the original, untouched."
CROPPED = "Only the border that VAE Encode crops off is painted: the original, untouched."
UNTOUCHED = "Outside the mask: not a pixel changed."
BEYOND = "Beyond the feather: not a pixel changed."
SMOOTH = "Edge of the mask: smooth."
SEAM = "Edge of the mask: a seam may show; raise feather."
MOVED = "The new picture lies {}; undo shift can move it back."
MOVED_BACK = "The new picture lies {}: moved back."
COLOURS = "Colours may differ from a full decode: {}."
UNKNOWN = "this VAE's layers are not known, and some see all of a picture"
WHOLE = "All decoded at once: windows would gain little."
WHOLE_FROM = 0.7  # of the latent, in windows of a VAE whose layers are not known: as much work as all of it
SPARE = 8  # pixels around what is blended that are decoded well too, for the drift meter and where windows meet
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
                io.Image.Input(
                    "original",
                    tooltip="The picture that was encoded, at its size. With a fit, that or the picture that was given to HiLo Fit.",
                ),
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
                FitWire.Input(
                    "fit",
                    optional=True,
                    tooltip="From HiLo Fit: the edit goes back into the picture that was given there, at its full size.",
                ),
                advanced(
                    io.Boolean,
                    "undo_shift",
                    default=False,
                    optional=True,
                    tooltip="Move the new picture back where it lies beside the original, up to 8 pixels, measured around the edit. For edit models that shift.",
                ),
            ],
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
        fit: Any = None,
        undo_shift: bool = False,
    ) -> io.NodeOutput:
        """Run the node."""
        check_vae(vae, "decode")
        latent = check_latent(samples)
        batch, (rows, columns) = latent.shape[0], latent.shape[-2:]
        if not bool(is_edited(mask).any()):
            original = original if fit is None else _fitted(fit, original, mask)[0]
            return cls._result(original, _for_batch(original, batch, "images").clone(), [EMPTY])
        if fit is None:
            same_size(original, mask)
            canvas_mask, size = mask, original.shape[1:3]
        else:
            original, mask, canvas_mask, size = _fitted(fit, original, mask)
        original = _for_batch(original, batch, "images")
        edited, seen = (_for_batch(is_edited(m).to(original.device), batch, "masks") for m in (mask, canvas_mask))
        canvas = Canvas.of((size[0], size[1]), (rows, columns), int(vae.spacial_compression_decode()))
        used = canvas.used(seen, feather if fit is None else fit.fit.need(feather))
        if not used.any():
            return cls._result(original, original.clone(), [CROPPED])
        like = original if fit is None else original.new_zeros(()).expand(batch, *size, 3)
        done = _decode(vae, latent, canvas, used, margin, like, match_colour or undo_shift)
        how = feather, match_colour, undo_shift
        if fit is None:
            out, drift = composite(original, done.picture, done.share, edited, done.regions, *how)
        else:
            out, place = original.clone(), fit.fit.part
            found = fit.fit.back(done.picture, done.share, done.regions)
            part_out, drift = composite(place(original), *found[:2], place(edited), found[2], *how)
            place(out).copy_(part_out)
        notes = [done.note] if done.note else []
        text = "; ".join([drift.line(), f"{done.part:.0%} of the latent decoded", *notes])
        return cls._result(original, out, [*_seen(drift, feather), *notes], text)

    @classmethod
    def _result(cls, original: Tensor, image: Tensor, said: list[str], text: str = "") -> io.NodeOutput:
        """Both outputs; the text in the log too; on the node what an artist wants to know, and before and after."""
        text = text or said[0]
        _log.info("%s: %s", TITLE, text)
        return io.NodeOutput(image, text, ui=before_and_after(original, image) | on_node(*said))


def _seen(drift: Drift, feather: int) -> list[str]:
    """What can be seen of a result, without numbers. What `composite` left alone has the original's bits."""
    said = [BEYOND if feather else UNTOUCHED]
    if drift.border is not None:
        said.append(SEAM if drift.border > ROUGH else SMOOTH)
    if drift.moved is not None:
        said.append(Said(MOVED_BACK if drift.undone else MOVED, drift.moved.said()))
    return said


@dataclass(frozen=True)
class _Decoded:
    """What `_decode` gives: see `decode_windows`."""

    picture: Tensor
    share: Tensor
    regions: list[tuple[slice, slice]]  # of the picture, around the edits
    part: float  # of the latent that was decoded
    note: str = ""  # on the method


def _decode(
    vae: Any, latent: Tensor, canvas: Canvas, used: Tensor, margin: int, like: Tensor, measured: bool
) -> _Decoded:
    """Decode the surroundings of the used latent pixels, or all where that takes hardly longer.

    measured: whether the surroundings of the edit are wanted too, as far as the windows show them, and not only `SPARE`
    pixels of them."""

    def plain(window: Window) -> Tensor:
        decoded: Tensor = vae.decode(window.of(latent))
        return decoded

    def of(
        windows: list[Window], decode: Callable[[Window], Tensor], reach: int, note: str, spare: Any = None
    ) -> _Decoded:
        found = decode_windows(decode, canvas, windows, reach, like, spare)
        part = sum(window.area for window in windows) / used.numel()
        return _Decoded(*found, [canvas.pixels(window) for window in windows], part, note)

    def full(windows: list[Window]) -> _Decoded:
        found = of([Window(0, canvas.rows, 0, canvas.columns)], plain, 0, WHOLE)
        return replace(found, regions=[canvas.pixels(window) for window in windows])

    model, note = getattr(vae, "first_stage_model", None), ""
    decoder = getattr(model, "decoder", getattr(model, "taesd_decoder", None))
    if global_layers(decoder) is not None:
        reach = min(margin, context(decoder, canvas.ratio))
        windows = edit_windows(used, reach)
        call = CALL if getattr(getattr(vae, "device", None), "type", "") == "cuda" else 0.0
        spare = None if measured or reach * canvas.ratio // 2 <= SPARE else SPARE
        try:
            if share(decoder, canvas, windows, reach, spare, call) > WORTH:
                return full(windows)
            whole = WindowDecoder(
                vae.decode, decoder, latent, windows, None if spare is None else (reach, canvas, spare)
            )
            return of(windows, whole, reach, "", spare)
        except UnfitDecoder as reason:
            note = Said(COLOURS, str(reason))
            _log.warning("%s: plain windows, %s", TITLE, reason)
    elif not is_local(model):
        note = Said(COLOURS, UNKNOWN)
    windows = edit_windows(used, margin)
    if sum(window.area for window in windows) > WHOLE_FROM * used.numel():
        return full(windows)
    return of(windows, plain, margin, note)


def _fitted(fit: Any, original: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """(picture at full size, its mask, the mask on the canvas, the canvas's size); HiLoError if they do not belong to
    this fit. The mask may be empty, of any size."""
    if not isinstance(fit, Fitted):
        raise HiLoError(f"The fit is a {type(fit).__name__}, not a fit. Connect HiLo Fit.")
    (tall, wide), (height, width) = fit.fit.size, fit.fit.canvas
    sizes = f"HiLo Fit was given {wide}x{tall} px and made {width}x{height} px of it."
    whole = fit.original(original)
    if whole is None:
        raise HiLoError(
            f"The original is {original.shape[2]}x{original.shape[1]} px, but {sizes} Connect one of these."
        )
    if not bool(is_edited(mask).any()):
        return whole, mask, mask, fit.fit.canvas
    masks = fit.masks(mask)
    if masks is None:
        raise HiLoError(f"The mask is {mask.shape[2]}x{mask.shape[1]} px, but {sizes} Connect one of these masks.")
    if bool(is_edited(masks[0]).sum() > is_edited(fit.fit.part(masks[0])).sum()):
        raise HiLoError("The mask is painted where HiLo Fit's canvas shows nothing. Give HiLo Fit the same mask.")
    return whole, *masks, fit.fit.canvas


def _for_batch(value: Tensor, batch: int, name: str) -> Tensor:
    if value.shape[0] not in (1, batch):
        raise HiLoError(f"There are {value.shape[0]} {name} for {batch} latents. Give one, or one for each latent.")
    return value.expand(batch, *value.shape[1:])
