"""Workflow files: from the form that the front end saves to the form that the server runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools import host

FOLDER = host.ROOT / "example_workflows"
_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
_SEED_MODES = ("fixed", "increment", "decrement", "randomize")


def load(name: str) -> dict[str, Any]:
    """An example workflow, as saved."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def _is_widget(spec: list[Any]) -> bool:
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    return (isinstance(kind, list) or kind in _WIDGETS) and not options.get("forceInput")


def to_api(workflow: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """API form: {node id: {class_type, inputs}}. info: the server's object_info, for names and order of widgets."""
    links = {link[0]: (str(link[1]), link[2]) for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        kind = node["type"]
        if kind in ("Note", "MarkdownNote"):
            continue
        if kind not in info:
            raise KeyError(f"Node {kind} is not installed.")
        specs = {**info[kind]["input"].get("required", {}), **info[kind]["input"].get("optional", {})}
        values, inputs = list(node.get("widgets_values") or []), {}
        for name, spec in specs.items():
            if not _is_widget(spec) or not values:
                continue
            inputs[name] = values.pop(0)
            options = spec[1] if len(spec) > 1 else {}
            after_seed = options.get("control_after_generate") or name in ("seed", "noise_seed")
            if values and after_seed and values[0] in _SEED_MODES:
                values.pop(0)
        for slot in node.get("inputs", []):
            if slot.get("link") is not None:
                inputs[slot["name"]] = list(links[slot["link"]])
        prompt[str(node["id"])] = {"class_type": kind, "inputs": inputs}
    return prompt


def find(prompt: dict[str, Any], kind: str) -> str:
    """The id of the only node of a class."""
    (number,) = (key for key, node in prompt.items() if node["class_type"] == kind)
    return number


def save(name: str, workflow: dict[str, Any]) -> Path:
    """Write an example workflow."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(workflow, indent=1) + "\n", encoding="utf-8")
    return path
