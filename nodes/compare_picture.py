"""The picture of a difference: made stronger, named, and with a frame around the place that differs most."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAIN = 8  # how much stronger a difference is shown
FRAME = (255, 80, 80)


def draw_difference(picture: Tensor, other: Tensor, worst: tuple[int, int, int, int] | None, label: str) -> Tensor:
    """(B, H, W, 3) in 0..1 from two of them. worst: top, left, bottom, right, in pixels; None: no frame."""
    drawn = []
    for item in ((picture - other).abs() * GAIN).clamp(0, 1):
        canvas = Image.fromarray((item * 255).round().byte().numpy())
        pen, width = ImageDraw.Draw(canvas), max(1, canvas.width // 256)
        if worst is not None:
            top, left, bottom, right = worst
            pen.rectangle(
                (left - width, top - width, right + width - 1, bottom + width - 1), outline=FRAME, width=width
            )
        if canvas.width >= 128:  # a smaller one has no room for words
            font = ImageFont.load_default(max(10, canvas.width // 40))
            box = pen.textbbox((0, 0), label, font=font)
            pen.rectangle((0, 0, box[2] + 12, box[3] + 8), fill="black")
            pen.text((6, 3), label, fill="white", font=font)
        drawn.append(torch.from_numpy(np.asarray(canvas, dtype=np.float32) / 255))
    return torch.stack(drawn)
