"""Picture and mask as the nodes between their files and HiLo Token Select make them: asked of these nodes' own classes.

A step is an entry of the host's prompts with the steps it needs inside: `{"node", "slot", "inputs"}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

import nodes as host_nodes

from ...hilo_core.errors import HiLoError

LOADERS = ("LoadImage", "LoadImageMask")
CHANNELS = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}
# nodes that only compute, by id, with the method to ask; None: the one that the host calls
FOLLOWED: dict[str, str | None] = {
    **dict.fromkeys(("GrowMask", "InvertMask", "FeatherMask", "ThresholdMask", "CropMask", "MaskComposite")),
    **dict.fromkeys(("MaskToImage", "ImageToMask", "ImageScale", "ImageScaleBy", "ImageScaleToTotalPixels")),
    **dict.fromkeys(("ImageScaleToMaxDimension", "ResizeImageMaskNode", "FluxKontextImageScale", "HiLoFit")),
    "HiLoMaskDilate": "masks",
}
SIDES = ("width", "height", "largest_size", "longer_size", "shorter_size")
FACTORS = ("scale_by", "multiplier")
MOST_STEPS = 20
MOST_PIXELS = 40_000_000  # of a picture
MOST_WORK = 200_000_000  # pixels that a mask's growth goes over, some seconds


class NotFollowed(Exception):
    """What a step makes cannot be told without a run."""


def files(step: dict[str, Any]) -> Iterator[str]:
    """The names of all files that a step needs."""
    if step["node"] in LOADERS:
        yield step["inputs"]["image"]
    for one in step["inputs"].values():
        if isinstance(one, dict):
            yield from files(one)


def is_step(asked: Any, depth: int = MOST_STEPS) -> bool:
    """Whether this is a step, with all that it needs."""
    good = isinstance(asked, dict) and isinstance(asked.get("node"), str) and isinstance(asked.get("inputs"), dict)
    if not good or not isinstance(asked.get("slot"), int) or depth == 0:
        return False
    if asked["node"] in LOADERS:
        name, channel = asked["inputs"].get("image"), asked["inputs"].get("channel", "alpha")
        return isinstance(name, str) and isinstance(channel, str) and channel in CHANNELS
    return all(is_step(one, depth - 1) for one in asked["inputs"].values() if isinstance(one, dict))


class Steps:
    """What steps make, each asked once. load: (node, name of a file, channel) to what that loader makes of it."""

    def __init__(self, load: Callable[[str, str, str], tuple[Tensor, ...]]) -> None:
        self._load = load
        self._made: dict[str, tuple[Any, ...]] = {}

    def make(self, step: dict[str, Any]) -> Tensor:
        """(B, H, W, 3) or (B, H, W). NotFollowed where it takes a run to know; HiLoError of a node of this pack."""
        key = json.dumps([step["node"], step["inputs"]], sort_keys=True)
        if key not in self._made:
            given = {name: self.make(one) if isinstance(one, dict) else one for name, one in step["inputs"].items()}
            if step["node"] in LOADERS:
                self._made[key] = self._load(step["node"], given["image"], given.get("channel", "alpha"))
            else:
                self._made[key] = _ask(step["node"], given)
        made = self._made[key]
        found = made[step["slot"]] if 0 <= step["slot"] < len(made) else None
        if not isinstance(found, Tensor):
            raise NotFollowed(step["node"])
        return found


def _ask(name: str, given: dict[str, Any]) -> tuple[Any, ...]:
    """What a node makes of its inputs."""
    kind = host_nodes.NODE_CLASS_MAPPINGS.get(name) if name in FOLLOWED else None
    try:
        if kind is None or _too_much(given):
            raise NotFollowed(name)
        with torch.inference_mode():
            found = getattr(kind(), FOLLOWED[name] or kind.FUNCTION)(**_nested(given))
    except (HiLoError, NotFollowed):
        raise
    except Exception as error:  # a value that the host would have refused, of which each class raises what it likes
        raise NotFollowed(name) from error
    return tuple(found.args if isinstance(found, io.NodeOutput) else found)


def _too_much(given: dict[str, Any]) -> bool:
    """Whether a node would make, or go over, more pixels than a preview is worth."""
    pictures = [one for one in given.values() if isinstance(one, Tensor)]
    numbers = {name.split(".")[-1]: one for name, one in given.items() if isinstance(one, int | float)}
    height, width = max((one.shape[1:3] for one in pictures), key=lambda sides: sides[0] * sides[1])
    side = max((numbers.get(name, 0) for name in SIDES), default=0)
    factor = max((numbers.get(name, 0) for name in FACTORS), default=0)
    made = max(side**2 * max(height / width, width / height), height * width * factor**2)
    made = max(made, numbers.get("megapixels", 0) * 2**20)
    return made > MOST_PIXELS or height * width * abs(numbers.get("expand", 0)) > MOST_WORK


def _nested(given: dict[str, Any]) -> dict[str, Any]:
    """Inputs of a choice that brings its own ("resize_type.width") in one dictionary with it, as the host hands them on."""
    flat = {name: one for name, one in given.items() if "." not in name}
    for name, one in given.items():
        outer, _, inner = name.partition(".")
        if inner:
            if not isinstance(flat.get(outer), dict):
                flat[outer] = {outer: flat.get(outer)}
            flat[outer][inner] = one
    return flat
