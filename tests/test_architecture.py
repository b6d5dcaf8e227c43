"""The drawing in ARCHITECTURE.md is the import graph, and every public name of the method is explained."""

from __future__ import annotations

import ast
import re

import pytest

from tools import host

PACK = {"nodes", "hilo_core", "hilo_core.host"}
CORE = sorted((host.ROOT / "hilo_core").rglob("*.py"))


def layer(module: str) -> str:
    """The layer that a module, named from the root, is in; else its first name."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[:2] == ["hilo_core", "host"] else parts[0]


def imported(path, node) -> list[str]:
    """Modules that one import statement names, from the root of the pack."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if not node.level:
        return [node.module]
    start = list(path.relative_to(host.ROOT).parent.parts)
    base = start[: len(start) - node.level + 1] + ([node.module] if node.module else [])
    return [".".join([*base, alias.name]) for alias in node.names]


def graph() -> dict[str, set[str]]:
    """{layer: the other layers it imports}, with lab, tests and tools among those looked for."""
    found: dict[str, set[str]] = {name: set() for name in PACK}
    for path in [*CORE, *sorted((host.ROOT / "nodes").rglob("*.py"))]:
        here = layer(".".join(path.relative_to(host.ROOT).parent.parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found[here] |= {layer(name) for name in imported(path, node)} & (PACK | {"lab", "tests", "tools"})
    return {name: others - {name} for name, others in found.items()}


def test_drawing_is_the_import_graph():
    text = (host.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    (drawing,) = re.findall(r"<!-- layers -->\n```\n(.*?)```\n<!-- end -->", text, re.DOTALL)
    arrows = dict(line.split("-->") for line in drawing.splitlines())
    drawn = {k.strip(): {name.strip() for name in v.split(",") if name.strip()} for k, v in arrows.items()}
    assert drawn == graph()


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.relative_to(host.ROOT).as_posix())
def test_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    public = [
        n for scope in (tree, *classes) for n in scope.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    missing = [n.name for n in [*public, *classes] if not n.name.startswith("_") and not ast.get_docstring(n)]
    assert not missing
