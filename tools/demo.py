"""`make demo`: one masked edit through a real ComfyUI, dense and compressed with the same seed, and a contact sheet."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from safetensors.torch import load_file

from tools import host, workflow
from tools.make_demo_photo import PHOTO
from tools.server import ComfyServer, Result

SHEET = host.CACHE / "demo" / "contact_sheet.jpg"
WORKFLOW = "Demo - runs without a download"
TILE = 420


def variant(prompt: dict[str, Any], preset: str, steps: int | None = None) -> dict[str, Any]:
    """The demo's prompt with another preset, and with its latent saved for the comparison."""
    changed = copy.deepcopy(prompt)
    changed[workflow.find(changed, "HiLoModelPatch")]["inputs"]["preset"] = preset
    sampler = workflow.find(changed, "KSampler")
    if steps:
        changed[sampler]["inputs"]["steps"] = steps
    changed["latent"] = {
        "class_type": "SaveLatent",
        "inputs": {"samples": [sampler, 0], "filename_prefix": f"demo_{preset}"},
    }
    changed["shown"] = {
        "class_type": "PreviewImage",
        "inputs": {"images": [workflow.find(changed, "HiLoTokenSelect"), 1]},
    }
    return changed


def latent_of(server: ComfyServer, result: Result) -> torch.Tensor:
    """The latent that a run saved."""
    (file,) = result.outputs["latent"]["latents"]
    return load_file(server.output(file["filename"], file["subfolder"]))["latent_tensor"]


def picture_of(server: ComfyServer, prompt: dict[str, Any], result: Result) -> Image.Image:
    """The picture that a run saved."""
    (file,) = result.outputs[workflow.find(prompt, "SaveImage")]["images"]
    return Image.open(server.output(file["filename"], file["subfolder"])).convert("RGB")


def preview_of(result: Result) -> Image.Image:
    """The token map that a run showed."""
    (file,) = result.outputs["shown"]["images"]
    return Image.open(host.server_folder() / "temp" / "temp" / file["filename"]).convert("RGB")


def contact_sheet(tiles: list[tuple[str, Image.Image]]) -> Image.Image:
    """Tiles in two rows of three, each with its title."""
    bar = 34
    sheet = Image.new("RGB", (3 * TILE + 4 * 8, 2 * (TILE + bar) + 3 * 8), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for number, (title, picture) in enumerate(tiles):
        x, y = 8 + number % 3 * (TILE + 8), 8 + number // 3 * (TILE + bar + 8)
        pen.text((x + 2, y + 6), title, fill="black", font=font)
        sheet.paste(picture.resize((TILE, TILE), Image.Resampling.LANCZOS), (x, y + bar))
    return sheet


def difference(a: Image.Image, b: Image.Image, gain: int = 10) -> Image.Image:
    """|a - b|, so many times."""
    delta = np.abs(np.asarray(a, dtype=np.int16) - np.asarray(b, dtype=np.int16)) * gain
    return Image.fromarray(delta.clip(0, 255).astype(np.uint8))


def kept_tokens(server: ComfyServer) -> tuple[int, int]:
    """Tokens of the last compressed run, from the host's log."""
    line = [line for line in server.log_lines() if "HiLo-Token:" in line and " tokens (" in line][-1]
    words = line.split(" tokens (")[0].split()
    return int(words[-3]), int(words[-1])


def main() -> None:
    """Run both, compare, write the sheet; the last line is JSON."""
    with ComfyServer() as server:
        prompt = workflow.to_api(workflow.load(WORKFLOW), server.object_info())
        sampler = workflow.find(prompt, "KSampler")
        server.queue(variant(prompt, "off", steps=1))  # loads the weights, so that neither run pays for it
        dense_run = server.queue(variant(prompt, "off"))
        hilo_run = server.queue(variant(prompt, "balanced"))
        dense, hilo = latent_of(server, dense_run), latent_of(server, hilo_run)
        pictures = picture_of(server, prompt, dense_run), picture_of(server, prompt, hilo_run)
        tokens = preview_of(hilo_run)
        kept, total = kept_tokens(server)
    photo = Image.open(PHOTO)
    source, mask = photo.convert("RGB"), ImageOps.invert(photo.getchannel("A"))
    size = dense.shape[-2:]
    soft = torch.nn.functional.interpolate(
        torch.from_numpy(np.asarray(mask) / 255.0)[None, None].float(), size=size, mode="bilinear"
    )
    outside = float((dense - hilo).abs()[(soft == 0).expand_as(dense)].max())
    dense_s, hilo_s = dense_run.seconds[sampler], hilo_run.seconds[sampler]
    SHEET.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(
        [
            ("source", source),
            (f"mask, {100 * float((np.asarray(mask) > 0).mean()):.1f} %", mask.convert("RGB")),
            (f"{kept} of {total} tokens", tokens),
            ("dense", pictures[0]),
            ("HiLo-Token", pictures[1]),
            ("difference, 10 times", difference(*pictures)),
        ]
    ).save(SHEET, quality=80)
    result = {
        "dense_s": round(dense_s, 3),
        "hilo_s": round(hilo_s, 3),
        "speedup": round(dense_s / hilo_s, 2),
        "kept_tokens": kept,
        "total_tokens": total,
        "outside_max_diff": outside,
        "sheet": str(SHEET.relative_to(Path.cwd()) if SHEET.is_relative_to(Path.cwd()) else SHEET),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
