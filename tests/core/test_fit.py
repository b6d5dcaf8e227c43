"""A canvas for a picture of any size, and the way back, on plain tensors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hilo_core.decode.composite import blend_weight, composite, distance
from hilo_core.decode.fit import LARGEST, SAME, Fitted, edited_box, fit_detail, fit_whole
from hilo_core.decode.resample import reach, resample
from hilo_core.decode.windows import Canvas, decode_windows, edit_windows
from hilo_core.mask import is_edited

MP = 1024 * 1024


def waves(height, width):
    """(1, H, W, 3): a smooth picture that any of these sizes shows alike."""
    y, x = ((torch.arange(n) + 0.5) / n for n in (height, width))
    return torch.stack([(0.5 + 0.3 * torch.sin(k * y[:, None] * 3 + k * x * 2)) for k in (1.0, 2.0, 3.0)], -1)[None]


def painted(height, width, seed, value=1.0):
    """(1, H, W): a box somewhere, and a thin stroke of one pixel."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(1, height, width)
    top, left = (int(torch.randint(0, n, (1,), generator=generator)) for n in (height, width))
    mask[:, top : top + height // 5 + 1, left : left + width // 7 + 1] = value
    mask[:, top, left] = 0.05
    return mask


@pytest.mark.parametrize(("size", "pixels", "canvas"), [
    ((3000, 4000), MP, (864, 1152)),  # 4:3 exactly
    ((4000, 3000), MP, (1152, 864)),
    ((1024, 1024), MP, (1024, 1024)),
    ((832, 1216), MP, (832, 1216)),  # near enough: its own pixels
    ((1000, 1001), MP, (1008, 1008)),  # and a border up to whole tokens
    ((512, 512), MP, (1024, 1024)),
    ((1080, 1920), 4 * MP, (1536, 2736)),
])  # fmt: skip
def test_the_canvas_of_a_whole_picture(size, pixels, canvas):
    fit = fit_whole(size, pixels, 16)
    assert fit.canvas == canvas and fit.whole
    assert fit.inner == (size if 1 / SAME < fit.factor < SAME else canvas)


def test_detail_gives_the_edit_its_size():
    """The whole picture where the canvas holds it, else as much around the edit as it holds, of the picture's shape."""
    fit = fit_detail((1024, 1024), (300, 812, 200, 500), 1024, 4 * MP, 16)
    assert fit.whole and fit.canvas == (2048, 2048)
    fit = fit_detail((3000, 4000), (100, 400, 3700, 4000), 1024, 4 * MP, 16)
    assert not fit.whole and 0.9 < 300 * fit.factor / 1024 < 1.1
    assert fit.corner[0] == 0 and fit.corner[1] + fit.region[1] == 4000  # in the picture's corner
    assert fit.region[1] / fit.region[0] == pytest.approx(4 / 3, rel=0.02)
    assert fit.canvas[0] * fit.canvas[1] == pytest.approx(4 * MP, rel=0.05)
    assert fit_detail((1000, 1000), (500, 510, 500, 510), 1024, 4 * MP, 16).factor == pytest.approx(LARGEST, rel=0.05)
    large = fit_detail((3000, 4000), (0, 3000, 0, 4000), 1024, 4 * MP, 16)
    assert large.whole and large.canvas == (768, 1024)
    own = fit_detail((3000, 4000), (1000, 1950, 1000, 2024), 1024, 4 * MP, 16)
    assert own.region == own.inner == own.canvas  # no pixel resampled


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 6000), st.integers(1, 6000), st.integers(0, 10**6), st.integers(64, 4096),
       st.sampled_from([0.25, 1.0, 4.0]), st.sampled_from([8, 16, 32]))  # fmt: skip
@example(577, 577, 0, 64, 0.25, 32)  # own pixels, padded, would be too many
def test_every_canvas(height, width, seed, side, megapixels, multiple):
    generator = torch.Generator().manual_seed(seed)
    (top, bottom), (left, right) = (
        sorted(torch.randint(0, n + 1, (2,), generator=generator).tolist()) for n in (height, width)
    )
    box = (min(top, height - 1), max(bottom, top + 1), min(left, width - 1), max(right, left + 1))
    box = (box[0], min(box[1], height), box[2], min(box[3], width))
    for fit in (
        fit_whole((height, width), megapixels * MP, multiple),
        fit_detail((height, width), box, side, megapixels * MP, multiple),
    ):
        assert not any(n % multiple for n in fit.canvas)
        for k, (start, stop) in enumerate((box[:2], box[2:])):
            assert 0 <= fit.corner[k] <= start and stop <= fit.corner[k] + fit.region[k] <= fit.size[k]
            assert 0 < fit.inner[k] <= fit.canvas[k]
            assert fit.canvas[k] - fit.inner[k] < multiple
        if min(fit.canvas) >= 16 * multiple:
            assert fit.canvas[0] * fit.canvas[1] < 1.4 * megapixels * MP
            across, down = (n / m for n, m in zip(fit.inner, fit.region, strict=True))
            assert across / down == pytest.approx(1, abs=0.04)


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 150), st.integers(20, 150), st.integers(0, 10**6), st.booleans(),
       st.sampled_from([900, 4000, 30000]))  # fmt: skip
