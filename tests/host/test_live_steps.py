"""The live map behind other nodes is the one of the run behind them: the host's own classes do the arithmetic."""

from __future__ import annotations

import base64
import importlib
import inspect

import pytest
import torch
from PIL import Image

import nodes as host_nodes
from tools.pack import load_pack

from .test_live_map import saved, step

MASK_NODES = {
    "GrowMask": [{"expand": 20, "tapered_corners": True}, {"expand": -12, "tapered_corners": False}],
    "InvertMask": [{}],
    "FeatherMask": [{"left": 400, "top": 320, "right": 9, "bottom": 0}],
    "ThresholdMask": [{"value": 0.4}],
    "HiLoMaskDilate": [{"margin": 48, "mode": "pixels", "drop_specks": 0}],
}
RESIZED = {
    "ImageScale": {"upscale_method": "bilinear", "width": 512, "height": 0, "crop": "disabled"},
    "ImageScaleBy": {"upscale_method": "area", "scale_by": 0.7},
    "ImageScaleToTotalPixels": {"upscale_method": "lanczos", "megapixels": 0.3, "resolution_steps": 16},
    "FluxKontextImageScale": {},
    "ResizeImageMaskNode": {
        "scale_method": "area", "resize_type": "scale dimensions", "resize_type.width": 640,
        "resize_type.height": 272, "resize_type.crop": "center",
    },
}  # fmt: skip


@pytest.fixture
def classes(monkeypatch):
    """The host's table of nodes, as a server fills it."""
    extras = ("nodes_mask", "nodes_post_processing", "nodes_flux")
    found = {"HiLoFit": load_pack("nodes.fit").HiLoFit, "HiLoMaskDilate": load_pack("nodes.mask_dilate").HiLoMaskDilate}
    for name in extras:
        found |= vars(importlib.import_module(f"comfy_extras.{name}"))
    every = [*MASK_NODES, *RESIZED, "HiLoFit", "MaskToImage", "ImageToMask", "ImageScale", "ImageScaleBy"]
    table = {name: found.get(name) or host_nodes.NODE_CLASS_MAPPINGS.get(name) for name in every}
    table = {name: kind for name, kind in table.items() if kind is not None}
    for name, kind in table.items():
        monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, name, kind)
    return table


def ran(classes, asked):
    """A step as the host runs it, with the values that its class knows."""
    if asked["node"] == "LoadImage":
        return host_nodes.LoadImage().load_image(asked["inputs"]["image"])[asked["slot"]]
    kind = classes.get(asked["node"]) or host_nodes.NODE_CLASS_MAPPINGS[asked["node"]]
    given = {name: ran(classes, one) if isinstance(one, dict) else one for name, one in asked["inputs"].items()}
    choice = {name.split(".")[1]: given.pop(name) for name in list(given) if "." in name}
    if choice:
        given["resize_type"] = {"resize_type": given["resize_type"], **choice}
    made = getattr(kind(), kind.FUNCTION)(**given)
    return getattr(made, "args", made)[asked["slot"]]


def same_map(preview, select, classes, image, mask):
    """The live map of two steps is the one of the run behind them; returns it."""
    plan = select.execute(ran(classes, image), ran(classes, mask), "balanced").args[0].plan
    live = preview({"image": image, "mask": mask})
    assert base64.b64decode(live["kinds"]) == render(plan) and live["kept"] == plan.count
    return live


def render(plan):
    return load_pack("hilo_core.render").kind_map(plan)[0].byte().numpy().tobytes()


@pytest.mark.parametrize("name", MASK_NODES)
def test_live_through_mask_nodes(place, preview, select, classes, name):
    """With the node's own widgets; in 0.3.75 and today, whose Feather Masks differ."""
    asked = saved(place, 320, 400)
    if name == "FeatherMask":  # whose work is at the picture's border
        asked["mask"] = step("InvertMask", mask=asked["mask"])
    plain = same_map(preview, select, classes, asked["image"], asked["mask"])
    for widgets in MASK_NODES[name]:
        behind = step(name, mask=asked["mask"], **widgets)
        live = same_map(preview, select, classes, asked["image"], behind)
        assert (live["kinds"] == plain["kinds"]) == (name in ("ThresholdMask", "HiLoMaskDilate")), widgets
    if name == "HiLoMaskDilate":
        behind["slot"] = 1
        assert same_map(preview, select, classes, asked["image"], behind)["kept"] > plain["kept"]
        with pytest.raises(ValueError, match="'margin' is 'x'"):
            preview(asked | {"mask": step(name, mask=asked["mask"], margin="x", mode="pixels")})
        with pytest.raises(ValueError, match="empty after cleaning"):
            preview(asked | {"mask": step(name, mask=asked["mask"], margin=16, mode="pixels", drop_specks=100000)})


