"""The reusable subgraphs, such as "Generative Fill (HiLo)": picture, mask and prompt in, picture out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tools import host
from tools.examples import compare, edit, fill, noise_mask
from tools.examples.base import Example

FOLDER: Path = host.ROOT / "subgraphs"
INSIDE, OUTSIDE = -10, -20  # the front end's numbers for a subgraph's inputs and outputs
OUTPUTS = {"SaveImage": ("image", "IMAGE"), "PreviewAny": ("verdict", "STRING")}  # by the node that takes it outside
ENDS = ("LoadImage", *OUTPUTS, "MarkdownNote")  # what a subgraph takes the place of, and the note
Shown = tuple[tuple[str, str], ...]  # (node, widget) on the outside


@dataclass(frozen=True)
class Blueprint:
    """One subgraph: picture, mask and prompt in, picture out."""

    make: Callable[[Example], Any]
    shown: Shown
    meaning: str


COMMON: Shown = (("HiLoMaskedDecode", "feather"),)
KSAMPLER: Shown = (("KSampler", "seed"), ("KSampler", "control_after_generate"), ("KSampler", "steps"))
MODEL: Shown = (("UNETLoader", "unet_name"),)
SIZE: Shown = (("HiLoFit", "megapixels"),)
BLUEPRINTS = {  # by the file's name, which the front end shows
    "Generative Fill (HiLo)": Blueprint(
        fill.chain,
        (*MODEL, ("HiLoModelPatch", "preset"), *KSAMPLER, *COMMON),
        "Fills the mask from a prompt with FLUX.1 Fill, at the cost of the edit.",
    ),
    "Fill with Detail (HiLo)": Blueprint(
        partial(fill.chain, detail=True),
        (*MODEL, ("HiLoFit", "edit_size"), ("HiLoModelPatch", "preset"), *KSAMPLER, *COMMON),
        "Fills the mask with FLUX.1 Fill on an enlarged canvas, for more detail than the picture's own size allows.",
    ),
    "Masked Edit, FLUX.2 klein (HiLo)": Blueprint(
        edit.flux2_klein,
        (*MODEL, *SIZE, ("HiLoTokenSelect", "preset"), ("RandomNoise", "noise_seed"), ("RandomNoise", "control_after_generate"),
         ("Flux2Scheduler", "steps"), *COMMON),
        "Changes what is under the mask by an instruction with FLUX.2 klein, at the cost of the edit.",
    ),
    "Masked Edit, Qwen-Image-Edit (HiLo)": Blueprint(
        edit.qwen_2509,
        (*MODEL, *SIZE, ("HiLoModelPatch", "preset"), *KSAMPLER, *COMMON),
        "Changes what is under the mask by an instruction with Qwen-Image-Edit, at the cost of the edit.",
    ),
    "Masked Fill, Z-Image (HiLo)": Blueprint(
        noise_mask.z_image,
        (*MODEL, *SIZE, ("HiLoModelPatch", "preset"), *KSAMPLER, *COMMON),
        "Repaints what is under the mask from a prompt with Z-Image Turbo, at the cost of the edit.",
    ),
    "Compare Presets, FLUX.1 Fill (HiLo)": Blueprint(
        compare.fill_presets,
        (*MODEL, *(("HiLoCompare", name) for name in ("presets", "seed", "control_after_generate", "steps"))),
        "Fills the mask with each preset on the same noise, and says which cannot be told from normal speed on your model.",
    ),
}  # fmt: skip


def _identity(name: str) -> str:
    """Always the same for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"hilo-token/{name}"))


def _prompt(g: Example) -> tuple[dict[str, Any], str]:
    """The node of the prompt, and its widget, emptied."""
    for node in g.nodes:
        for name in ("text", "prompt"):
            if (
                node["type"].startswith(("CLIPTextEncode", "TextEncode"))
                and name in g.info[node["type"]]["input"]["required"]
            ):
                node["widgets_values"] = ["" if isinstance(value, str) else value for value in node["widgets_values"]]
                return node, name
    raise KeyError("no node of a prompt")


