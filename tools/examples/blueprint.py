"""The reusable subgraph "Generative Fill (HiLo)": picture, mask and prompt in, picture out."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from tools import host
from tools.examples.base import Example
from tools.examples.fill import chain

NAME = "Generative Fill (HiLo)"
FILE: Path = host.ROOT / "subgraphs" / f"{NAME}.json"  # the front end shows the file's name
INSIDE, OUTSIDE = -10, -20  # the front end's numbers for a subgraph's inputs and outputs
SHOWN = (("HiLoModelPatch", "preset"), ("KSampler", "seed"), ("KSampler", "steps"))  # widgets on the outside


def _identity(name: str) -> str:
    """Always the same for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"hilo-token/{name}"))


def blueprint(info: dict[str, Any]) -> dict[str, Any]:
    """The file's content. info: the server's object_info."""
    g = Example(info)
    photo, encode, save = chain(g)
    by_kind = {node["type"]: node["id"] for node in g.nodes}
    nodes = [n for n in g.nodes if n not in (photo, save) and n["type"] != "MarkdownNote"]
    links = [dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link, strict=True))
             for link in g.links]  # fmt: skip
    for link in links:
        if link["origin_id"] == photo["id"]:  # slots 0 and 1: picture and mask
            link["origin_id"] = INSIDE
        if link["target_id"] == save["id"]:
            link["target_id"], link["target_slot"] = OUTSIDE, 0
    prompt = len(links) + 1
    encode["inputs"].append({"name": "text", "type": "STRING", "widget": {"name": "text"}, "link": prompt})
    slot = len(encode["inputs"]) - 1
    links.append({"id": prompt, "origin_id": INSIDE, "origin_slot": 2, "target_id": encode["id"], "target_slot": slot,
                  "type": "STRING"})  # fmt: skip

    def ends(key: str, end: int, number: int) -> list[int]:
        return [link["id"] for link in links if link[f"{key}_id"] == end and link[f"{key}_slot"] == number]

    inputs = [{"id": _identity(name), "name": name, "type": kind, "linkIds": ends("origin", INSIDE, number), "pos": [-60, 20 + 20 * number]}
              for number, (name, kind) in enumerate((("image", "IMAGE"), ("mask", "MASK"), ("prompt", "STRING")))]  # fmt: skip
    outputs = [{"id": _identity("out"), "name": "image", "type": "IMAGE", "linkIds": ends("target", OUTSIDE, 0), "pos": [2000, 20]}]  # fmt: skip
    state = {"lastGroupId": 0, "lastNodeId": len(g.nodes), "lastLinkId": len(links), "lastRerouteId": 0}
    definition = {
        "id": _identity(NAME), "version": 1, "state": state, "revision": 0, "config": {}, "name": NAME,
        "inputNode": {"id": INSIDE, "bounding": [-180, 0, 120, 100]}, "outputNode": {"id": OUTSIDE, "bounding": [2000, 0, 120, 60]},
        "inputs": inputs, "outputs": outputs, "widgets": [], "nodes": nodes, "groups": [], "links": links, "extra": {},
    }  # fmt: skip
    outer = {
        "id": 1, "type": definition["id"], "pos": [0, 0], "size": [340, 200], "flags": {}, "order": 0, "mode": 0,
        "inputs": [{"name": i["name"], "type": i["type"], "link": None} | ({"widget": {"name": "prompt"}} if i["type"] == "STRING" else {})
                   for i in inputs],
        "outputs": [{"name": "image", "type": "IMAGE", "links": []}], "title": NAME,
        "properties": {"proxyWidgets": [["-1", "prompt"], *([str(by_kind[kind]), widget] for kind, widget in SHOWN)]},
        "widgets_values": [],
    }  # fmt: skip
    return {
        "revision": 0, "last_node_id": 1, "last_link_id": 0, "nodes": [outer], "links": [], "version": 0.4,
        "definitions": {"subgraphs": [definition]},
        "extra": {"BlueprintDescription": "Fills the mask from a prompt with FLUX.1 Fill, at the cost of the edit."},
    }  # fmt: skip


def write(info: dict[str, Any]) -> None:
    """Into `subgraphs/`."""
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(blueprint(info), indent=1) + "\n", encoding="utf-8")
