"""The picture as tokens: as the host's VAE crops it, in the model's token size, in the nodes and in the live map."""

from __future__ import annotations

import io
import os

import comfy.sd
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
        clips = False

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
