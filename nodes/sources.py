"""Pictures and masks for the live preview: from the host's own folders, or remembered from a run."""

from __future__ import annotations

import base64
import os
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from threading import Lock
from typing import Any

import folder_paths
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..hilo_core.cost import ModelShape
from ..hilo_core.frequency import detail, luma
from ..hilo_core.mask import clean_mask, mask_to_tokens

MOST_PIXELS = 40_000_000
MOST_BYTES = 100_000_000
THUMBNAIL = 512
REMEMBERED = 8
ASSUMED = "FLUX.1"  # the family of `ModelShape`'s defaults, where no run has told another
CHANNELS = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}


class Hint(Exception):
    """Why there is no map, as a code that the front end words, with facts for the wording."""

    def __init__(self, code: str, **facts: str) -> None:
        super().__init__(code)
        self.code, self.facts = code, facts


@dataclass
class Source:
    """One picture with its mask, reduced to what a preview needs."""

    light: Tensor  # (1, 1, H, W) uint8
    edit: Tensor  # (rows, columns) bool
    thumbnail: str  # JPEG, base64
    shape: ModelShape = field(default_factory=ModelShape)
    family: str = ASSUMED  # whose shape it is
    scores: dict[str, Tensor] = field(default_factory=dict)

    def detail(self, score: str) -> Tensor:
        """Detail of each token, computed once for each way to score."""
        if score not in self.scores:
            self.scores[score] = detail(self.light.float() / 255, *self.edit.shape, score)
        return self.scores[score]


_recent: OrderedDict[str, Source] = OrderedDict()
_lock = Lock()


def remember(image: Tensor, edit: Tensor, shape: ModelShape, family: str = ASSUMED) -> str:
    """Keep an executed picture for the preview; returns the key that the front end asks with."""
    key, rgb = secrets.token_hex(8), image[..., :3].detach().cpu()
    picture = Image.fromarray((rgb[0] * 255).clamp(0, 255).byte().numpy())
    source = Source(_light(luma(rgb[:1])), edit, _jpeg(picture), shape, family)
    with _lock:
        _recent[key] = source
        while len(_recent) > REMEMBERED:
            _recent.popitem(last=False)
    return key


def remembered(key: str) -> Source:
    """What `remember` kept; a Hint after a restart, or when too much came after it."""
    with _lock:
        if key not in _recent:
            raise Hint("forgotten")
        _recent.move_to_end(key)
        return _recent[key]


def from_files(image: str, mask: str, channel: str, size: int = 16) -> Source:
    """Read what the host's LoadImage and LoadImageMask would. channel: alpha (inverted, as there) or a colour."""
    paths = find(image), find(mask)
    stamps = tuple(os.stat(path).st_mtime_ns for path in paths)
    return _read(*paths, stamps, channel, size)


def find(name: str) -> str:
    """The file of an annotated name ("a.png", "sub/a.png [temp]"), only inside the host's own folders."""
    folders = folder_paths.get_input_directory(), folder_paths.get_temp_directory(), folder_paths.get_output_directory()
    try:
        path = os.path.realpath(folder_paths.get_annotated_filepath(name))
        inside = any(_within(path, os.path.realpath(folder)) for folder in folders)
        if not inside or not os.path.isfile(path):
            raise Hint("missing")
    except (ValueError, OSError) as error:
        raise Hint("missing") from error
    if os.path.getsize(path) > MOST_BYTES:
        raise Hint("huge")
    return path


def _within(path: str, folder: str) -> bool:
    try:
        return os.path.commonpath((path, folder)) == folder
    except ValueError:  # another drive
        return False


@lru_cache(maxsize=REMEMBERED)
def _read(image: str, mask: str, _stamps: tuple[int, ...], channel: str, size: int) -> Source:
    picture = _open(image)
    hole = _hole(picture if mask == image else _open(mask), channel)
    if hole.shape != (picture.height, picture.width):
        given, wanted = f"{hole.shape[1]}x{hole.shape[0]}", f"{picture.width}x{picture.height}"
        raise Hint("mask_size", mask=given, picture=wanted)
    rgb = picture.convert("RGB")
    pixels = torch.from_numpy(np.asarray(rgb, dtype=np.float32) / 255)[None]
    rows, columns = -(-picture.height // size), -(-picture.width // size)
    clean = clean_mask(torch.from_numpy(hole)[None], fill_holes=False)
    return Source(_light(luma(pixels)), mask_to_tokens(clean, rows, columns, size), _jpeg(rgb))


def _open(path: str) -> Image.Image:
    try:
        picture = Image.open(path)
        if picture.width * picture.height > MOST_PIXELS:
            raise Hint("huge")
        return ImageOps.exif_transpose(picture)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise Hint("missing") from error


def _hole(picture: Image.Image, channel: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(H, W) in 0..1, 1 where the picture is to change."""
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if channel == "alpha" and "A" not in picture.getbands():
        raise Hint("no_mask")
    if channel != "alpha":
        picture = picture.convert("RGB")
    values = np.asarray(picture.getchannel(CHANNELS[channel]), dtype=np.float32) / 255
    return 1 - values if channel == "alpha" else values


def _light(values: Tensor) -> Tensor:
    return (values * 255).round().clamp(0, 255).byte()


def _jpeg(picture: Image.Image) -> str:
    small, out = picture.copy(), BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.save(out, "JPEG", quality=85)
    return base64.b64encode(out.getvalue()).decode()
