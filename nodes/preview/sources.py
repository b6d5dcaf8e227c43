"""Pictures and masks for the live preview: from the host's own folders, or remembered from a run."""

from __future__ import annotations

import base64
import os
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from io import BytesIO
from threading import Lock
from typing import Any

import folder_paths
import node_helpers
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ...hilo_core.cost import ModelShape
from ...hilo_core.mask import is_edited
from ..masks import Growth
from ..tokens import TokenSize, details

MOST_PIXELS = 40_000_000
MOST_BYTES = 100_000_000  # of a file
MOST_KEPT = 8_000_000  # bytes of what is kept of pictures, for runs and for files each
THUMBNAIL = 512
ASSUMED = "FLUX.1"  # the family of `ModelShape`'s defaults, where no run has told another
CHANNELS = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}


class Hint(Exception):
    """Why there is no map, as a code that the front end words, with facts for the wording."""

    def __init__(self, code: str, **facts: str) -> None:
        super().__init__(code)
        self.code, self.facts = code, facts


@dataclass(frozen=True)
class Change:
    """HiLo Mask Dilate between the mask's file and HiLo Token Select."""

    growth: Growth
    grown: bool  # its second output, not the first

    def __call__(self, mask: Tensor) -> Tensor:
        """(B, H, W) -> (B, H, W); HiLoError if nothing is left of it."""
        clean = self.growth.clean(mask)
        return self.growth.grown(clean) if self.grown else clean


@dataclass(frozen=True)
class Source:
    """One picture with its mask, reduced to what a map needs: a few bytes for each token, no pixels but a thumbnail's."""

    light: Tensor  # (rows, columns): detail of the brightness in each token
    edit: Tensor  # (rows, columns) bool
    size: tuple[int, int]  # width and height, in px, of what the latent holds of the picture
    thumbnail: str  # of the same, JPEG, base64
    tokens: TokenSize = field(default_factory=TokenSize)
    shape: ModelShape = field(default_factory=ModelShape)
    family: str = ASSUMED  # whose shape it is
    model: str = ""  # its identity, where a run has told it

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.light.nbytes + self.edit.nbytes + len(self.thumbnail)


class Recent(OrderedDict[Any, Source]):
    """The sources that were asked for last, within `MOST_KEPT` bytes; the newest one in any case."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()

    def keep(self, key: Any, source: Source) -> None:
        """Keep one, and forget the oldest that are too much."""
        with self._lock:
            self[key] = source
            while len(self) > 1 and sum(kept.nbytes for kept in self.values()) > MOST_KEPT:
                self.popitem(last=False)

    def find(self, key: Any) -> Source | None:
        """The source of that key, if it is still kept."""
        with self._lock:
            if key in self:
                self.move_to_end(key)
            return self.get(key)


_recent, _files = Recent(), Recent()


def remember(
    image: Tensor,
    edit: Tensor,
    shape: ModelShape,
    family: str = ASSUMED,
    tokens: TokenSize | None = None,
    light: Tensor | None = None,
    model: str = "",
) -> str:
    """Keep of an executed picture what its map needs; returns the key that the front end asks with.

    image: (B, H, W, 3) in 0..1. light: its `details`, if they are known. model: the identity of the model.
    """
    key, tokens = secrets.token_hex(8), tokens or TokenSize()
    y, x = tokens.inside(*image.shape[1:3])
    picture = Image.fromarray((image[0, y, x, :3].detach().cpu().float() * 255).clamp(0, 255).byte().numpy())
    if light is None:
        light = details(tokens.whole(image), *edit.shape)
    _recent.keep(key, Source(light, edit, picture.size, _jpeg(picture), tokens, shape, family, model))
    return key


def remembered(key: str) -> Source:
    """What `remember` kept; a Hint after a restart, or when too much came after it."""
    found = _recent.find(key)
    if found is None:
        raise Hint("forgotten")
    return found


def from_files(
    image: str, mask: str, channel: str, tokens: TokenSize | None = None, change: Change | None = None
) -> Source:
    """Read what the host's LoadImage and LoadImageMask would. channel: alpha (inverted, as there) or a colour.

    tokens: those of the model that the picture is for. change: what a node between makes of the mask. A Hint says why there is no map.
    """
    tokens = tokens or TokenSize()
    paths = find(image), find(mask)
    try:
        stamps = tuple(os.stat(path).st_mtime_ns for path in paths)
    except OSError as error:
        raise Hint("missing") from error
    key = (*paths, *stamps, channel, tokens, change)
    found = _files.find(key)
    if found is None:
        found = _read(*paths, channel, tokens, change)
        _files.keep(key, found)
    return found


def find(name: str) -> str:
    """The file of an annotated name ("a.png", "sub/a.png [temp]"), only inside the host's own folders."""
    folders = folder_paths.get_input_directory(), folder_paths.get_temp_directory(), folder_paths.get_output_directory()
    try:
        path = os.path.realpath(folder_paths.get_annotated_filepath(name))
        inside = any(_within(path, os.path.realpath(folder)) for folder in folders)
        if not inside or not os.path.isfile(path):
            raise Hint("missing")
        if os.path.getsize(path) > MOST_BYTES:
            raise Hint("huge")
    except (ValueError, OSError) as error:
        raise Hint("missing") from error
    return path


def _within(path: str, folder: str) -> bool:
    try:
        return os.path.commonpath((path, folder)) == folder
    except ValueError:  # another drive
        return False


def _read(image: str, mask: str, channel: str, tokens: TokenSize, change: Change | None) -> Source:
    """A picture and its mask from their files, each as the host opens it."""
    try:
        picture = _open(image)
        hole = torch.from_numpy(_hole(picture if mask == image else _open(mask), channel))[None]
        rgb = picture.convert("RGB")
    except Hint:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise Hint("huge") from error
    except Exception as error:  # of a damaged file Pillow's readers raise anything: SyntaxError, RuntimeError, ...
        raise Hint("missing") from error
    if not bool(is_edited(hole).any()):
        raise Hint("no_mask")
    if hole.shape[1:] != (picture.height, picture.width):
        given, wanted = f"{hole.shape[2]}x{hole.shape[1]}", f"{picture.width}x{picture.height}"
        raise Hint("mask_size", mask=given, picture=wanted)
    if change is not None:
        hole = change(hole)
    y, x = tokens.inside(rgb.height, rgb.width)
    edit = tokens.edit(hole)
    pixels = torch.from_numpy(np.asarray(rgb, dtype=np.float32) / 255)[None]
    inside = rgb.crop((x.start, y.start, x.stop, y.stop))
    light = details(tokens.whole(pixels), *edit.shape)
    return Source(light, edit, inside.size, _jpeg(inside), tokens)


def _open(path: str) -> Image.Image:
    """A picture the right way up, with its pixels read, through the host's own way round what Pillow cannot read."""
    picture = node_helpers.pillow(Image.open, path)
    if picture.width * picture.height > MOST_PIXELS:
        raise Hint("huge")
    node_helpers.pillow(lambda opened: opened.load(), picture)
    picture = node_helpers.pillow(ImageOps.exif_transpose, picture)
    return picture.point(lambda value: value * (1 / 255)) if picture.mode == "I" else picture


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


def _jpeg(picture: Image.Image) -> str:
    small, out = picture.copy(), BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.save(out, "JPEG", quality=85)
    return base64.b64encode(out.getvalue()).decode()
