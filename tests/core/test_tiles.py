"""Tiles that stand for a whole picture in a decoder's GroupNorm."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hilo_core.decode.tiles import SAMPLED, UnfitDecoder, bordered, moments, sample, tile_weights
from hilo_core.decode.window_decoder import normalised, per_channel


def test_normalised_by_its_own_statistics_is_group_norm():
    norm, x = nn.GroupNorm(4, 8), torch.randn(1, 8, 5, 6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    variance, mean = torch.var_mean(x.reshape(4, -1), 1, correction=0)
    wanted = F.group_norm(x, 4, norm.weight, norm.bias, norm.eps)
    assert torch.allclose(normalised(x, norm, per_channel(norm, mean, variance)), wanted, atol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (33, 100), (100, 33), (256, 256), (17, 512)])
def test_tiles_lie_within_and_cost_little(rows, columns):
    chosen = sample(rows, columns, 4)
    assert all(t.area == 16 and 0 <= t.top <= rows - 4 and 0 <= t.left <= columns - 4 for t in chosen.tiles)
    assert len(set(chosen.tiles)) == len(chosen.tiles)
    assert len(chosen.tiles) * 16 <= max(1.4 * SAMPLED * rows * columns, 26 * 16)
    assert chosen.shares.sum().item() == pytest.approx(1, abs=1e-5) and (chosen.shares > 0).all()
    top, _, left, _ = chosen.edges
    border = chosen.edges.any(0)
    assert (top & left).sum() == 1 and top.sum() >= 4
    inner = 1 - (rows - 8) * (columns - 8) / (rows * columns)
    assert chosen.shares[border].sum().item() == pytest.approx(inner, abs=1e-5)


def test_too_small_a_picture_is_refused():
    with pytest.raises(UnfitDecoder, match="too small"):
        sample(16, 16, 4)


def test_a_tile_of_the_border_sees_zeros_there():
    """And its own reflection elsewhere: so a convolution of a corner tile is that of the whole picture, up to its inner
    sides."""
    layer, x = nn.Conv2d(2, 3, 3, padding=1), torch.randn(1, 2, 32, 32)
    chosen = sample(32, 32, 4)
    tiles, wanted = torch.cat([t.of(x) for t in chosen.tiles]), layer(x)
    before = tiles.clone()
    with bordered(layer, chosen):
        out = layer(tiles)
    assert out.shape == (len(tiles), 3, 4, 4) and torch.equal(tiles, before)
    for tile, at, part in zip(chosen.tiles, chosen.edges.T, out, strict=True):
        own = F.pad(tile.of(x), (1, 1, 1, 1), "reflect")
        t, b, left, r = at.tolist()
        own[:, :, 0] *= not t
        own[:, :, -1] *= not b
        own[..., 0] *= not left
        own[..., -1] *= not r
        assert torch.allclose(part, F.conv2d(own, layer.weight, layer.bias)[0], atol=1e-5)
    corner = (chosen.edges[0] & chosen.edges[2]).nonzero()[0, 0]
    assert torch.allclose(out[corner, :, :3, :3], wanted[0, :, :3, :3], atol=1e-5)
    assert not layer._forward_hooks and not layer._forward_pre_hooks


def test_weights_bring_the_mean_near():
    tiles = torch.randn(60, 10, generator=torch.Generator().manual_seed(0))
    shares = torch.cat([torch.full((40,), 0.8 / 40), torch.full((20,), 0.2 / 20)])
    whole = shares @ tiles + 0.2
    weights = tile_weights(tiles, whole, shares)
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)
    assert (weights @ tiles - whole).norm() < 0.5 * (shares @ tiles - whole).norm()
    assert torch.allclose(tile_weights(tiles, shares @ tiles, shares), shares, atol=1e-5)


def test_moments_are_those_of_each_channel():
    x = torch.randn(2, 3, 4, 5)
    assert torch.allclose(moments(x)[1, 2], x[1, 2].mean(), atol=1e-6)
    assert torch.allclose(moments(x)[1, 5], x[1, 2].square().mean(), atol=1e-6)
