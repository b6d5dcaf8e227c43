"""Example workflows and blueprints through the real server, whole, with small random models for their files."""

from __future__ import annotations

import json

import comfy.supported_models
import numpy as np
import pytest
import torch
from PIL import Image

from tools import host, workflow
from tools.examples.base import MODELS, OWN_TIMESTEP
from tools.examples.blueprint import BLUEPRINTS, INSIDE, OUTSIDE
from tools.examples.blueprint import FOLDER as SUBGRAPHS
from tools.host import ROOT
from tools.make_workflows import WORKFLOWS
from tools.server import ComfyServer

from .graphs import Box, lines, node, pictures
from .test_examples import HAVE_RUN

STAND_INS = ROOT / "tests" / "workflows" / "stand_ins"
PHOTOS = {"hilo_photo.png": (1600, 1200), "hilo_large_photo.png": (4000, 3000)}  # width, height in px
PHOTO, LARGE = PHOTOS
BOX = Box(500, 400, 300, 240)
REACH = 64  # px: more than any workflow's feather and growth of the mask
SINCE = {"anima": "Anima", "krea2": "Krea2", "qwen_image_2.1": "QwenImage21"}  # the host's classes of newer models


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One that has the stand-ins, and the photos with their painted mask."""
    config = tmp_path_factory.mktemp("paths") / "paths.yaml"
    config.write_text(json.dumps({"tests": {"custom_nodes": str(STAND_INS)}}))
    made = [host.folder() / "input" / name for name in PHOTOS]
    try:
        for path, (width, height) in zip(made, PHOTOS.values(), strict=True):
            y, x = np.mgrid[:height, :width]
            alpha = np.full((height, width), 255)
            alpha[BOX.grown(0)] = 0
            channels = 128 + 100 * np.sin(x / 37), 128 + 100 * np.cos(y / 53), (x + y) % 256, alpha
            Image.fromarray(np.stack(channels, -1).astype(np.uint8)).save(path)
        with ComfyServer(arguments=("--extra-model-paths-config", str(config))) as running:
            yield running
    finally:
        for path in made:
            path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def info(server):
    return server.object_info()


def lacking(prompt, info):
    """What this host has not of what a prompt needs; "" if it has all."""
    values = [value for one in prompt.values() for value in one["inputs"].values() if isinstance(value, str)]
    for start, name in SINCE.items():
        if any(value.startswith(start) for value in values) and not hasattr(comfy.supported_models, name):
            return f"no class {name}"
    method = info["FluxKontextMultiReferenceLatentMethod"]["input"]["required"]["reference_latents_method"]
    return f"no method {OWN_TIMESTEP}" if OWN_TIMESTEP in values and OWN_TIMESTEP not in str(method) else ""


def blueprint(name):
    """A blueprint as a workflow: with a photo, a prompt and what saves its picture."""
    saved = json.loads((SUBGRAPHS / f"{name}.json").read_text(encoding="utf-8"))
    (graph,) = saved["definitions"]["subgraphs"]
    photo, words, save = (len(graph["nodes"]) + n for n in range(100, 103))
    links = []
    for link in graph["links"]:
        origin, slot, target = link["origin_id"], link["origin_slot"], link["target_id"]
        if target == OUTSIDE and link["target_slot"]:  # its picture comes first
            continue
        if origin == INSIDE:
            origin, slot = (words, 0) if link["type"] == "STRING" else (photo, slot)
        links.append([link["id"], origin, slot, save if target == OUTSIDE else target, 0, link["type"]])
    (end,) = (link[0] for link in links if link[3] == save)
    around = [
        {"id": photo, "type": "LoadImage", "widgets_values": [PHOTO]},
        {"id": words, "type": "PrimitiveString", "widgets_values": ["a glass vase"]},
        {"id": save, "type": "SaveImage", "widgets_values": ["hilo"], "inputs": [{"name": "images", "link": end}]},
    ]
    return {"nodes": graph["nodes"] + around, "links": links}


def with_stand_ins(prompt, info, photo):
    """The prompt with the stand-ins' loaders, the photo, two steps, and the picture that Masked Decode starts from."""
    for one in prompt.values():
        if set(MODELS) & {value for value in one["inputs"].values() if isinstance(value, str)}:
            one["class_type"] = f"StandIn{one['class_type']}"
            wanted = info[one["class_type"]]["input"]["required"]
            one["inputs"] = {name: one["inputs"][name] for name in wanted}
        if one["class_type"] == "LoadImage":
            one["inputs"]["image"] = photo
        if "steps" in one["inputs"]:
            one["inputs"]["steps"] = 2
    kinds = [one["class_type"] for one in prompt.values()]
    given = next(kind for kind in ("ImagePadForOutpaint", "LoadImage") if kind in kinds)
    place = next(key for key, one in prompt.items() if one["class_type"] == given)
    prompt["original"] = node("SaveImage", images=[place, 0], filename_prefix="hilo_original")
    return prompt


@pytest.mark.parametrize(("name", "photo"), [
    *((name, PHOTO) for name in (*WORKFLOWS, *BLUEPRINTS) if name not in HAVE_RUN),
    ("FLUX.2 klein - masked edit", LARGE),
])  # fmt: skip
def test_it_runs_and_keeps_the_picture(server, info, name, photo):
    """Compressed; the result has the photo's size, whatever the model's, and its pixels outside the edit; not so the
    pictures of HiLo Compare, which are the model's own."""
    prompt = workflow.to_api(workflow.load(name) if name in WORKFLOWS else blueprint(name), info)
    if missing := lacking(prompt, info):
        pytest.skip(f"ComfyUI {host.version()} has {missing}")
    before, width = len(lines(server)), PHOTOS[photo][0]
    prompt = with_stand_ins(prompt, info, photo)
    saved = next(key for key, one in prompt.items() if one["class_type"] == "SaveImage")
    result = server.queue(prompt)
    out, original = (pictures(server, result, key)[0] for key in (saved, "original"))
    assert out.shape == original.shape
    changed = (out != original).any(-1)
    edited, beyond = torch.zeros(2, *changed.shape, dtype=torch.bool)
    if (border := (out.shape[1] - width) // 2) > 0:  # outpainted on the left and on the right
        edited[:, :border] = edited[:, -border:] = True
        beyond[:, border + REACH : -border - REACH] = True
    else:
        edited[BOX.grown(0)] = True
        beyond[:] = True
        beyond[BOX.grown(REACH)] = False
    put_back = any(one["class_type"] == "HiLoMaskedDecode" for one in prompt.values())
    assert not (put_back and bool((changed & beyond).any())) and changed[edited].float().mean().item() > 0.5
    assert any("compressed steps" in line for line in lines(server)[before:]), lines(server)[before:]
