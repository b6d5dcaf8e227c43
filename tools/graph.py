"""Writes a workflow file as the front end would save it, from a few lines for each node."""

from __future__ import annotations

from typing import Any

from tools.workflow import _is_widget


class Graph:
    """Nodes, links and groups of one workflow."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []
        self.groups: list[dict[str, Any]] = []

    def add(
        self,
        kind: str,
        at: tuple[int, int],
        widgets: list[Any] | dict[str, Any] | None = None,
        title: str = "",
        size: tuple[int, int] = (315, 120),
        models: list[dict[str, str]] | None = None,
        **wires: tuple[dict[str, Any], str],
    ) -> dict[str, Any]:
        """A node. widgets: values in the node's own order, or those that are not the default, by name. models: what
        the front end offers to download. wires: input name = (node, output name)."""
        spec = self.info[kind]
        inputs = {**spec["input"].get("required", {}), **spec["input"].get("optional", {})}
        unknown = set(wires) - set(inputs)
        if unknown:
            raise KeyError(f"{kind} has no input {sorted(unknown)}; it has {list(inputs)}")
        node: dict[str, Any] = {
            "id": len(self.nodes) + 1,
            "type": kind,
            "pos": list(at),
            "size": list(size),
            "flags": {},
            "order": len(self.nodes),
            "mode": 0,
            "inputs": [
                {"name": n, "type": s[0] if isinstance(s[0], str) else "COMBO", "link": None}
                | ({"widget": {"name": n}} if _is_widget(s) else {})
                for n, s in inputs.items()
                if not _is_widget(s) or n in wires
            ],
            "outputs": [
                {"name": n, "type": t if isinstance(t, str) else "COMBO", "links": []}
                for n, t in zip(spec["output_name"], spec["output"], strict=True)
            ],
            "properties": {"Node name for S&R": kind} | ({"models": models} if models else {}),
            "widgets_values": widgets if isinstance(widgets, list) else self._values(inputs, widgets or {}),
        }
        if title:
            node["title"] = title
        self.nodes.append(node)
        for name, (source, output) in wires.items():
            self._wire(source, output, node, name)
        return node

    @staticmethod
    def _values(inputs: dict[str, Any], given: dict[str, Any]) -> list[Any]:
        """Widget values in the node's order; a seed is followed by what happens to it after a run, and
        upload buttons come last."""
        unknown, values, buttons = set(given) - set(inputs), [], []
        if unknown:
            raise KeyError(f"No widget {sorted(unknown)} among {list(inputs)}")
        for name, spec in inputs.items():
            if not _is_widget(spec):
                continue
            options = spec[1] if len(spec) > 1 else {}
            choices = spec[0] if isinstance(spec[0], list) else options.get("options", [])
            values.append(given.get(name, options.get("default", choices[0] if choices else None)))
            if options.get("control_after_generate"):
                values.append("fixed")
            if options.get("image_upload"):
                buttons.append("image")
        return values + buttons

    def _wire(self, source: dict[str, Any], output: str, target: dict[str, Any], name: str) -> None:
        slot = next(i for i, o in enumerate(source["outputs"]) if o["name"] == output)
        place = next(i for i, o in enumerate(target["inputs"]) if o["name"] == name)
        number = len(self.links) + 1
        self.links.append([number, source["id"], slot, target["id"], place, source["outputs"][slot]["type"]])
        source["outputs"][slot]["links"].append(number)
        target["inputs"][place]["link"] = number

    def note(self, at: tuple[int, int], text: str, size: tuple[int, int] = (360, 220)) -> None:
        """A note in Markdown."""
        self.nodes.append(
            {
                "id": len(self.nodes) + 1,
                "type": "MarkdownNote",
                "pos": list(at),
                "size": list(size),
                "flags": {},
                "order": len(self.nodes),
                "mode": 0,
                "inputs": [],
                "outputs": [],
                "properties": {},
                "widgets_values": [text],
            }
        )

    def group(self, title: str, at: tuple[int, int], size: tuple[int, int], colour: str = "#3f789e") -> None:
        """A frame with a title."""
        self.groups.append(
            {
                "id": len(self.groups) + 1,
                "title": title,
                "bounding": [*at, *size],
                "color": colour,
                "font_size": 24,
                "flags": {},
            }
        )

    def workflow(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": self.groups,
            "config": {},
            "extra": {},
            "version": 0.4,
        }
