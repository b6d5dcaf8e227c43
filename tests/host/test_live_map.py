"""The picture as tokens: as the host's VAE crops it, in the model's token size, in the nodes and in the live map."""

from __future__ import annotations

import base64
import importlib
import inspect
import io
import os

import comfy.sd
import folder_paths
import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

import nodes as host_nodes
from tools.pack import load_pack

from .cases import case, patcher
from .models import SMALL, flux

SIZES = [(321, 328), (320, 321), (327, 335), (40, 63), (8, 15), (1032, 24), (329, 340)]


@pytest.fixture(scope="module")
def tokens():
    return load_pack("nodes.tokens")


@pytest.fixture(scope="module")
def sources():
    return load_pack("nodes.preview.sources")


@pytest.fixture(scope="module")
def preview():
    schema = load_pack("nodes.token_select").HiLoTokenSelect.define_schema()
    return lambda asked: load_pack("nodes.preview.route").preview({"values": {}} | asked, schema)


@pytest.fixture(scope="module")
def select():
    return load_pack("nodes.token_select").HiLoTokenSelect


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The host's input folder, empty."""
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda *_: str(tmp_path))
    return tmp_path


class Cropper:
    """As much of the host's VAE as its own crop needs."""

    crop_input, output_channels, pad_channel_value = True, 3, None

    def __init__(self, ratio):
        self.ratio = ratio

    def spacial_compression_encode(self):
        return self.ratio


def cropped(image, ratio):
    """What the host's VAE Encode sees of a picture."""
    return comfy.sd.VAE.vae_encode_crop_pixels(Cropper(ratio), image)


