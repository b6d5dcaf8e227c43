"""Windows of a decoder with GroupNorm and attention, on the host's own class: a narrow one with random weights."""

from __future__ import annotations

import comfy.sd
import pytest
import torch
import torch.nn.functional as F
from comfy.ldm.models.autoencoder import AutoencoderKL
from torch import nn

from hilo_core.decode import Window
from hilo_core.decoder import COARSE, REACH, WindowDecoder, attention_at, global_layers, normalised
from hilo_core.tiles import SAMPLED, UnfitDecoder, bordered, sample, tile_weights
from lab.vaes import FLUX, photo, randomise, small
from tools.pack import load_pack

CONFIG = {"params": {"ddconfig": {**FLUX, "ch": 32}, "embed_dim": 16}}
WINDOW = Window(8, 20, 0, 12)  # at the picture's left edge


@pytest.fixture(scope="module")
def vae():
    model = AutoencoderKL(**CONFIG["params"])
    randomise(model)
    model.decoder.conv_out.weight.data.mul_(0.3)
    return comfy.sd.VAE(sd=model.state_dict(), config=CONFIG)


@pytest.fixture(scope="module")
def latent():
    return small().encode(photo(256))


@pytest.fixture(scope="module")
def full(vae, latent):
    return vae.decode(latent)


def inside(picture):
    """The part of the window's picture that has its context, or the same part of the whole picture."""
    if picture.shape[1] == 256:
        picture = picture[:, 8 * WINDOW.top : 8 * WINDOW.bottom, : 8 * WINDOW.right]
    return picture[:, 8 * REACH : -8 * REACH, : -8 * REACH]


def hooks(vae):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in vae.first_stage_model.modules())


def true_statistics(vae, latent):
    """Of each GroupNorm of the decoder, in a full decode."""
    found = {}

    def note(norm, args, out):
        variance, mean = torch.var_mean(args[0].float().reshape(norm.num_groups, -1), 1, correction=0)
        found[norm] = mean, variance

    handles = [m.register_forward_hook(note) for m in global_layers(vae.first_stage_model.decoder)[1]]
    vae.decode(latent)
    for handle in handles:
        handle.remove()
    return found


def test_with_the_true_statistics_a_window_is_the_full_decode(vae, latent, full):
    """So whatever differs comes from the estimate; attention and the picture's edge are exact."""
    known = true_statistics(vae, latent)

    class Known(WindowDecoder):
        def _estimate(self, features):
            return known

    window = Known(vae.decode, vae.first_stage_model.decoder, latent, [WINDOW])(WINDOW)
    assert 255 * (inside(window) - inside(full)).abs().max().item() < 1
    assert hooks(vae) == 0


def test_estimated_statistics_are_nearer_than_the_windows_own(vae, latent, full):
    """Even here, where the picture is small and a group is one channel: both are hard cases."""
    windows, error = [Window(y, y + 12, x, x + 12) for y in (0, 20) for x in (0, 20)], torch.zeros(2)
    decoder = WindowDecoder(vae.decode, vae.first_stage_model.decoder, latent, windows)
    for w in windows:
        wanted = full[:, 8 * w.top : 8 * w.bottom, 8 * w.left : 8 * w.right]
        for k, picture in enumerate((decoder(w), vae.decode(w.of(latent)))):
            error[k] += (picture - wanted)[:, 32:64, 32:64].abs().mean()
    assert error[0] < 0.4 * error[1]
    assert hooks(vae) == 0


def test_batch(vae, latent):
    two = torch.cat([latent.flip(-1), latent])
    decoder = vae.first_stage_model.decoder
    both, one = (WindowDecoder(vae.decode, decoder, z, [WINDOW])(WINDOW) for z in (two, latent))
    assert torch.allclose(both[1:], one, atol=1e-5)


def test_a_host_that_decodes_in_parts_gets_plain_windows(vae, latent, full, run_log):
    class Parts:
        first_stage_model = vae.first_stage_model
        spacial_compression_decode = staticmethod(vae.spacial_compression_decode)

        def decode(self, z):
            return torch.cat([vae.decode(part) for part in z.split(4)])

    mask = torch.zeros(1, 256, 256)
    mask[:, 100:140, 30:70] = 1
    node = load_pack("nodes.masked_decode").HiLoMaskedDecode
    out, text = node.execute(Parts(), {"samples": latent}, photo(256), mask, feather=0).args
    assert "colours may differ from a full decode: the host decoded in parts" in text and "in parts" in run_log()[0]
    assert torch.equal(out[mask == 0], photo(256)[mask == 0]) and hooks(vae) == 0
    _, text = node.execute(vae, {"samples": latent}, photo(256), mask, feather=0).args
    assert "colours may differ" not in text and "of the latent decoded" in text


def test_too_large_an_edit_is_decoded_whole(vae, latent, full):
    """Not by plain windows, which would be a little cheaper and have colours of their own."""
    mask = torch.zeros(1, 256, 256)
    mask[:, :112] = 1
    node = load_pack("nodes.masked_decode").HiLoMaskedDecode
    out, _ = node.execute(vae, {"samples": latent}, photo(256), mask, feather=0).args
    assert torch.allclose(out[:, :112], full[:, :112], atol=1e-6) and torch.equal(out[:, 112:], photo(256)[:, 112:])


def test_other_structures_are_not_taken(vae):
    assert global_layers(None) is None and global_layers(nn.Sequential(nn.Conv2d(3, 3, 1))) is None
    assert global_layers(getattr(small().first_stage_model, "decoder", None)) is None
    early, norms = global_layers(vae.first_stage_model.decoder)
    assert early[-1] is vae.first_stage_model.decoder.up[3].block[2] and len(early) == 6 and len(norms) == 3 * 2 * 3 + 1
    with pytest.raises(UnfitDecoder, match="not known"):
        WindowDecoder(vae.decode, nn.Identity(), torch.zeros(1, 16, 32, 32), [WINDOW])


def test_normalised_by_its_own_statistics_is_group_norm():
    norm, x = nn.GroupNorm(4, 8), torch.randn(1, 8, 5, 6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    variance, mean = torch.var_mean(x.reshape(4, -1), 1, correction=0)
    wanted = F.group_norm(x, 4, norm.weight, norm.bias, norm.eps)
    assert torch.allclose(normalised(x, norm, mean, variance), wanted, atol=1e-5)


def test_attention_is_exact_where_asked(vae):
    attention, x = vae.first_stage_model.decoder.mid.attn_1, torch.randn(1, 128, 24, 20)
    exact = torch.zeros(24, 20, dtype=torch.bool)
    exact[3:9, 2:17] = True
    wanted = attention(x)
    assert torch.allclose(attention_at(attention, x, ~torch.zeros_like(exact)), wanted, atol=1e-5)
    out = attention_at(attention, x, exact)
    assert torch.allclose(out[..., exact], wanted[..., exact], atol=1e-5)
    assert not torch.allclose(out, wanted, atol=1e-5)
    middle = COARSE // 2
    assert torch.allclose(
        out[..., middle::COARSE, middle::COARSE], wanted[..., middle::COARSE, middle::COARSE], atol=1e-5
    )


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
