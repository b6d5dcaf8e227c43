"""What is shipped is Python 3.10, light to import, and has what the registry asks for."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from tools import host

SHIPPED = sorted(
    [host.ROOT / "__init__.py", *(host.ROOT / "hilo_core").rglob("*.py"), *(host.ROOT / "nodes").rglob("*.py")]
)
BUDGET = 0.15  # seconds that the pack adds to the host's start
HEAVY = {"torchvision", "matplotlib", "piq", "kornia", "transformers", "pandas", "sklearn", "cv2", "skimage"}
MEASURE = """
import json, sys, time
sys.path.insert(0, {root!r})
from tools import host
host.prepare()
import comfy.sampler_helpers, comfy_api.latest, numpy, scipy.ndimage, aiohttp.web, folder_paths, PIL.Image  # are there
from tools.pack import NAME, load_pack
before, tries = set(sys.modules), []
for _ in range(5):
    for name in [n for n in sys.modules if n.split(".")[0] == NAME]:
        del sys.modules[name]
    start = time.process_time()
    for name in {nodes!r}:
        load_pack("nodes." + name)
    tries.append(time.process_time() - start)
spent = min(tries)
print(json.dumps([spent, sorted({{name.split(".")[0] for name in set(sys.modules) - before}})]))
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.relative_to(host.ROOT).as_posix())
def test_is_python_3_10(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


def test_import_is_light():
    """In processor time, the least of five, so that other work on the machine does not count."""
    nodes = [path.stem for path in (host.ROOT / "nodes").glob("*.py") if path.stem != "__init__"]
    script = MEASURE.format(root=str(host.ROOT), nodes=nodes)
    asked = subprocess.run([sys.executable, "-c", script], cwd=host.ROOT, capture_output=True, text=True, check=True)
    seconds, modules = json.loads(asked.stdout.splitlines()[-1])
    assert seconds < BUDGET
    assert not HEAVY & set(modules)


def test_registry_metadata():
    text = (host.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for key in ("PublisherId", "DisplayName", "Icon", "Banner", "requires-comfyui", "Repository", "requires-python"):
        assert f"\n{key} = " in text, key
    for line in text.splitlines():
        if line.startswith(("Icon", "Banner")):
            assert (host.ROOT / "assets" / line.rsplit("/", 1)[1].rstrip('"')).exists()
    ignored = (host.ROOT / ".comfyignore").read_text(encoding="utf-8").split()
    assert {"lab/", "tests/", "tools/"} <= set(ignored)
