"""HiLo Masked Decode with the trained small VAE: the outside bit for bit, the inside as a full decode gives it."""

from __future__ import annotations

import io

import comfy.sd
import comfy.utils
import numpy as np
import pytest
import torch
from hilo_token.hilo_core.decode.composite import blend_weight, distance
from PIL import Image

from tools import host
from tools.pack import load_pack

WEIGHTS = host.ROOT / "demo" / "hilo_demo_vae.safetensors"


@pytest.fixture(scope="module")
def vae():
    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(WEIGHTS)))


@pytest.fixture(scope="module")
def run():
    return load_pack("nodes.masked_decode").HiLoMaskedDecode.execute


@pytest.fixture(scope="module")
def decode(run):
    return lambda *args, **kwargs: run(*args, **kwargs).args[0]


def photo(height, width, batch=1):
    """A uint8 photo as the host's LoadImage gives it."""
    source = Image.open(host.ROOT / "lab" / "photos" / "demo.jpg").convert("RGB").resize((width, height))
    return torch.from_numpy(np.asarray(source).astype(np.float32) / 255.0)[None].repeat(batch, 1, 1, 1)


def through_png(image):
    """Save as the host does (clip to 8 bits), load again."""
    file = io.BytesIO()
    Image.fromarray(np.clip(255.0 * image.numpy(), 0, 255).astype(np.uint8)).save(file, "PNG")
    return np.asarray(Image.open(file))


