"""The drawing in ARCHITECTURE.md is the import graph, no import runs back up, and the method is explained."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest

from tools import host

PACK = ("nodes", "comfy_bridge", "hilo_core")
AROUND = ("lab", "tools", "tests")
PATHS = {name: sorted((host.ROOT / name).rglob("*.py")) for name in (*PACK, *AROUND)}
METHOD = [*PATHS["hilo_core"], *PATHS["comfy_bridge"]]
STANDARD = {"torch", "numpy", "scipy", *sys.stdlib_module_names}


def imported(path):
    """Modules that a file's import statements name, from the root of the pack."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = list(path.relative_to(host.ROOT).parent.parts)
            base = start[: len(start) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])]).removeprefix("hilo_token.")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def module_of(path):
    """The name of a file's module, from the root of the pack."""
    return ".".join(path.relative_to(host.ROOT).with_suffix("").parts).removesuffix(".__init__")


def folders(layer):
    """The other folders that the files of one import."""
    found = {name.split(".")[0] for path in PATHS[layer] for name in imported(path)}
    return (found & {*PACK, *AROUND}) - {layer}


def test_drawing_is_the_import_graph():
    text = (host.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    (drawing,) = re.findall(r"<!-- layers -->\n```\n(.*?)```\n<!-- end -->", text, re.DOTALL)
    arrows = dict(line.split("-->") for line in drawing.splitlines())
    drawn = {k.strip(): {name.strip() for name in v.split(",") if name.strip()} for k, v in arrows.items()}
    assert drawn == {name: folders(name) for name in drawn} and set(PACK) < set(drawn)


def test_no_folder_imports_one_that_imports_it():
    names = [*PACK, "lab", "tools"]
    list(TopologicalSorter({name: folders(name) for name in names}).static_order())


@pytest.mark.parametrize("layer", ["hilo_core", "comfy_bridge", "nodes"])
def test_no_file_imports_one_that_imports_it(layer):
    """A circle of files has no reading order."""
    modules = {module_of(path): path for path in PATHS[layer]}
    arrows = {}
    for name, path in modules.items():
        asked = [one if one in modules else one.rsplit(".", 1)[0] for one in imported(path)]
        arrows[name] = {one for one in asked if one in modules and one != name}
    packages = {name for name, path in modules.items() if path.stem == "__init__"}
    list(TopologicalSorter({name: other - packages for name, other in arrows.items()}).static_order())


def test_the_method_works_without_comfyui():
    """In a process of its own, where only what it may use can be found."""
    for path in PATHS["hilo_core"]:
        assert {name.split(".")[0] for name in imported(path)} <= STANDARD | {"hilo_core"}, path
    names = [module_of(path) for path in PATHS["hilo_core"]]
    script = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\n"
    script += "assert not {'comfy', 'comfy_api', 'PIL'} & {name.split('.')[0] for name in sys.modules}"
    subprocess.run([sys.executable, "-c", script], cwd=host.ROOT, check=True, env={"PATH": ""})


@pytest.mark.parametrize("path", METHOD, ids=lambda p: p.relative_to(host.ROOT).as_posix())
def test_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    public = [
        n for scope in (tree, *classes) for n in scope.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    missing = [n.name for n in [*public, *classes] if not n.name.startswith("_") and not ast.get_docstring(n)]
    assert ast.get_docstring(tree) and not missing, missing


@pytest.mark.parametrize("layer", [*PACK, *AROUND])
def test_files_are_short(layer):
    long = {p.name: n for p in PATHS[layer] if (n := len(p.read_text(encoding="utf-8").splitlines())) > 300}
    assert not long, "over 300 lines: divide by subject"
