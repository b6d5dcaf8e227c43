"""Masks as users draw them: strokes, boxes, blobs."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

KINDS = ("stroke", "box", "object")


def draw(rng: np.random.Generator, height: int, width: int, ratio: float, kind: str | None = None) -> np.ndarray:
    """(height, width) bool with about this share of True, in one or a few pieces."""
    kind = kind or str(rng.choice(KINDS))
    picture = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(picture)
    goal, mask = ratio * height * width, np.zeros((height, width), dtype=bool)
    for _ in range(40):
        missing = goal - mask.sum()
        if missing < 0.08 * goal:
            break
        side = float(np.sqrt(missing)) * rng.uniform(0.6, 0.95)
        x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
        if kind == "box":
            w, h = side * rng.uniform(0.6, 1.5), side * rng.uniform(0.6, 1.5)
            pen.rectangle((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=255)
        elif kind == "stroke":
            thick, angle = max(side / 3, 6), rng.uniform(0, 2 * np.pi)
            for _ in range(int(rng.integers(2, 6))):
                angle += rng.normal(0, 0.6)
                x2, y2 = x + np.cos(angle) * side * 0.6, y + np.sin(angle) * side * 0.6
                pen.line((x, y, x2, y2), fill=255, width=int(thick))
                pen.ellipse((x2 - thick / 2, y2 - thick / 2, x2 + thick / 2, y2 + thick / 2), fill=255)
                x, y = x2, y2
        else:
            turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            wobble = np.convolve(rng.uniform(0.6, 1.2, 26), np.ones(3) / 3, mode="valid") * side * 0.56
            pen.polygon(list(zip(x + np.cos(turns) * wobble, y + np.sin(turns) * wobble, strict=True)), fill=255)
        mask = np.asarray(picture) > 0
    return mask