@pytest.mark.parametrize(
    ("height", "width", "batch", "feather"), [(256, 320, 1, 8), (250, 317, 2, 0), (129, 401, 1, 20)]
)
@pytest.mark.parametrize("shape", ["box", "two", "corner", "soft"])
def test_outside_is_bit_equal_through_a_png(vae, decode, height, width, batch, feather, shape):
    original = photo(height, width, batch)
    mask = torch.zeros(1, height, width)
    if shape == "corner":
        mask[:, :20, -30:] = 1
    elif shape == "soft":
        mask[:, 40:80, 50:90] = torch.linspace(0.01, 1, 40)
    else:
        mask[:, 40:80, 50:90] = 1
    if shape == "two":
        mask[:, -20:, -60:-30] = 1
    latent = torch.randn(batch, 16, height // 8, width // 8)
    out = decode(vae, {"samples": latent}, original, mask, feather=feather)
    assert out.shape == original.shape
    outside = (blend_weight(distance(mask, slice(0, height), slice(0, width), feather), feather) == 0)[0]
    for item in range(batch):
        assert torch.equal(out[item][outside], original[item][outside])
        assert np.array_equal(through_png(out[item])[outside.numpy()], through_png(original[item])[outside.numpy()])
    assert not torch.equal(out[:, ~outside], original[:, ~outside])


def test_inside_is_the_full_decode(vae, decode):
    """Mean difference under 0.5/255, 99.9th percentile under 4/255."""
    original = photo(512, 512)
    mask = torch.zeros(1, 512, 512)
    mask[:, 190:320, 200:330] = 1
    latent = vae.encode(original)
    full = vae.decode(latent)
    out = decode(vae, {"samples": latent}, original, mask, feather=0)
    difference = 255 * (out - full).abs()[mask > 0]
    assert difference.mean().item() < 0.5
    assert difference.flatten().quantile(0.999).item() < 4


def test_cheaper_than_a_full_decode(vae, decode):
    """At a 6.4 % mask of 768x768 px less than 40 % of the latent is decoded."""
    decoded = []

    class Counting:
        spacial_compression_decode = staticmethod(vae.spacial_compression_decode)

        def decode(self, z):
            decoded.append(z.shape[-1] * z.shape[-2])
            return vae.decode(z)

    mask = torch.zeros(1, 768, 768)
    mask[:, 300:494, 300:494] = 1
    decode(Counting(), {"samples": torch.randn(1, 16, 96, 96)}, photo(768, 768), mask)
    assert len(decoded) == 1 and decoded[0] < 96 * 96 / 2.5


def test_empty_mask_returns_the_original(vae, run):
    original = photo(128, 128)
    out, text = run(vae, {"samples": torch.randn(1, 16, 16, 16)}, original, torch.zeros(1, 128, 128)).args
    assert torch.equal(out, original) and out.data_ptr() != original.data_ptr()
    assert text == "Nothing is painted: the original, untouched."


def test_a_latent_with_a_frame_axis(vae, decode):
    """Image models on video VAEs give (B, C, 1, h, w)."""

    class Framed:
        spacial_compression_decode = staticmethod(vae.spacial_compression_decode)

        def decode(self, z):
            return vae.decode(z[:, :, 0])[:, None]

    original, mask, latent = photo(128, 128), torch.zeros(1, 128, 128), torch.randn(1, 16, 16, 16)
    mask[:, 40:80, 40:80] = 1
    flat = decode(vae, {"samples": latent}, original, mask)
    assert torch.equal(decode(Framed(), {"samples": latent[:, :, None]}, original, mask), flat)


def test_the_drift_is_told(vae, run, run_log):
    original = photo(256, 256)
    mask = torch.zeros(1, 256, 256)
    mask[:, 90:150, 100:160] = 1
    latent = vae.encode(original)
    _, text = run(vae, {"samples": latent}, original, mask).args
    full = vae.decode(latent)
    outside = (distance(mask, slice(0, 256), slice(0, 256), 300) > 8)[0]
    said = float(text.split("differs by ")[1].split("/255")[0])
    assert said == pytest.approx(255 * (full - original)[:, outside].abs().amax(-1).mean().item(), rel=0.3)
    assert "the result by 0 (largest 0)" in text and "of the latent decoded" in text
    assert run_log()[-1] == f"HiLo Masked Decode: {text}"


def test_colour_match_undoes_a_cast(vae, decode):
    original = photo(256, 256)
    mask = torch.zeros(1, 256, 256)
    mask[:, 90:150, 100:160] = 1
    latent = vae.encode(original)

    class Cast:
        spacial_compression_decode = staticmethod(vae.spacial_compression_decode)

        def decode(self, z):
            return vae.decode(z) + torch.tensor([0.05, -0.03, 0.02])

    plain, matched = (decode(Cast(), {"samples": latent}, original, mask, match_colour=on) for on in (False, True))
    error = [(out - original)[mask > 0].mean(0).abs().max().item() for out in (plain, matched)]
    assert error[1] < 0.4 * error[0]


@pytest.mark.parametrize(("image", "mask", "latent", "words"), [
    ((1, 128, 128), (1, 128, 120), (1, 16, 16, 16), "Resize the mask"),
    ((1, 128, 128), (1, 128, 128), (1, 16, 20, 16), "160 px along one side"),
    ((3, 128, 128), (1, 128, 128), (2, 16, 16, 16), "3 images for 2 latents"),
    ((1, 128, 128), (1, 128, 128), (1, 16, 5, 16, 16), "5 frames"),
    ((1, 128, 128), (1, 128, 128), (16, 16, 16), r"shape \(16, 16, 16\)"),
])  # fmt: skip
def test_bad_input(vae, decode, image, mask, latent, words):
    with pytest.raises(ValueError, match=words):
        decode(vae, {"samples": torch.zeros(latent)}, torch.rand(*image, 3), torch.ones(mask))


@pytest.mark.parametrize(("name", "words"), [
    ("latent", "The latent has NaN"), ("image", "The image has NaN"), ("mask", "The mask has NaN"),
])  # fmt: skip
def test_nan(vae, decode, name, words):
    given = {"latent": torch.zeros(1, 16, 16, 16), "image": torch.rand(1, 128, 128, 3), "mask": torch.ones(1, 128, 128)}
    given[name][0, 3] = torch.nan
    with pytest.raises(ValueError, match=words):
        decode(vae, {"samples": given["latent"]}, given["image"], given["mask"])
