"""Pictures and masks for the live preview: from the host's own folders, or remembered from a run."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field, replace
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
from ..tokens import TokenSize, details, first_picture
from .steps import CHANNELS, MOST_PIXELS, Steps, files

MOST_BYTES = 100_000_000  # of a file
MOST_KEPT = 8_000_000  # bytes of what is kept of pictures, for runs and for files each
THUMBNAIL = 512
ASSUMED = "FLUX.1"  # the family of `ModelShape`'s defaults, where no run has told another


class Hint(Exception):
    """Why there is no map, as a code that the front end words, with facts for the wording."""

    def __init__(self, code: str, **facts: str) -> None:
        super().__init__(code)
        self.code, self.facts = code, facts


@dataclass(frozen=True)
class Source:
    """One picture with its mask, reduced to what a map needs: a few bytes for each token, no pixels but a thumbnail's."""

    light: Tensor  # ((T,) rows, columns): detail of the brightness in each token
    edit: Tensor  # ((T,) rows, columns) bool
    size: tuple[int, int]  # width and height, in px, of what the latent holds of the picture
    thumbnail: str  # of the same, JPEG, base64
    tokens: TokenSize = field(default_factory=TokenSize)
    shape: ModelShape = field(default_factory=ModelShape)
    family: str = ASSUMED  # whose shape it is
    model: str = ""  # its identity, where a run has told it

    @property
    def frame(self) -> int:
        """The latent frame that is shown."""
        return shown_frame(self.edit)

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

    image: (B, H, W, 3) in 0..1; of a clip the latent frame with most of the edit is shown. light: its `details`, if they
    are known. model: the identity of the model.
    """
    key = secrets.token_hex(8)
    _recent.keep(key, _source(image, edit, tokens or TokenSize(), shape, family, light, model))
    return key


def _source(
    image: Tensor,
    edit: Tensor,
    tokens: TokenSize,
    shape: ModelShape,
    family: str = ASSUMED,
    light: Tensor | None = None,
    model: str = "",
) -> Source:
    y, x = tokens.inside(*image.shape[1:3])
    picture = Image.fromarray(
        (image[first_picture(shown_frame(edit)), y, x, :3].detach().cpu().float() * 255)
        .round()
        .clamp(0, 255)
        .byte()
        .numpy()
    )
    if light is None:
        light = details(tokens.whole(image[..., :3]), edit.shape)
    return Source(light, edit, picture.size, _jpeg(picture), tokens, shape, family, model)


def shown_frame(edit: Tensor) -> int:
    """The latent frame of a clip that has most of the edit; 0 of a picture."""
    return int(edit.flatten(-2).sum(-1).argmax())


def remembered(key: str) -> Source:
    """What `remember` kept; a Hint after a restart, or when too much came after it."""
    found = _recent.find(key)
    if found is None:
        raise Hint("forgotten")
    return found


def followed(image: dict[str, Any], mask: dict[str, Any], like: Source | None) -> Source:
    """What the nodes behind two inputs make of their files. image, mask: steps (`steps.py`). like: the source of a run,
    whose model the tokens and the speed-up are for. A Hint says why there is no map; NotFollowed: a run would tell."""
    tokens = like.tokens if like else TokenSize()
    paths = {name: find(name) for step in (image, mask) for name in files(step)}
    try:
        stamps = tuple(os.stat(path).st_mtime_ns for path in paths.values())
    except OSError as error:
        raise Hint("missing") from error
    key = (json.dumps([image, mask], sort_keys=True), *paths.values(), *stamps, tokens)
    found = _files.find(key)
    if found is None:
        steps = Steps(lambda node, name, channel: _read(paths[name], node, channel))
        found = _planned(steps.make(image), steps.make(mask), tokens)
        _files.keep(key, found)
    return replace(found, shape=like.shape, family=like.family, model=like.model) if like else found


def _planned(image: Tensor, hole: Tensor, tokens: TokenSize) -> Source:
    """A picture and its mask in tokens."""
    if not bool(is_edited(hole).any()):
        raise Hint("no_mask")
    if hole.shape[1:] != image.shape[1:3]:
        given, wanted = (f"{width}x{height}" for height, width in (hole.shape[1:], image.shape[1:3]))
        raise Hint("mask_size", mask=given, picture=wanted)
    return _source(image, tokens.edit(hole), tokens, ModelShape())


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


def _read(path: str, node: str, channel: str) -> tuple[Tensor, ...]:
    """What the host's Load Image makes of a file, picture and mask, or its Load Image (as Mask), a mask."""
    try:
        picture = _open(path)
        if node != "LoadImage":
            return (_hole(picture, channel),)
        pixels = torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32) / 255)[None]
        return pixels, _hole(picture, "alpha")
    except Hint:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise Hint("huge") from error
    except Exception as error:  # of a damaged file Pillow's readers raise anything: SyntaxError, RuntimeError, ...
        raise Hint("missing") from error


def _open(path: str) -> Image.Image:
    """A picture the right way up, with its pixels read, through the host's own way round what Pillow cannot read."""
    picture = node_helpers.pillow(Image.open, path)
    if picture.width * picture.height > MOST_PIXELS:
        raise Hint("huge")
    node_helpers.pillow(lambda opened: opened.load(), picture)
    picture = node_helpers.pillow(ImageOps.exif_transpose, picture)
    return picture.point(lambda value: value * (1 / 255)) if picture.mode == "I" else picture


def _hole(picture: Image.Image, channel: str) -> Tensor:
    """(1, H, W) in 0..1, 1 where the picture is to change; where the file has no alpha, the host's 64x64 of nothing."""
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if channel == "alpha" and "A" not in picture.getbands():
        return torch.zeros(1, 64, 64)
    if channel != "alpha":
        picture = picture.convert("RGB")
    values = torch.from_numpy(np.asarray(picture.getchannel(CHANNELS[channel]), dtype=np.float32) / 255)[None]
    return 1 - values if channel == "alpha" else values


def _jpeg(picture: Image.Image) -> str:
    small, out = picture.copy(), BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.save(out, "JPEG", quality=85)
    return base64.b64encode(out.getvalue()).decode()
