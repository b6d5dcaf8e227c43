"""Windows, blend, colour match and drift meter on plain tensors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hilo_core import HiLoError
from hilo_core.decode.colour import fit, from_oklab, helpful, to_oklab
from hilo_core.decode.composite import blend_weight, composite, distance
from hilo_core.decode.windows import Canvas, Window, decode_windows, edit_windows, latent_offset, taper


def smooth_decoder(latent, ratio=4):
    """A local decoder: each pixel depends on the latent pixels next to its own."""
    rows, columns = latent.shape[-2:]
    spread = F.avg_pool2d(F.pad(latent.flatten(0, -3)[None], (1, 1, 1, 1), mode="replicate"), 3, 1)
    return spread.reshape(latent.shape[0], -1, rows, columns)[:, :3].repeat_interleave(ratio, -1).repeat_interleave(
        ratio, -2
    ).movedim(1, -1)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 9), st.floats(0.9, 0.999), st.integers(0, 10**6))
def test_windows_give_every_used_pixel_its_context(height, width, margin, threshold, seed):
    used = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) > threshold
    canvas, windows = Canvas(height, width, 2, 0, 0), edit_windows(used, margin)
    share = torch.zeros(2 * height, 2 * width)
    for w in windows:
        assert 0 <= w.top < w.bottom <= height and 0 <= w.left < w.right <= width
        share[canvas.pixels(w)] += taper(w, margin, canvas)
    wanted = used.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert bool((share[wanted] >= 1).all())
    assert (not windows) == (not bool(used.any()))


def test_a_bent_edit_is_cut_up():
    """A canvas around the picture costs its sides, a small box stays one window."""
    used = torch.zeros(256, 256, dtype=torch.bool)
    used[20:230, 20:30] = used[220:230, 20:230] = True
    windows = edit_windows(used, 8)
    assert len(windows) >= 2 and sum(w.area for w in windows) < 0.3 * 210**2
    box = torch.zeros(256, 256, dtype=torch.bool)
    box[100:140, 50:90] = True
    assert edit_windows(box, 8) == [Window(92, 148, 42, 98)]
    assert edit_windows(torch.ones(10, 10, dtype=torch.bool), 2) == [Window(0, 10, 0, 10)]


def test_windows_join_to_the_full_decode():
    """With a local decoder and enough context, joined windows are the full decode wherever they have a share."""
    latent = torch.randn(2, 3, 64, 72)
    used = torch.zeros(64, 72, dtype=torch.bool)
    used[10:60, 10:13] = used[57:60, 10:70] = True
    canvas, like = Canvas(64, 72, 4, 1, 2), torch.zeros(2, 259, 292, 3)
    windows = edit_windows(used, 4)
    assert len(windows) > 1
    picture, share = decode_windows(lambda w: smooth_decoder(w.of(latent)), canvas, windows, 4, like)
    full = torch.zeros_like(like)
    full[:, 1 : 1 + 256, 2 : 2 + 288] = smooth_decoder(latent)
    inside = (share > 0)[None, ..., None].expand_as(full)
    assert (picture - full)[inside].abs().max().item() < 1e-5
    assert not bool(picture[~inside].any())
    whole, _ = decode_windows(lambda w: smooth_decoder(w.of(latent)), canvas, [Window(0, 64, 0, 72)], 4, like)
    assert torch.equal(whole, full)


def test_a_decode_with_nan_is_a_message():
    canvas = Canvas(8, 8, 4, 0, 0)
    with pytest.raises(HiLoError, match="--fp32-vae"):
        decode_windows(
            lambda w: smooth_decoder(w.of(torch.ones(1, 3, 8, 8))) * math.nan,
            canvas, [Window(0, 8, 0, 8)], 2, torch.zeros(1, 32, 32, 3),
        )  # fmt: skip


@pytest.mark.parametrize("feather", [0, 1, 8, 30])
def test_used_holds_every_blended_pixel(feather):
    mask = torch.zeros(1, 101, 131)
    mask[0, 0, 0] = mask[0, 50:60, 70] = mask[0, 100, 130] = 0.3
    canvas = Canvas.of((101, 131), (12, 16), 8)
    weight = blend_weight(distance(mask, slice(0, 101), slice(0, 131), feather), feather)[0]
    cells = canvas.used(mask, feather).repeat_interleave(8, 0).repeat_interleave(8, 1)
    y, x = canvas.pixels(Window(0, 12, 0, 16))
    assert bool(cells[weight[y, x] > 0].all())
    assert (weight == 1).sum().item() >= 12


def test_distance_of_a_part_is_that_of_the_whole():
    mask = (torch.rand(2, 80, 90) > 0.999).float()
    mask[:, 40, 40] = 1
    whole = distance(mask, slice(0, 80), slice(0, 90), 100)
    part = distance(mask, slice(20, 70), slice(0, 60), 12)
    near = whole[:, 20:70, :60] <= 12
    assert torch.equal(part[near], whole[:, 20:70, :60][near]) and bool((part[~near] > 12).all())


def test_offset_of_a_cropped_latent():
    assert latent_offset(1027, 128, 8) == 1
    with pytest.raises(HiLoError, match="at its size"):
        latent_offset(1032, 128, 8)


def test_oklab():
    """Red, from the author's own table; grey has no colour; there and back."""
    assert torch.allclose(to_oklab(torch.tensor([1.0, 0, 0])), torch.tensor([0.62796, 0.22486, 0.12585]), atol=1e-4)
    assert torch.allclose(to_oklab(torch.full((3,), 0.5))[1:], torch.zeros(2), atol=1e-4)
    rgb = torch.rand(1000, 3)
    assert torch.allclose(from_oklab(to_oklab(rgb)), rgb, atol=1e-4)