def test_nothing_painted_is_lost_and_nothing_else_is_painted(height, width, seed, detail, pixels):
    mask = painted(height, width, seed)
    box = edited_box(mask)
    fit = fit_detail((height, width), box, 64, pixels, 8) if detail else fit_whole((height, width), pixels, 8)
    canvas = fit.mask(mask)
    assert canvas.shape[1:] == fit.canvas and set(canvas.unique().tolist()) <= {0.0, mask[mask > 0].min().item(), 1.0}
    back = fit.mask_back(canvas)
    assert back.shape == mask.shape and bool((back >= mask).all())
    spread = [int(max(m / n, 1)) + 1 for n, m in zip(fit.inner, fit.region, strict=True)]
    near = F.max_pool2d(mask, [2 * s + 1 for s in spread], 1, spread)
    assert bool((back[near == 0] == 0).all())


def test_a_part_resampled_is_that_of_the_whole():
    for size in ((300, 250), (45, 61), (120, 130)):
        picture = torch.rand(2, 120, 130, 3)
        whole = resample(picture, size)
        part = resample(picture, size, (slice(11, 40), slice(5, 60)))
        assert torch.allclose(part, whole[:, 11:40, 5:60], atol=1e-6)
        changed = picture.clone()
        changed[:, 60:] = 0
        until = int(60 * size[0] / 120 - (reach(120, size[0]) + 1) * size[0] / 120)
        assert torch.allclose(resample(changed, size)[:, :until], whole[:, :until], atol=1e-6)
    assert torch.equal(resample(picture, (120, 130)), picture)


@pytest.mark.parametrize("size", [(300, 260), (60, 65), (119, 131), (500, 70)])
def test_resampling_keeps_a_smooth_picture_in_its_place(size):
    """A shift of a tenth of a pixel would show: the steepest slope is 0.03 a pixel."""
    y, x = (slice(n // 20, -n // 20) for n in size)
    assert (resample(waves(120, 130), size) - waves(*size))[:, y, x].abs().max().item() < 1.5e-3
    flat = torch.full((1, 120, 130, 3), 0.37)
    assert torch.allclose(resample(flat, size), torch.full((1, *size, 3), 0.37), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(70, 220), st.integers(70, 220), st.integers(0, 10**6), st.integers(0, 12), st.booleans(),
       st.sampled_from([8000, 20000, 60000]))  # fmt: skip
def test_there_and_back(height, width, seed, feather, detail, pixels):
    """An edit that changes nothing gives the picture back, to what two resamplings lose; the outside, bit for bit. And
    each pixel of the blend comes from pixels that were decoded."""
    picture, mask = waves(height, width), painted(height, width, seed)
    fit = (
        fit_detail((height, width), edited_box(mask), 96, pixels, 8)
        if detail
        else fit_whole((height, width), pixels, 8)
    )
    canvas_mask, image = fit.mask(mask), fit.image(picture)
    assert image.shape == (1, *fit.canvas, 3)
    canvas = Canvas(fit.canvas[0] // 8, fit.canvas[1] // 8, 8, 0, 0)
    windows = edit_windows(canvas.used(is_edited(canvas_mask).float(), fit.need(feather)), 0)
    decoded, share = decode_windows(
        lambda w: image[:, canvas.pixels(w)[0], canvas.pixels(w)[1]], canvas, windows, 0, image
    )
    new, known, places = fit.back(decoded, share, [canvas.pixels(w) for w in windows])
    edited = fit.part(is_edited(mask).float())
    weight = blend_weight(distance(edited, slice(0, edited.shape[1]), slice(0, edited.shape[2]), feather), feather)[0]
    covered = torch.zeros_like(known)
    for place in places:
        covered[place] = 1
    assert bool((known[weight > 0] == 1).all()) and bool((covered[weight > 0] == 1).all())
    out, _ = composite(fit.part(picture), new, known, edited, places, feather, False)
    assert torch.equal(out[0][weight == 0], fit.part(picture)[0][weight == 0])
    if min(fit.inner) > 40:
        assert (out - fit.part(picture)).abs().max().item() < 0.04


def test_which_picture_and_mask_belong_to_a_fit():
    picture, mask = torch.rand(1, 90, 120, 3), painted(90, 120, 3)
    fit = fit_whole((90, 120), 40000, 8)
    fitted = Fitted(fit, picture, mask, fit.mask(mask))
    other = torch.rand(1, 90, 120, 3)
    assert fitted.original(other) is other and fitted.original(fit.image(other)) is picture
    assert fitted.original(torch.rand(1, 91, 120, 3)) is None and fitted.masks(torch.zeros(1, 91, 120)) is None
    whole, canvas = fitted.masks(fit.mask(mask))
    assert whole is mask and torch.equal(canvas, fit.mask(mask))
    grown = F.max_pool2d(fit.mask(mask), 9, 1, 4)
    whole, canvas = fitted.masks(grown)
    assert canvas is grown and bool((whole >= mask).all()) and whole.sum() > mask.sum()
    assert torch.equal(fitted.masks(mask)[1], fit.mask(mask))
