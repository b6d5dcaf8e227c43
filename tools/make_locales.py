"""Writes `locales/en/nodeDefs.json` from the nodes' schemas: `python -m tools.make_locales`. Others are by hand."""

from __future__ import annotations

import json
from typing import Any

from tools import host
from tools.server import ComfyServer

PATH = host.ROOT / "locales" / "en" / "nodeDefs.json"


def entry(info: dict[str, Any]) -> dict[str, Any]:
    """Names and tooltips of one node of object_info, as the front end wants them."""
    specs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    tips = {name: (spec[1] if len(spec) > 1 else {}).get("tooltip", "") for name, spec in specs.items()}
    outputs = zip(info["output_name"], info["output_tooltips"], strict=True)
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": {name: {"name": name.replace("_", " "), "tooltip": tip} for name, tip in tips.items()},
        "outputs": {str(i): {"name": name, "tooltip": tip} for i, (name, tip) in enumerate(outputs)},
    }


def entries(info: dict[str, Any]) -> dict[str, Any]:
    """All nodes of the pack."""
    return {
        name: entry(node) for name, node in sorted(info.items()) if node["python_module"] == "custom_nodes.hilo-token"
    }


def main() -> None:
    """Write the file."""
    with ComfyServer() as server:
        text = json.dumps(entries(server.object_info()), indent=2, ensure_ascii=False)
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
