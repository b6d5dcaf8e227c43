"""Pictures drawn by rule: skies, walls, stripes, tiles, shapes, text, mirror symmetry. Seeded, so repeatable."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

KINDS = ("sky", "wall", "stripes", "tiles", "shapes", "text", "mirror", "texture")


def _colour(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0, 255, 3)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) between two or three colours along a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size] / size
    t = x * np.cos(angle) + y * np.sin(angle)
    t = (t - t.min()) / (np.ptp(t) + 1e-9)
    stops = np.stack([_colour(rng) for _ in range(3)])
    return np.stack([np.interp(t, [0, 0.5, 1], stops[:, c]) for c in range(3)], axis=-1)


def _smooth_noise(rng: np.random.Generator, size: int, octaves: int = 4) -> np.ndarray:
    """(size, size) in 0..1, a sum of upsampled noises."""
    total = np.zeros((size, size))
    for octave in range(octaves):
        small = rng.uniform(0, 255, (2 ** (octave + 2), 2 ** (octave + 2))).astype(np.uint8)
        large = Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)
        total += np.asarray(large, dtype=np.float64) / 255 / 2**octave
    return (total - total.min()) / np.ptp(total)


def draw(seed: int, size: int = 512, kind: str | None = None) -> np.ndarray:
    """One scene, (size, size, 3) uint8."""
    rng = np.random.default_rng(seed)
    kind = kind or KINDS[seed % len(KINDS)]
    base = _gradient(rng, size)
    if kind == "sky":
        cloud = _smooth_noise(rng, size, 5)[..., None] ** 2
        base = base * (1 - cloud) + 245 * cloud
        horizon = int(size * rng.uniform(0.5, 0.9))
        ground = _colour(rng) * (0.6 + 0.4 * _smooth_noise(rng, size, 6)[..., None])
        base[horizon:] = ground[horizon:]
    elif kind == "texture":
        grain = _smooth_noise(rng, size, 7)[..., None]
        base = base * (0.5 + 0.5 * grain)
    elif kind == "stripes":
        angle, period = rng.uniform(0, np.pi), rng.uniform(size / 32, size / 6)
        y, x = np.mgrid[0:size, 0:size]
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
        on = (wave > rng.uniform(-0.5, 0.5))[..., None]
        base = np.where(on, base, _gradient(rng, size))
    picture = Image.fromarray(base.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    if kind in ("wall", "tiles"):
        h = int(rng.integers(size // 24, size // 6))
        w = h if kind == "tiles" else h * 2
        line = max(1, h // 12)
        for row, top in enumerate(range(0, size, h)):
            shift = 0 if kind == "tiles" else (row % 2) * w // 2
            for left in range(-shift, size, w):
                shade = np.asarray(base[min(top, size - 1), min(max(left, 0), size - 1)]) * rng.uniform(0.7, 1.1)
                if kind == "tiles" and (row + (left + shift) // w) % 2:
                    shade = 255 - shade
                pen.rectangle((left + line, top + line, left + w, top + h), fill=tuple(shade.clip(0, 255).astype(int)))
    elif kind in ("shapes", "mirror"):
        for _ in range(int(rng.integers(4, 14))):
            x, y, r = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(size / 30, size / 4)
            fill = tuple(_colour(rng).astype(int))
            if rng.random() < 0.4:
                pen.ellipse((x - r, y - r * rng.uniform(0.4, 1), x + r, y + r), fill=fill)
            elif rng.random() < 0.5:
                pen.polygon([tuple(rng.uniform(-r, r, 2) + np.array((x, y))) for _ in range(4)], fill=fill)
            else:
                pen.line((x, y, rng.uniform(0, size), rng.uniform(0, size)), fill=fill, width=int(rng.integers(2, 14)))
        if kind == "mirror":
            picture.paste(
                picture.crop((0, 0, size // 2, size)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), (size - size // 2, 0)
            )
    elif kind == "text":
        font = ImageFont.load_default(int(rng.integers(size // 24, size // 8)))
        word = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVXYZ "), 24))
        ink = tuple(_colour(rng).astype(int))
        step = font.size * 1.3
        for row in range(int(size / step) + 1):
            pen.text((-rng.uniform(0, size / 4), row * step), word, fill=ink, font=font)
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2))))
    return np.asarray(picture)