def test_a_gain_and_an_offset_are_undone():
    old = torch.rand(4000, 3) * 0.6 + 0.2
    new = from_oklab(to_oklab(old) * 0.95 + torch.tensor([0.02, 0.01, -0.01]))
    assert (fit(new, old)(new) - old).abs().max().item() < 0.01
    part = torch.arange(4000) % 2 == 0
    assert helpful(new, old, part) is not None
    noisy = (old + 0.02 * torch.randn(4000, 3)).clamp(0, 1)
    assert helpful(noisy, old, part) is None
    assert helpful(new[:20], old[:20], part[:20]) is None  # too few to tell


def scene(shift):
    """(original, decoded, share, mask): a random picture, decoded with a shift of each channel."""
    torch.manual_seed(3)
    original = torch.rand(1, 96, 96, 3) * 0.5 + 0.25
    mask = torch.zeros(1, 96, 96)
    mask[:, 40:60, 30:50] = 1
    return original, original + torch.tensor(shift), torch.ones(96, 96), mask


def test_drift_is_what_the_formulas_say():
    shift = [0.04, -0.02, 0.01]
    original, decoded, share, mask = scene(shift)
    out, drift = composite(original, decoded, share, mask, [(slice(0, 96), slice(0, 96))], 0, False)
    assert torch.equal(out[mask == 0], original[mask == 0]) and torch.equal(out[mask > 0], decoded[mask > 0])
    assert drift.before_largest == pytest.approx(255 * 0.04, abs=0.01)
    assert drift.before_mean == pytest.approx(255 * 0.04, abs=0.01)
    assert (drift.after_largest, drift.after_mean) == (0, 0)
    assert drift.shift == pytest.approx([255 * s for s in shift], abs=0.01)

    def steps(picture):
        box = picture[0, 39:61, 29:51]
        sides = box[0, 1:-1] - box[1, 1:-1], box[-1, 1:-1] - box[-2, 1:-1], box[1:-1, 0] - box[1:-1, 1]
        return torch.stack([*sides, box[1:-1, -1] - box[1:-1, -2]]).abs().mean()

    ratio = (steps(out) / steps(original)).item()
    assert drift.border == pytest.approx(ratio, rel=1e-4)
    assert "+10.20 red, -5.10 green, +2.55 blue" in drift.line() and not drift.corrected


def test_colour_match_only_where_it_helps():
    region = [(slice(0, 96), slice(0, 96))]
    original, decoded, share, mask = scene([0.04, -0.02, 0.01])
    matched, drift = composite(original, decoded, share, mask, region, 0, True)
    assert drift.corrected and "colours matched" in drift.line()
    assert (matched - original).abs().mean().item() < 0.3 * (decoded - original).abs()[mask > 0].mean().item()
    original, decoded, share, mask = scene([0.0, 0.0, 0.0])
    left, drift = composite(original, decoded, share, mask, region, 0, True)
    assert torch.equal(left, original) and not drift.corrected


def test_an_edit_of_the_whole_picture_has_no_outside():
    original, decoded, share, _ = scene([0.1, 0.1, 0.1])
    out, drift = composite(original, decoded, share, torch.ones(1, 96, 96), [(slice(0, 96), slice(0, 96))], 8, True)
    assert torch.equal(out, decoded) and drift.shift is None and drift.border is None and not drift.corrected
