"""What is shipped opens no connection, runs no foreign code, unpickles nothing and writes no file but its figures."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("hilo_core", "comfy_bridge", "nodes", "demo")
SHIPPED = [ROOT / "__init__.py", *(p for name in FOLDERS for p in sorted((ROOT / name).rglob("*.py")))]

MODULES = {
    "socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "websocket", "websockets", "ftplib",
    "smtplib", "telnetlib", "huggingface_hub", "pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve",
    "subprocess", "ctypes", "multiprocessing", "tempfile", "shutil", "pip", "importlib", "runpy", "code", "pty",
}  # fmt: skip
CALLS = {
    "eval", "exec", "compile", "__import__", "open", "system", "popen", "startfile", "unlink", "rmdir", "rmtree",
    "mkdir", "makedirs", "rename", "write_text", "write_bytes", "tofile", "save", "load", "hub", "download",
}  # fmt: skip
ALLOWED = {
    "nodes/preview/route.py": {"aiohttp"},  # the host's own web server, for the one route
    "nodes/preview/sources.py": {
        "load",
        "save",
    },  # the pixels of a picture that `find` has found; a thumbnail, into memory
    "comfy_bridge/known.py": {
        "write_text"
    },  # the figures of comparisons, in the host's user folder; `tests/host/test_auto.py`
    "nodes/demo_model.py": {"load"},  # the demo's own weights, through the host's safe reader
}  # file -> names that it may use


def read(path):
    """The source."""
    return path.read_text(encoding="utf-8")


def names(path):
    """Modules imported, and names called, as they stand in the source."""
    modules, calls = set(), set()
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call):
            called = node.func
            calls.add(called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", ""))
    return modules, calls


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_shipped_file_is_harmless(path):
    modules, calls = names(path)
    allowed = ALLOWED.get(path.relative_to(ROOT).as_posix(), set())
    assert not (modules & MODULES) - allowed
    assert not (calls & CALLS) - allowed


def test_one_route():
    """One file adds a route, one route, of limited size; tests/browser/test_route.py feeds it bad requests."""
    adding = [
        p for p in SHIPPED if re.search(r"routes\.(get|post|put|patch|delete|view|static)|add_routes?\(\[", read(p))
    ]
    assert [p.name for p in adding] == ["route.py"]
    text = read(adding[0])
    assert len(re.findall(r"@routes\.", text)) == 1 and "MOST_REQUEST" in text


def test_the_check_finds_what_it_looks_for(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import os, pickle\nfrom urllib.request import urlopen\nos.system('x')\neval('1')\n", encoding="utf-8"
    )
    modules, calls = names(bad)
    assert modules & MODULES == {"pickle", "urllib"} and calls & CALLS == {"system", "eval"}