@pytest.mark.parametrize("name", RESIZED)
def test_live_through_resized_pictures(place, preview, select, classes, name):
    """Picture and mask, the mask as a picture in between, as in the edit templates."""
    if name not in classes:
        pytest.skip("this host has no such node")
    asked, widgets = saved(place, 320, 401), dict(RESIZED[name])
    input_name = "input" if name == "ResizeImageMaskNode" else "image"
    if (
        name == "ImageScaleToTotalPixels"
        and "resolution_steps" not in inspect.signature(classes[name].execute).parameters
    ):
        del widgets["resolution_steps"]
    image = step(name, **{input_name: asked["image"]}, **widgets)
    drawn = step("MaskToImage", mask=asked["mask"])
    mask = step("ImageToMask", image=step(name, **{input_name: drawn}, **widgets), channel="red")
    live = same_map(preview, select, classes, image, mask)
    assert live["size"] != preview(asked)["size"]


@pytest.mark.parametrize("mode", ["fit", "detail"])
def test_live_through_fit(place, preview, select, classes, mode):
    """Both of its pictures, and a mask that is grown on its canvas."""
    asked = saved(place, 501, 777)
    fit = {"image": asked["image"], "mask": asked["mask"], "mode": mode, "megapixels": 0.2, "edit_size": 256}
    image, mask = step("HiLoFit", 0, **fit), step("HiLoFit", 1, **fit)
    live = same_map(preview, select, classes, image, mask)
    grown = same_map(preview, select, classes, image, step("GrowMask", mask=mask, expand=24, tapered_corners=True))
    assert grown["kept"] > live["kept"] and live["size"] == grown["size"] != (777, 501)


def test_what_takes_a_run(place, preview, sources, classes):
    """Nodes that are not known, values that their class refuses, and what would take too long: as the run left it."""
    asked = saved(place, 320, 400)
    grow = {"mask": asked["mask"], "tapered_corners": True}
    image = torch.rand(1, 64, 96, 3)
    key = sources.remember(image, torch.ones(4, 6, dtype=torch.bool), load_pack("hilo_core.cost").ModelShape())
    for mask in (
        step("Unknown", mask=asked["mask"]),
        step("GrowMask", expand="wide", **grow),
        step("GrowMask", expand=100_000, **grow),
        step("GrowMask", expand=10**400, **grow),
        step("GrowMask", **grow),
        step("GrowMask", 1, expand=2, **grow),
        step("ImageScaleBy", image=asked["image"], upscale_method="area", scale_by=8000.0),
        step("ImageScale", image=asked["image"], upscale_method="area", width=16384, height=0, crop="disabled"),
        step("HiLoFit", 2, image=asked["image"], mask=asked["mask"]),
        step("SolidMask", value=1.0, width=400, height=320),
    ):
        with pytest.raises(sources.Hint, match="not_executed"):
            preview(asked | {"mask": mask})
        assert preview(asked | {"mask": mask, "run": key})["size"] == (96, 64)


def test_an_unpainted_picture_inverted(place, preview, sources, classes):
    """Load Image's 64x64 of nothing becomes 64x64 of all, as in a run."""
    Image.new("RGB", (128, 96)).save(place / "plain.png")
    image, mask = step("LoadImage", image="plain.png"), step("LoadImage", 1, image="plain.png")
    with pytest.raises(sources.Hint, match="no_mask"):
        preview({"image": image, "mask": mask})
    with pytest.raises(sources.Hint, match="mask_size"):
        preview({"image": image, "mask": step("InvertMask", mask=mask)})
    with pytest.raises(ValueError, match="Nothing is painted yet"):
        preview({"image": image, "mask": step("HiLoFit", 1, image=image, mask=mask)})
