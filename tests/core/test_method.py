"""Scores against slow formulas, noise statistics, bias against the softmax it stands for, schedule, cost."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.fft import dctn

from hilo_core.bias import add_bias, key_bias
from hilo_core.cells import pool_latent, pool_tokens
from hilo_core.cost import ModelShape, run_speedup
from hilo_core.frequency import SCORES, detail, luma
from hilo_core.schedule import Schedule, step_of


def slow(score: str, p: torch.Tensor, top: int, left: int, size: int) -> float:
    """The mean energy of one token, pixel by pixel."""
    h, w = p.shape
    at = lambda y, x: float(p[min(max(y, 0), h - 1), min(max(x, 0), w - 1)])  # noqa: E731
    if score == "dct":
        block = p[top : top + size, left : left + size].double().numpy()
        coefficients = dctn(block, norm="ortho")
        coefficients[0, 0] = 0
        return float((coefficients**2).sum()) / size**2
    total = 0.0
    for y in range(top, top + size):
        for x in range(left, left + size):
            c = at(y, x)
            if score == "spatial frequency":
                total += (c - at(y, x - 1)) ** 2 + (c - at(y - 1, x)) ** 2
            elif score == "laplacian":
                total += (at(y - 1, x) + at(y + 1, x) + at(y, x - 1) + at(y, x + 1) - 4 * c) ** 2
            else:
                a, b, d = at(y - 1, x - 1), at(y - 1, x), at(y, x - 1)
                total += ((a - b + d - c) / 2) ** 2 + ((a + b - d - c) / 2) ** 2 + ((a - b - d + c) / 2) ** 2
    return total / size**2


@pytest.mark.parametrize("score", SCORES)
def test_score_is_its_formula(score):
    torch.manual_seed(0)
    picture = torch.rand(12, 16)
    fast = detail(picture[None, None], 3, 4, score)
    for row in range(3):
        for column in range(4):
            expected = math.sqrt(slow(score, picture, row * 4, column * 4, 4)) / float(picture.std(correction=0))
            assert fast[row, column].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("score", SCORES)
def test_known_detail_is_found_on_dark_and_bright(score):
    picture = torch.full((1, 1, 64, 64), 0.3)
    picture[..., 16:32, 32:48] += 0.2 * (torch.arange(16) % 2)
    found = detail(picture, 4, 4, score)
    assert found.argmax().item() == 1 * 4 + 2
    dark, bright = detail(picture * 0.1, 4, 4, score), detail(picture * 0.5 + 0.4, 4, 4, score)
    assert torch.allclose(dark, found, rtol=1e-3, atol=1e-4) and torch.allclose(bright, found, rtol=1e-3, atol=1e-4)


def test_scores_on_latents_of_one_pixel_tokens():
    latent = torch.randn(1, 128, 9, 7)
    for score in SCORES:
        assert (detail(latent, 9, 7, score) > 0).float().mean() > 0.95  # the corner has nothing before it


def test_luma_weights():
    assert luma(torch.ones(1, 2, 2, 3)).allclose(torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_pooled_noise_keeps_unit_variance(factor):
    torch.manual_seed(0)
    noise = torch.randn(4, 16, 130, 126)
    known = torch.rand(130, 126) > 0.3
    for weights in (torch.ones_like(known), known):
        pooled = pool_latent(noise, weights, factor, noise=True)
        assert pooled.mean().item() == pytest.approx(0, abs=0.02)
        assert pooled.std().item() == pytest.approx(1, abs=0.02)
    assert pool_latent(noise, known, factor).std().item() < 0.75


def test_pooled_latent_ignores_what_is_edited():
    latent = torch.ones(1, 1, 8, 8)
    latent[..., :2, :2] = 100
    known = torch.ones(8, 8, dtype=torch.bool)
    known[:2, :2] = False
    assert pool_latent(latent, known, 4).tolist() == [[[[1, 1], [1, 1]]]]
    known[:4, :4] = False  # nothing known in a cell: all of it counts
    assert pool_latent(latent, known, 4)[0, 0, 0, 0].item() == pytest.approx(latent[..., :4, :4].mean().item())


def test_pooled_tokens_at_a_ragged_border():
    values = torch.arange(15.0).reshape(1, 15, 1)
    assert pool_tokens(values, 3, 5, 2)[0, :, 0].tolist() == [3, 5, 6.5, 10.5, 12.5, 14]


def test_bias_is_repetition():
    """A key with bias log s weighs as much as s equal keys."""
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 6, 8), torch.randn(1, 2, 6, 8)
    bias = key_bias(torch.tensor([1.0, 1.0, 1.0, 3.0, 16.0, 1.0]))
    repeats = torch.tensor([1, 1, 1, 3, 16, 1])
    attend = torch.nn.functional.scaled_dot_product_attention
    expected = attend(q, k.repeat_interleave(repeats, 2), v.repeat_interleave(repeats, 2))
    assert torch.allclose(attend(q, k, v, attn_mask=bias), expected, atol=1e-6)
    assert bias.stride(-2) % 8 == 0


def test_bias_joins_masks():
    bias = key_bias(torch.tensor([1.0, 2.0, 4.0]))
    assert add_bias(None, bias, torch.float32) is bias
    allowed = torch.tensor([[True, False, True]])
    joined = add_bias(allowed, bias, torch.float32)
    assert (
        joined.shape == (1, 1, 1, 3)
        and joined[..., 1].item() < -1e30
        and joined[..., 2].item() == pytest.approx(math.log(4))
    )
    added = add_bias(torch.full((2, 3, 3), -1.0), bias, torch.float32)
    assert added.shape == (2, 1, 3, 3) and added[0, 0, 0, 1].item() == pytest.approx(math.log(2) - 1)


def test_schedule():
    assert Schedule().dense(4) == [False] * 4
    assert Schedule(first=0.12).dense(8) == [True] + [False] * 7
    assert Schedule(first=2, last=1, every=3).dense(9) == [True, True, False, False, False, True, False, False, True]
    assert Schedule(first=99).dense(3) == [True] * 3


def test_step_of():
    sigmas = [1.0, 0.8, 0.5, 0.0]
    assert [step_of(s, sigmas) for s in (1.0, 0.9, 0.8, 0.6, 0.5, 0.1, 0.0)] == [0, 0, 1, 1, 2, 2, 2]
    assert step_of(14.6, [14.6, 3.0, 0.0]) == 0


def test_cost():
    shape = ModelShape(hidden=3072, context=256)
    assert shape.speedup(4096, 4096) == 1
    fewer = shape.tokens_for(3.0, 4096)
    assert shape.speedup(fewer, 4096) >= 3.0 > shape.speedup(fewer + 1, 4096)
    assert run_speedup([True, False, False, False], 3.0) == pytest.approx(2.0)
    assert run_speedup([], 3.0) == 1.0