def blueprint(info: dict[str, Any], name: str) -> dict[str, Any]:
    """The file's content. info: the server's object_info."""
    g, of = Example(info), BLUEPRINTS[name]
    of.make(g)
    photo = next(node for node in g.nodes if node["type"] == ENDS[0])
    taken = {node["id"]: OUTPUTS[node["type"]] for node in g.nodes if node["type"] in OUTPUTS}
    encode, field = _prompt(g)
    by_kind = {node["type"]: node["id"] for node in g.nodes}
    nodes = [n for n in g.nodes if n["type"] not in ENDS]
    links = [dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link, strict=True))
             for link in g.links]  # fmt: skip
    for link in links:
        if link["origin_id"] == photo["id"]:  # slots 0 and 1: picture and mask
            link["origin_id"] = INSIDE
        if link["target_id"] in taken:
            link["target_id"], link["target_slot"] = OUTSIDE, list(taken).index(link["target_id"])
    prompt = len(links) + 1
    encode["inputs"].append({"name": field, "type": "STRING", "widget": {"name": field}, "link": prompt})
    slot = len(encode["inputs"]) - 1
    links.append({"id": prompt, "origin_id": INSIDE, "origin_slot": 2, "target_id": encode["id"], "target_slot": slot,
                  "type": "STRING"})  # fmt: skip

    def ends(key: str, end: int, number: int) -> list[int]:
        return [link["id"] for link in links if link[f"{key}_id"] == end and link[f"{key}_slot"] == number]

    inputs = [{"id": _identity(label), "name": label, "type": kind, "linkIds": ends("origin", INSIDE, number), "pos": [-60, 20 + 20 * number]}
              for number, (label, kind) in enumerate((("image", "IMAGE"), ("mask", "MASK"), ("prompt", "STRING")))]  # fmt: skip
    outputs = [{"id": _identity("out" if label == "image" else label), "name": label, "type": kind, "linkIds": ends("target", OUTSIDE, number), "pos": [2000, 20 + 20 * number]}
               for number, (label, kind) in enumerate(taken.values())]  # fmt: skip
    state = {"lastGroupId": 0, "lastNodeId": len(g.nodes), "lastLinkId": len(links), "lastRerouteId": 0}
    definition = {
        "id": _identity(name), "version": 1, "state": state, "revision": 0, "config": {}, "name": name,
        "inputNode": {"id": INSIDE, "bounding": [-180, 0, 120, 100]}, "outputNode": {"id": OUTSIDE, "bounding": [2000, 0, 120, 60]},
        "inputs": inputs, "outputs": outputs, "widgets": [], "nodes": nodes, "groups": [], "links": links, "extra": {},
    }  # fmt: skip
    outer = {
        "id": 1, "type": definition["id"], "pos": [0, 0], "size": [340, 200], "flags": {}, "order": 0, "mode": 0,
        "inputs": [{"name": i["name"], "type": i["type"], "link": None} | ({"widget": {"name": "prompt"}} if i["type"] == "STRING" else {})
                   for i in inputs],
        "outputs": [{"name": label, "type": kind, "links": []} for label, kind in taken.values()], "title": name,
        "properties": {"proxyWidgets": [["-1", "prompt"], *([str(by_kind[kind]), widget] for kind, widget in of.shown)]},
        "widgets_values": [],
    }  # fmt: skip
    return {
        "revision": 0, "last_node_id": 1, "last_link_id": 0, "nodes": [outer], "links": [], "version": 0.4,
        "definitions": {"subgraphs": [definition]},
        "extra": {"BlueprintDescription": of.meaning},
    }  # fmt: skip


def write(info: dict[str, Any]) -> None:
    """Into `subgraphs/`."""
    FOLDER.mkdir(exist_ok=True)
    for name in BLUEPRINTS:
        text = json.dumps(blueprint(info, name), indent=1) + "\n"
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
