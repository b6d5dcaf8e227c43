"""What is shipped is Python 3.10, light to import, and has what the registry asks for."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest
import tomllib
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tools import host
from tools.pack import load_pack

ROOT = host.ROOT
FOLDERS = ("hilo_core", "comfy_bridge", "nodes")
SHIPPED = [ROOT / "__init__.py", *(p for name in FOLDERS for p in sorted((ROOT / name).rglob("*.py")))]
MEASURE = """
import importlib, json, pkgutil, sys
from tools import host
host.prepare()
import comfy.sample, comfy.sd, latent_preview, comfy_api.latest, numpy, scipy.ndimage, aiohttp.web  # are there
import folder_paths, PIL.Image, nodes as loader_of_packs
from tools.pack import load_pack
before = {name.split(".")[0] for name in sys.modules}
nodes = load_pack("nodes")
for found in pkgutil.walk_packages(nodes.__path__, f"{nodes.__name__}."):
    importlib.import_module(found.name)
after = {name.split(".")[0] for name in sys.modules}
print(json.dumps(sorted(after - before - set(sys.stdlib_module_names))))
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.relative_to(host.ROOT).as_posix())
def test_is_python_3_10(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


def test_import_is_light():
    """Nothing beyond what the host has loaded anyway: the pack must not slow its start."""
    asked = subprocess.run([sys.executable, "-c", MEASURE], cwd=host.ROOT, capture_output=True, text=True, check=True)
    assert set(json.loads(asked.stdout.splitlines()[-1])) <= {"hilo_token"}


def test_registry_metadata():
    """What the registry reads from pyproject.toml; pictures are linked by address and lie in this repository."""
    project = tomllib.loads((host.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    comfy = project["tool"]["comfy"]
    assert comfy["PublisherId"] and comfy["DisplayName"] == "HiLo-Token"
    for key in ("Icon", "Banner"):
        assert (host.ROOT / "assets" / comfy[key].rsplit("/", 1)[1]).exists()
    pack = load_pack()
    assert SpecifierSet(comfy["requires-comfyui"]).contains(".".join(map(str, pack.NEEDED)))
    assert Version(project["project"]["version"])
