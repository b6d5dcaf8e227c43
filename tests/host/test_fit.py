"""HiLo Fit and HiLo Masked Decode together: any picture in, the same picture out, but for the edit."""

from __future__ import annotations

import itertools

import comfy.sd
import comfy.utils
import pytest
import torch
from hilo_token.hilo_core.decode.composite import blend_weight, distance
from scipy.ndimage import maximum_filter

from lab.speed.vaes import photo as square
from tests.host.test_masked_decode import WEIGHTS, photo
from tools.pack import load_pack

Fit = load_pack("nodes.fit").HiLoFit
Decode = load_pack("nodes.masked_decode").HiLoMaskedDecode


@pytest.fixture(scope="module")
def vae():
    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(WEIGHTS)))


def painted(height, width, soft=False):
    mask = torch.zeros(1, height, width)
    mask[:, height // 3 : height // 2, width // 4 : width // 2] = 1
    if soft:
        mask[:, height // 3 : height // 2, width // 4 : width // 2] = torch.linspace(0.02, 1, width // 2 - width // 4)
    return mask


def outside(mask, feather):
    height, width = mask.shape[1:]
    far = distance((mask > 0.04).float(), slice(0, height), slice(0, width), feather + 1)
    return (blend_weight(far, feather) == 0)[0]


def spread(mask, by):
    """(B, H, W) grown by so many pixels on each side; one axis after the other, so that a large one takes no minute."""
    return torch.from_numpy(maximum_filter(mask.numpy(), (1, 2 * by + 1, 2 * by + 1)))


@pytest.mark.parametrize(("height", "width", "batch", "settings"), [
    (750, 1000, 1, {"megapixels": 0.1}),
    (333, 251, 2, {"megapixels": 0.1}),
    (201, 333, 1, {"mode": "detail", "edit_size": 192, "largest": 0.25}),
    (750, 1000, 1, {"mode": "detail", "edit_size": 256, "largest": 0.25}),  # a part of the picture
])  # fmt: skip
def test_the_edit_at_full_size_and_nothing_else(vae, height, width, batch, settings):
    original, mask = photo(height, width, batch), painted(height, width, soft=batch > 1)
    image, canvas_mask, fit = Fit.execute(original, mask, **settings).args
    assert image.shape[:3] == (batch, *canvas_mask.shape[1:]) and not image.shape[1] % 16 and not image.shape[2] % 16
    latent = {"samples": vae.encode(1 - image)}
    for (given, its), feather in itertools.product(((original, mask), (image, canvas_mask)), (0, 9)):
        out = Decode.execute(vae, latent, given, its, feather=feather, fit=fit).args[0]
        assert out.shape == original.shape
        left = outside(mask, feather)
        assert torch.equal(out[:, left], original[:, left])
        inside = (mask[0] > 0.04)[None].expand(batch, -1, -1)
        assert (out - (1 - original))[inside].abs().mean().item() < 0.06  # the negative, as a small VAE gives it


def test_a_canvas_of_the_pictures_own_pixels_is_a_plain_masked_decode(vae):
    original, mask = photo(1024, 1024), painted(1024, 1024)
    image, canvas_mask, fit = Fit.execute(original, mask).args
    assert torch.equal(image, original) and torch.equal(canvas_mask, mask)
    latent = {"samples": torch.randn(1, 16, 128, 128)}
    with_fit = Decode.execute(vae, latent, image, canvas_mask, fit=fit).args
    assert with_fit[1] == Decode.execute(vae, latent, original, mask).args[1]
    assert torch.equal(with_fit[0], Decode.execute(vae, latent, original, mask).args[0])


def test_a_large_photo(vae):
    """4000x3000 in, 4000x3000 out; the mask of the fit may have grown on the way."""
    original, mask = square(500).repeat_interleave(8, 2).repeat_interleave(6, 1), painted(3000, 4000)
    image, canvas_mask, fit = Fit.execute(original, mask).args
    assert image.shape == (1, 864, 1152, 3)
    grown = spread(canvas_mask, 8)
    out, text = Decode.execute(vae, {"samples": torch.randn(1, 16, 108, 144)}, original, grown, fit=fit).args
    assert out.shape == original.shape and "the result by 0 (largest 0)" in text
    changed = (out != original).any(-1)[0]
    assert bool(changed[mask[0] > 0].float().mean() > 0.99)
    reach = spread(mask, 48)[0]  # 8 canvas pixels, 8 of feather, and rounding
    assert not bool(changed[reach == 0].any()) and bool(changed.sum() > mask.sum() * 1.1)


def test_nothing_painted_is_said_at_once(vae):
    with pytest.raises(ValueError, match="Nothing is painted yet"):
        Fit.execute(photo(120, 160), torch.zeros(1, 64, 64))
    original, mask = photo(200, 300), painted(200, 300)
    image, _, fit = Fit.execute(original, mask, megapixels=0.1).args
    empty = {"samples": torch.randn(1, 16, *(n // 8 for n in image.shape[1:3]))}
    assert torch.equal(Decode.execute(vae, empty, image, torch.zeros(1, 64, 64), fit=fit).args[0], original)


@pytest.mark.parametrize(("change", "words"), [
    ({"original": torch.rand(1, 100, 100, 3)}, "original is 100x100 px, but HiLo Fit was given 600x400 px and made"),
    ({"mask": torch.ones(1, 100, 100)}, "The mask is 100x100 px, but HiLo Fit was given 600x400 px and made"),
    ({"fit": "a word"}, "not a fit. Connect HiLo Fit"),
    ({"samples": {"samples": torch.zeros(1, 16, 30, 30)}}, "240 px along one side"),
    ({"mask": torch.ones(1, 400, 600)}, "painted where HiLo Fit's canvas shows nothing"),
])  # fmt: skip
def test_what_does_not_belong_together(vae, change, words):
    mask = torch.zeros(1, 400, 600)
    mask[:, 10:50, 10:50] = 1
    image, canvas_mask, fit = Fit.execute(photo(400, 600), mask, mode="detail", edit_size=160, largest=0.25).args
    latent = {"samples": torch.zeros(1, 16, *(n // 8 for n in image.shape[1:3]))}
    given = {"samples": latent, "original": image, "mask": canvas_mask, "fit": fit, **change}
    with pytest.raises(ValueError, match=words):
        Decode.execute(vae, **given)


@pytest.mark.parametrize(("image", "mask", "settings", "words"), [
    ((1, 100, 120, 3), (1, 100, 100), {}, "Resize the mask"),
    ((3, 100, 120, 3), (2, 100, 120), {}, "2 masks for 3 images"),
    ((1, 100, 120, 3), (1, 100, 120), {"mode": "other"}, "'mode'"),
    ((1, 100, 120, 3), (1, 100, 120), {"megapixels": 0}, "'megapixels'"),
    ((1, 2, 4000, 3), (1, 2, 4000), {}, "too long and narrow"),
])  # fmt: skip
def test_wrong_input(image, mask, settings, words):
    with pytest.raises(ValueError, match=words):
        Fit.execute(torch.rand(image), torch.ones(mask), **settings)


def test_alpha_and_grey_are_taken_as_pictures_are():
    mask = painted(100, 120)
    for channels in (1, 4):
        image, _, fit = Fit.execute(torch.rand(1, 100, 120, channels), mask, megapixels=0.1).args
        assert image.shape[-1] == 3 and fit.picture.shape[-1] == 3
