"""HiLoMaskedDecode: decode around the edit, keep the rest of the original bit for bit."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from comfy_api.latest import io
from torch import Tensor

from ..hilo_core import HiLoError
from ..hilo_core.decode import blend, edit_windows, feathered, latent_offset, match_ring
from ..hilo_core.drift import Drift, measure
from ..hilo_core.mask import check_mask
from .common import CATEGORY, advanced, check_image, same_size, show_on_node

RING = 32  # pixels around the edit that the colour match looks at


class HiLoMaskedDecode(io.ComfyNode):
    """VAE decode for masked edits."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="HiLoMaskedDecode",
            display_name="HiLo Masked Decode",
            category=CATEGORY,
            description="Decodes only around the edit and puts it into the original picture, whose other pixels stay exactly as they are.",
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE that encoded the picture."),
                io.Latent.Input("samples", tooltip="The sampler's latent."),
                io.Image.Input("original", tooltip="The picture that was encoded, at its size."),
                io.Mask.Input(
                    "mask", tooltip="The mask of the edit, of the picture's size. Pixels above 0 are replaced."
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
                    default=16,
                    min=0,
                    max=64,
                    tooltip="Context around the edit that is decoded with it, in latent pixels. More is closer to a full decode, and slower.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Image.Output("image", display_name="image", tooltip="The original with the edit in it.")],
        )

    @classmethod
    def execute(
        cls,
        vae: Any,
        samples: dict[str, Any],
        original: Tensor,
        mask: Tensor,
        feather: int = 8,
        match_colour: bool = False,
        margin: int = 16,
    ) -> io.NodeOutput:
        """Run the node."""
        latent, original, mask = samples["samples"], check_image(original), check_mask(mask)
        same_size(original, mask)
        batch = latent.shape[0]
        original, mask = _for_batch(original, batch, "images"), _for_batch(mask.to(original.device), batch, "masks")
        ratio = int(vae.spacial_compression_decode())
        (height, width), (rows, columns) = original.shape[1:3], latent.shape[-2:]
        top, left = latent_offset(height, rows, ratio), latent_offset(width, columns, ratio)
        weight = feathered(mask, feather)
        inner = weight[:, top : top + rows * ratio, left : left + columns * ratio]
        used = F.max_pool2d(inner.amax(0)[None, None], ratio)[0, 0] > 0
        out, drift = original.clone(), Drift()
        for w in edit_windows(used, margin):
            part = latent[..., w.top : w.bottom, w.left : w.right]
            decoded = vae.decode(part).reshape(batch, (w.bottom - w.top) * ratio, (w.right - w.left) * ratio, -1)
            y = slice(top + w.top * ratio, top + w.bottom * ratio)
            x = slice(left + w.left * ratio, left + w.right * ratio)
            decoded = decoded[..., :3].to(out)
            if match_colour:
                ring = (feathered(mask[:, y, x], RING) > 0) & (mask[:, y, x] == 0)
                decoded = match_ring(decoded, original[:, y, x], weight[:, y, x], ring)
            out[:, y, x] = blend(out[:, y, x], decoded, weight[:, y, x])
            drift = drift + measure(decoded, out[:, y, x], original[:, y, x], mask[:, y, x])
        if drift.outside_count:
            show_on_node(cls, drift.line())
        return io.NodeOutput(out)


def _for_batch(value: Tensor, batch: int, name: str) -> Tensor:
    if value.shape[0] not in (1, batch):
        raise HiLoError(f"There are {value.shape[0]} {name} for {batch} latents. Give one, or one for each latent.")
    return value.expand(batch, *value.shape[1:])