@pytest.mark.parametrize(("ratio", "patch"), [(8, 2), (16, 1), (8, 1), (32, 1), (16, 2)])
def test_tokens_are_those_of_the_encoded_picture(tokens, ratio, patch):
    """Every side up to two tokens: the same pixels, as many tokens as the latent has, the edit where it is."""
    size = tokens.TokenSize(ratio, patch)
    for height in range(ratio, 2 * ratio * patch + 2, 3):
        width = height + 5
        image = torch.rand(1, height, width, 3)
        seen, whole = cropped(image, ratio), size.whole(image)
        rows, columns = -(-seen.shape[1] // (ratio * patch)), -(-seen.shape[2] // (ratio * patch))
        assert whole.shape[1:3] == (rows * size.pixels, columns * size.pixels)
        assert torch.equal(whole[:, : seen.shape[1], : seen.shape[2]], seen)
        assert torch.equal(whole[:, -1], whole[:, seen.shape[1] - 1]), "the border is repeated"
        where = int(torch.randint(0, seen[0, ..., 0].numel(), ()))
        y, x = divmod(where, seen.shape[2])
        mask = torch.zeros(1, height, width)
        inside = mask[0][size.inside(height, width)]
        inside[y, x] = 1
        edit = size.edit(mask)
        assert edit.shape == (rows, columns) and edit.nonzero().tolist() == [[y // size.pixels, x // size.pixels]]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_plan_fits_the_sampler(select, height, width):
    """Pictures that VAE Encode crops, through the host's sampler, with nothing but the plan and the noise mask."""
    torch.manual_seed(3)
    image, mask = torch.rand(1, height, width, 3), torch.zeros(1, height, width)
    mask[:, height // 4 : height // 2, width // 4 : width // 2 + 1] = 1
    plan, shown, _ = select.execute(image, mask, "balanced", 0.0).args
    rows, columns = height // 8, width // 8
    assert plan.edit.shape == (-(-rows // 2), -(-columns // 2)) and shown.shape == image.shape
    work = case(SMALL[0], rows, columns, edit=(rows // 4, rows // 2 + 1, columns // 4, columns // 2 + 1))
    patched = load_pack("nodes.model_patch").HiLoModelPatch.execute(patcher(flux()), "balanced", plan=plan).args[0]
    assert torch.isfinite(work.sample(patched, steps=2)).all()


def test_the_model_tells_the_size(select, tokens):
    """16 px of FLUX.1's latents are 8 * 2; another model's size, other tokens."""
    image, mask = torch.rand(1, 328, 328, 3), torch.zeros(1, 328, 328)
    mask[:, 100:150, 100:150] = 1
    assert select.execute(image, mask, "balanced", 0.0).args[0].edit.shape == (21, 21)
    assert select.execute(image, mask, "balanced", 0.0, model=patcher(flux())).args[0].edit.shape == (21, 21)

    class Family:
        def patch_size(self, network):
            return 1

        def token_pixels(self, model):
            return 32

    class Model:
        diffusion_model = None

    size = tokens.TokenSize.of(Family(), Model())
    assert size.edit(mask).shape == (10, 10) and size.pixels == 32


def test_the_plan_has_the_detail_of_the_picture(select, tokens):
    """The run makes the plan again from it."""
    frequency = load_pack("hilo_core.frequency")
    image, mask = torch.rand(1, 328, 321, 3), torch.zeros(1, 328, 321)
    mask[:, 100:150, 100:150] = 1
    whole = tokens.TokenSize().whole(image)
    request = select.execute(image, mask, "balanced", 0.0).args[0]
    wanted = frequency.detail(frequency.luma(whole), *request.edit.shape, request.settings.score)
    assert torch.equal(request.detail, wanted)


def test_what_cannot_be_sampled_is_said(select):
    with pytest.raises(ValueError, match="needs 8 px a side"):
        select.execute(torch.rand(1, 7, 64, 3), torch.ones(1, 7, 64), "balanced", 0.0)
    mask = torch.zeros(1, 71, 64)
    mask[:, -1] = 1
    with pytest.raises(ValueError, match="Only the border that VAE Encode crops off is painted"):
        select.execute(torch.rand(1, 71, 64, 3), mask, "balanced", 0.0)


def saved(place, height, width, top=0.3):
    """A picture and a mask of that size in the host's input folder."""
    noise = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(place / "picture.png")
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[int(top * height) : int(top * height) + height // 4, width // 3 : width // 2] = 255
    Image.fromarray(mask).save(place / "mask.png")
    return {"image": step("LoadImage", image="picture.png"), "mask": painted("mask.png")}


def step(node, slot=0, **inputs):
    """How the front end names a node: with its widgets, and the steps behind its links."""
    return {"node": node, "slot": slot, "inputs": inputs}


def painted(name):
    return step("LoadImageMask", image=name, channel="red")


@pytest.mark.parametrize(("ratio", "patch"), [(8, 2), (32, 1), (16, 2), (16, 1)])
def test_live_map_has_the_tokens_of_the_run(place, tokens, sources, preview, ratio, patch):
    """The map of the files, asked with the key of a run, is the executed one: HunyuanImage 2.1 and Wan 2.2 5B too."""
    asked, size = saved(place, 327, 395), tokens.TokenSize(ratio, patch)
    image = host_nodes.LoadImage().load_image("picture.png")[0]
    mask = host_nodes.LoadImageMask()
    mask = getattr(mask, mask.FUNCTION)("mask.png", "red")[0]
    edit = size.edit(mask)
    key = sources.remember(image, edit, load_pack("hilo_core.cost").ModelShape(), "a model", size)
    for values in ({"context": "none", "detail": 9.0}, {"margin": 48}, {"speedup": 3.0}):
        executed, live = (preview(wanted | {"values": values}) for wanted in ({"key": key}, asked | {"run": key}))
        assert live["kinds"] == executed["kinds"], values
    assert (live["rows"], live["columns"]) == tuple(edit.shape) == (executed["rows"], executed["columns"])
    assert live["token"] == ratio * patch and live["size"] == executed["size"]
    assert live["kinds"] == executed["kinds"] and live["family"] == executed["family"] == "a model"


def test_what_the_host_reads_has_a_map(place, preview):
    """Cut short, or with more text than Pillow likes: opened as the host opens it."""
    picture = Image.radial_gradient("L").convert("RGBA")
    picture.putalpha(Image.linear_gradient("L"))

    def file(kind, **options):
        out = io.BytesIO()
        picture.convert("RGB" if kind == "JPEG" else "RGBA").save(out, kind, **options)
        return out.getvalue()

    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 1_500_000, zip=True)
    for data in (file("PNG"), file("PNG", pnginfo=text), file("PNG")[:-3000]):
        (place / "a.png").write_bytes(data)
        os.utime(place / "a.png", ns=(len(data), len(data)))
        assert (
            preview({"image": step("LoadImage", image="a.png"), "mask": step("LoadImage", 1, image="a.png")})["rows"]
            == 16
        )
    (place / "a.jpg").write_bytes(file("JPEG")[:-1500])
    assert preview({"image": step("LoadImage", image="a.jpg"), "mask": painted("a.jpg")})["rows"] == 16


@pytest.mark.parametrize("error", [SyntaxError, RuntimeError, ValueError, KeyError, OSError, EOFError, IndexError])
@pytest.mark.parametrize("where", ["open", "load", "convert"])
def test_whatever_pillow_raises_is_a_missing_picture(place, preview, monkeypatch, error, where):
    asked = saved(place, 64, 64)

    def fail(*_, **__):
        raise error("damaged")

    monkeypatch.setattr(Image, "open", fail) if where == "open" else monkeypatch.setattr(Image.Image, where, fail)
    if where == "load":
        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(load_pack("nodes.preview.sources").Hint, match="missing"):
        preview(asked)


@pytest.mark.parametrize(("name", "number"), [("isfile", 1), ("getsize", 1), ("getsize", 2), ("realpath", 1)])
def test_a_file_that_goes_away_is_a_missing_picture(place, preview, monkeypatch, name, number):
    asked, original, left = saved(place, 64, 64), getattr(os.path, name), [number]

    def last(path, *args, **kwargs):
        answer = original(path, *args, **kwargs)
        left[0] -= 1
        if not left[0]:
            for file in place.iterdir():
                file.unlink()
        return answer

    monkeypatch.setattr(os.path, name, last)
    with pytest.raises(load_pack("nodes.preview.sources").Hint, match="missing"):
        preview(asked)


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "a\0b", "a.png [nowhere]", "", ".", "x" * 5000, "link.png", "\ud800"]
)
def test_no_other_file_is_opened(place, preview, monkeypatch, tmp_path_factory, name):
    secret = tmp_path_factory.mktemp("other") / "secret.png"
    Image.new("RGB", (64, 64)).save(secret)
    (place / "link.png").symlink_to(secret)
    asked, opened, original = saved(place, 64, 64), [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, *rest: opened.append(path) or original(path, *rest))
    for changed in ({"image": step("LoadImage", image=name)}, {"mask": painted(name)}):
        with pytest.raises(load_pack("nodes.preview.sources").Hint, match="missing"):
            preview(asked | changed)
    assert not opened
    assert preview(asked)["rows"] == 4 and len(opened) == 2


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


def test_nothing_painted_before_sizes(place, preview):
    asked = saved(place, 64, 64)
    Image.new("L", (32, 32), 10).save(place / "mask.png")  # 10 of 255 is near-black
    with pytest.raises(load_pack("nodes.preview.sources").Hint, match="no_mask"):
        preview(asked)
    Image.new("L", (32, 32), 255).save(place / "mask.png")
    with pytest.raises(load_pack("nodes.preview.sources").Hint, match="mask_size"):
        preview(asked)


def test_what_is_kept_is_bounded(sources, tokens, monkeypatch):
    """In bytes, whatever the pictures' size; the newest is kept in any case, the oldest go first."""
    shape = load_pack("hilo_core.cost").ModelShape()
    recent = sources.Recent()
    monkeypatch.setattr(sources, "_recent", recent)
    assert sources.MOST_KEPT < 2**24
    monkeypatch.setattr(sources, "MOST_KEPT", 200_000)

    def run(side):
        image = torch.rand(1, side, side, 3)
        return sources.remember(image, torch.ones(side // 16, side // 16, dtype=torch.bool), shape)

    keys = [run(128) for _ in range(60)]
    held = [one.light.nbytes + one.edit.nbytes + len(one.thumbnail) for one in recent.values()]
    assert sum(held) == sum(one.nbytes for one in recent.values()) <= 200_000
    assert keys[-1] in recent and keys[0] not in recent and len(recent) > 8
    sources.remembered(keys[-len(recent)])  # asked for, so no longer the oldest
    oldest, second = keys[-len(recent)], keys[-len(recent) + 1]
    while second in recent:
        run(128)
    assert oldest in recent
    key = run(2048)
    assert list(recent) == [key] and recent[key].nbytes < 2048 * 2048 / 4, "the newest alone; no pixels of it"
    assert list(recent) != [run(2048)] == list(recent)
