"""What the registry ships is small and works by itself, without the folders that `.comfyignore` leaves out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from tools import host
from tools.archive import shipped

MOST = 18 * 2**20  # bytes, of which the demo's weights are most
WEIGHTS = {"demo/hilo_demo_dit.safetensors", "demo/hilo_demo_vae.safetensors"}
SMOKE = """
import asyncio, importlib.util, sys
sys.path.insert(0, {root!r})
from tools import host
from tools.archive import shipped
host.prepare()
import torch
spec = importlib.util.spec_from_file_location("shipped", {init!r}, submodule_search_locations=[{folder!r}])
pack = sys.modules["shipped"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
nodes = asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())
dilate = next(node for node in nodes if node.define_schema().node_id == "HiLoMaskDilate")
mask = torch.zeros(1, 64, 64)
mask[:, 24:40, 24:40] = 1
values = {{i.id: i.default for i in dilate.define_schema().inputs if i.id != "mask"}}
clean, dilated = dilate.execute(mask=mask, **values).args
assert torch.equal(clean, mask) and dilated.sum() > mask.sum()
assert not [name for name in sys.modules if name.split(".")[0] == "lab"]
assert len(nodes) == 9
demo = next(node for node in nodes if node.define_schema().node_id == "HiLoDemoModel")
model, conditioning, vae = demo.execute().args
assert model.model.diffusion_model is not None and vae.decode(torch.zeros(1, 16, 8, 8)).shape == (1, 64, 64, 3)
"""


@pytest.fixture
def pack(tmp_path):
    """The shipped files, alone in a folder."""
    for name in shipped():
        target = tmp_path / "hilo" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(host.ROOT / name, target)
    return tmp_path / "hilo"


def test_what_ships_is_small():
    names = shipped()
    assert {"__init__.py", "pyproject.toml", "LICENSE", "README.md", "requirements.txt"} <= set(names)
    assert {name for name in names if name.endswith((".safetensors", ".pt", ".ckpt"))} == WEIGHTS
    assert sum((host.ROOT / name).stat().st_size for name in set(names) - WEIGHTS) < 3 * 2**20
    assert sum((host.ROOT / name).stat().st_size for name in names) < MOST


def test_what_ships_works_alone(pack):
    script = SMOKE.format(root=str(host.ROOT), init=str(pack / "__init__.py"), folder=str(pack))
    asked = subprocess.run([sys.executable, "-c", script], cwd=pack, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr[-2000:]


def test_what_ships_links_to_what_ships():
    """A page that is left out is linked by its full address."""
    names = set(shipped())
    for name in (one for one in names if one.endswith(".md")):
        text = (host.ROOT / name).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r"(?:src|href)=\"([^\"#]+)", text)
        for link in (one for one in links if "://" not in one):
            path = (host.ROOT / name).parent.joinpath(link).resolve().relative_to(host.ROOT).as_posix()
            assert path in names or any(other.startswith(f"{path}/") for other in names), f"{name} links to {link}"


def test_no_installer_replaces_the_users_torch():
    """Beside an older or a CUDA build a bound would make pip put another one over it."""
    lines = (host.ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    project = (host.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^dependencies = \[(.*?)\]", project, re.MULTILINE)
    wanted = [Requirement(line) for line in lines if line.strip()]
    assert [str(one) for one in wanted] == re.findall(r'"([^"]+)"', listed)
    assert not [str(one) for one in wanted if one.name in {"torch", "numpy"} and str(one.specifier)]


def test_actions_are_pinned():
    """A tag can be moved; the publishing action is given the registry's token."""
    for path in (host.ROOT / ".github" / "workflows").glob("*.yml"):
        used = re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
        assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one) for one in used), path.name
