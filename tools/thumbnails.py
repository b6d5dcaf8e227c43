"""Thumbnails of the examples: photo, tokens and gain; `python -m tools.thumbnails` makes the demo's, from a run."""

from __future__ import annotations

import numpy as np
import torch
from hilo_token.hilo_core.cost import ModelShape
from hilo_token.hilo_core.frequency import SCORES, detail, luma
from hilo_token.hilo_core.mask import mask_to_tokens
from hilo_token.hilo_core.plan import make_plan
from hilo_token.hilo_core.presets import preset
from hilo_token.hilo_core.render import token_map
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tools import demo, host, workflow
from tools.make_demo_photo import PHOTO
from tools.server import ComfyServer

SIDE, BAR, TOKEN, WIDE = 512, 76, 16, 448
SMALL = {"quality": 33, "optimize": True, "progressive": True}  # how a JPEG is saved: about 10 KB
PAINTED = (230, 60, 60)
PHOTOS = ("coffee", "demo", "rocket")  # of lab/photos, in turn
BOXES = ((0.36, 0.20, 0.66, 0.62), (0.54, 0.62, 0.82, 0.92), (0.62, 0.18, 0.86, 0.60))  # left, top, right, bottom


def mask_in(box: tuple[float, float, float, float]) -> Image.Image:
    """An ellipse, of a thumbnail's size."""
    mask = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(mask).ellipse([round(SIDE * side) for side in box], fill=255)
    return mask


def painted(photo: Image.Image, mask: Image.Image) -> Image.Image:
    """The mask over the photo, as the mask editor shows it."""
    red = Image.blend(photo, Image.new("RGB", photo.size, PAINTED), 0.65)
    return Image.composite(red, photo, mask)


def planned(photo: Image.Image, mask: Image.Image) -> tuple[Image.Image, float, float]:
    """(tokens of `balanced` over the photo, share that is computed, predicted speed-up of a FLUX.1 step at 1024 px)."""
    large = 2 * SIDE
    pixels = torch.from_numpy(np.asarray(photo.resize((large, large)), dtype=np.float32) / 255)
    edited = torch.from_numpy(np.asarray(mask.resize((large, large))) > 127)[None]
    tokens = large // TOKEN
    score = detail(luma(pixels[None]), tokens, tokens, SCORES[0])
    plan = make_plan(mask_to_tokens(edited, tokens, tokens, TOKEN), score, preset("balanced").tokens)
    drawn = (token_map(pixels, plan, 0.45) * 255).byte().numpy()
    speed = ModelShape().speedup(plan.count, plan.total)
    return Image.fromarray(drawn).resize((SIDE, SIDE), Image.Resampling.LANCZOS), plan.count / plan.total, speed


def side_by_side(title: str, words: str, *pictures: Image.Image) -> Image.Image:
    """Pictures of one height in a row, and two lines below them."""
    canvas = Image.new("RGB", (sum(picture.width for picture in pictures), SIDE + BAR), "#1e1e1e")
    left = 0
    for picture in pictures:
        canvas.paste(picture.convert("RGB"), (left, 0))
        left += picture.width
    pen = ImageDraw.Draw(canvas)
    pen.text((16, SIDE + 8), title, fill="white", font=ImageFont.load_default(30))
    pen.text((16, SIDE + 44), words, fill="#9fe0b4", font=ImageFont.load_default(24))
    return canvas.resize((WIDE, round(canvas.height * WIDE / canvas.width)), Image.Resampling.LANCZOS)


def draw(name: str, number: int) -> Image.Image:
    """The thumbnail of an example that cannot be run here: a photo with a mask, and the tokens of its preset."""
    which = number % len(PHOTOS)
    photo = Image.open(host.ROOT / "lab" / "photos" / f"{PHOTOS[which]}.jpg").convert("RGB")
    photo, mask = ImageOps.fit(photo, (SIDE, SIDE)), mask_in(BOXES[which])
    tokens, share, speed = planned(photo, mask)
    words = f"{share:.0%} of the picture computed: about {speed:.1f}x faster"
    return side_by_side(name, words, painted(photo, mask), tokens)


def draw_demo(after: Image.Image) -> Image.Image:
    """The demo's thumbnail: photo with mask, tokens, and the result of a run; of each the right part."""
    given = Image.open(PHOTO)
    photo = given.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    mask = ImageOps.invert(given.getchannel("A")).resize((SIDE, SIDE))
    tokens, share, _ = planned(photo, mask)
    pictures = painted(photo, mask), tokens, after.convert("RGB").resize((SIDE, SIDE))
    cut = [picture.crop((SIDE // 3, 0, SIDE, SIDE)) for picture in pictures]
    return side_by_side(demo.WORKFLOW, f"{share:.0%} of the picture computed", *cut)


def main() -> None:
    """Run the demo and write its thumbnail."""
    with ComfyServer() as server:
        prompt = workflow.to_api(workflow.load(demo.WORKFLOW), server.object_info())
        after = demo.picture_of(server, prompt, server.queue(prompt))
    draw_demo(after).save(workflow.FOLDER / f"{demo.WORKFLOW}.jpg", **SMALL)


if __name__ == "__main__":
    main()
