"""Fill masks in held-out photos with the demo model, through the host's own sampler, and lay the results side by side.

python -m lab.quality.fills --sides 256 512 1024 --out .cache/fills.png

Each row: the source with the mask in grey, the fill, the source.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hilo_token.demo import model as demo_model
from PIL import Image

from lab.data import masks, pictures
from lab.train import autoencoder as train_autoencoder
from tools import host

STEPS, SEED, TILE = 8, 3, 320
_log = logging.getLogger("lab.quality.fills")


def centre(photo: np.ndarray, side: int) -> torch.Tensor:
    """(1, side, side, 3) in 0..1: the largest centred square, resized."""
    short = min(photo.shape[:2])
    top, left = ((n - short) // 2 for n in photo.shape[:2])
    square = Image.fromarray(photo[top : top + short, left : left + short]).resize(
        (side, side), Image.Resampling.LANCZOS
    )
    return torch.from_numpy(np.asarray(square) / np.float32(255))[None]


@torch.inference_mode()
def fill(model: Any, vae: Any, pixels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The picture (1, H, W, 3) with its mask (1, H, W) filled; conditioned as by InpaintModelConditioning."""
    import comfy.sample

    clean = vae.encode(pixels)
    masked = vae.encode(torch.where(mask[..., None] > 0.5, 0.5, pixels))
    extra = {"concat_latent_image": masked, "concat_mask": mask[:, None]}
    condition = [[text, {**values, **extra}] for text, values in demo_model.empty_conditioning()]
    settings = {"steps": STEPS, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "seed": SEED}
    latent = comfy.sample.sample(
        model, comfy.sample.prepare_noise(clean, SEED), positive=condition, negative=condition, latent_image=clean,
        noise_mask=mask[:, None], disable_pbar=True, **settings,
    )  # fmt: skip
    return vae.decode(latent).clamp(0, 1)


def to_tile(pixels: torch.Tensor) -> Image.Image:
    """A (1, H, W, 3) picture at the sheet's size."""
    array = (pixels[0].cpu().numpy() * 255).round().astype(np.uint8)
    return Image.fromarray(array).resize((TILE, TILE), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the sheet and log the error inside and outside the masks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sides", type=int, nargs="+", default=[256, 512, 1024], help="pixels per side, one row of photos each"
    )
    parser.add_argument("--photos", type=int, default=4, help="held-out photos per size")
    parser.add_argument("--ratio", type=float, default=0.12, help="share of the picture under the mask")
    parser.add_argument("--cache", type=Path, default=host.CACHE / "train")
    parser.add_argument("--out", type=Path, default=host.CACHE / "fills.png")
    parser.add_argument("--results", type=Path, help="also write the errors to this JSON file")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    host.prepare()
    import comfy.sd
    import comfy.utils

    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(train_autoencoder.WEIGHTS)))
    model, rows, errors = demo_model.load(), [], {}
    held = pictures.load([p for p in pictures.prepare(options.cache) if pictures.held_out(p)][: options.photos])
    for side in options.sides:
        inside, outside = [], []
        for number, photo in enumerate(held):
            drawn = masks.draw(np.random.default_rng(number), side, side, options.ratio)
            mask, pixels = torch.from_numpy(drawn)[None].float(), centre(photo, side)
            filled = fill(model, vae, pixels, mask)
            error = (filled - pixels).square().mean(-1)
            inside.append(float(error[mask > 0.5].mean()))
            outside.append(float(error[mask < 0.5].mean()))
            rows.append([to_tile(torch.where(mask[..., None] > 0.5, 0.5, pixels)), to_tile(filled), to_tile(pixels)])
        errors[side] = {"psnr_inside_db": round(-10 * float(np.log10(np.mean(inside))), 2),
                        "psnr_outside_db": round(-10 * float(np.log10(np.mean(outside))), 2)}  # fmt: skip
        _log.info("%d px: %s", side, errors[side])
    sheet = Image.new("RGB", (3 * TILE * len(options.sides), TILE * len(held)))
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            sheet.paste(tile, ((number // len(held) * 3 + column) * TILE, number % len(held) * TILE))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out)
    if options.results:
        options.results.write_text(json.dumps(errors, indent=1) + "\n")


if __name__ == "__main__":
    main()
