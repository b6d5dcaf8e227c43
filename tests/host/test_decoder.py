"""Windows of a decoder with GroupNorm and attention, on the host's own class: a narrow one with random weights."""

from __future__ import annotations

from types import SimpleNamespace

import comfy.sd
import pytest
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ldm.wan.vae import WanVAE
from hilo_token.hilo_core.decode import window_decoder
from hilo_token.hilo_core.decode.narrow import levels
from hilo_token.hilo_core.decode.tiles import UnfitDecoder
from hilo_token.hilo_core.decode.window_decoder import (
    COARSE,
    REACH,
    WindowDecoder,
    attention_at,
    context,
    global_layers,
)
from hilo_token.hilo_core.decode.windows import Canvas, Window
from hilo_token.hilo_core.decode.work import share
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lab.judges.codec import Taef2
from lab.speed.vaes import FLUX, WAN, photo, randomise, small
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
    """And forwards of single modules."""
    modules = list(vae.first_stage_model.modules())
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + ("forward" in m.__dict__) for m in modules)


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


def test_a_latent_whose_pixel_is_two_features_wide():
    """As FLUX.2's: the host takes 2x2 pixels of 32 channels out of each of the latent's."""
    config = {"params": {"ddconfig": {**FLUX, "ch": 32, "z_channels": 32, "batch_norm_latent": True}, "embed_dim": 32}}
    model = AutoencoderKL(**config["params"])
    randomise(model)
    model.decoder.conv_out.weight.data.mul_(0.3)
    vae = comfy.sd.VAE(sd=model.state_dict(), config=config)
    vae.downscale_ratio = vae.upscale_ratio = 16
    vae.latent_channels = 128
    latent = torch.randn(1, 128, 32, 32, generator=torch.Generator().manual_seed(0))
    window, full = Window(5, 20, 7, 23), vae.decode(latent)[:, 80:320, 112:368]
    ours = WindowDecoder(vae.decode, vae.first_stage_model.decoder, latent, [window])(window)
    error = [(p - full)[:, 64:-64, 64:-64].abs().mean() for p in (ours, vae.decode(window.of(latent)))]
    assert ours.shape == full.shape and error[0] < 0.5 * error[1]


def test_a_vae_whose_norms_see_one_pixel_is_exact():
    """As Wan's and Qwen-Image's: attention runs on the whole latent once, windows of the rest are the full decode."""
    model = WanVAE(**{**WAN, "dim": 32})
    randomise(model)
    vae = comfy.sd.VAE(sd=model.state_dict())
    latent = torch.randn(1, 16, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    full, mask = vae.decode(latent).reshape(1, 256, 256, 3), torch.zeros(1, 256, 256)
    mask[:, 100:140, 30:70] = 1
    node = load_pack("nodes.masked_decode").HiLoMaskedDecode
    out, text = node.execute(vae, {"samples": latent}, photo(256), mask, feather=0).args
    assert 255 * (out - full)[mask > 0].abs().max().item() < 0.5 and "may differ" not in text
    assert torch.equal(out[mask == 0], photo(256)[mask == 0]) and hooks(vae) == 0


@pytest.mark.parametrize("structure", ["up", "upsamples"])
@pytest.mark.parametrize("spare", [0, 8, 15])
def test_windows_that_shrink_give_what_whole_ones_do(structure, spare):
    """On the window's own part and `spare` pixels around it, bit for bit but for the order of sums."""
    if structure == "up":
        model, latent = AutoencoderKL(**CONFIG["params"]), torch.randn(1, 16, 40, 40)
    else:
        model, latent = WanVAE(**{**WAN, "dim": 32}), torch.randn(1, 16, 1, 40, 40)
    randomise(model)
    vae = comfy.sd.VAE(sd=model.state_dict(), **({"config": CONFIG} if structure == "up" else {}))
    decoder, canvas = vae.first_stage_model.decoder, Canvas(40, 40, 8, 0, 0)
    window = Window(6, 24, 0, 15)  # with 4 latent pixels of context, but on the left
    known = {}

    class Whole(WindowDecoder):
        def _estimate(self, features):
            return known.setdefault("all", super()._estimate(features))

    plain = Whole(vae.decode, decoder, latent, [window])(window).reshape(1, 144, 120, 3)
    sizes = []
    handles = [m.register_forward_hook(lambda m, a, out: sizes.append(out.shape[-2:])) for m, *_ in levels(decoder, 0)]
    narrow = Whole(vae.decode, decoder, latent, [window], (4, canvas, spare))(window).reshape(plain.shape)
    for handle in handles:
        handle.remove()
    near = slice(32 - spare, 144 - 32 + spare), slice(0, 120 - 32 + spare)
    assert torch.allclose(narrow[:, near[0], near[1]], plain[:, near[0], near[1]], atol=2e-5)
    last = sizes[-1]
    assert last == (80 + 2 * (7 + spare), 88 + 7 + spare) and hooks(vae) == 0
    assert not bool(narrow[:, :8].any()) or spare > 8


@pytest.mark.parametrize("packed", [False, True])
def test_a_tiny_vae_whose_norms_come_first_is_exact(packed):
    """As FLUX.2's: its GroupNorms lie at the latent's resolution, so they see the whole latent."""
    model = Taef2(packed).eval().requires_grad_(False)
    randomise(model)
    ratio = 16 if packed else 8
    latent = torch.randn(
        1, 128 if packed else 32, 512 // ratio, 512 // ratio, generator=torch.Generator().manual_seed(0)
    )
    latent *= torch.linspace(0.2, 3, latent.shape[-1])  # so that a part is unlike the whole
    for block in (m for m in model.modules() if getattr(m, "pool", None) is not None):
        block.pool[1].weight.fill_(1.0)  # which `randomise` takes for a bias
    scale = 0.1 / model.decode(latent).std()
    vae = SimpleNamespace(decode=lambda z: model.decode(z) * scale + 0.5, first_stage_model=model)
    vae.spacial_compression_decode = lambda: ratio
    full, mask = vae.decode(latent), torch.zeros(1, 512, 512)
    mask[:, 200:260, 130:190] = 1
    node = load_pack("nodes.masked_decode").HiLoMaskedDecode
    out, text = node.execute(vae, {"samples": latent}, photo(512), mask, feather=0).args
    part = int(text.split("; ")[-1].split("%")[0])
    assert 255 * (out - full)[mask > 0].abs().max().item() < 0.01 and "may differ" not in text and part < 25
    assert torch.equal(out[mask == 0], photo(512)[mask == 0]) and hooks(vae) == 0
    far = [slice(150 // ratio, 350 // ratio), slice(80 // ratio, 280 // ratio)]
    alone = vae.decode(latent[..., far[0], far[1]])  # a window of its own statistics is not the full decode
    y, x = (part.start * ratio for part in far)
    assert 255 * (alone - full[:, y : y + alone.shape[1], x : x + alone.shape[2]])[:, 64:-64, 64:-64].abs().mean() > 0.1


def test_the_host_is_never_asked_for_the_whole(vae, monkeypatch):
    """It would make room for a whole decode, and put a model off the GPU for it; and the result is the same."""
    latent = torch.randn(1, 16, 40, 40, generator=torch.Generator().manual_seed(0))
    decoder, window, asked = vae.first_stage_model.decoder, Window(8, 20, 8, 20), []

    def decode(z):
        asked.append(z[0, 0].numel())
        return vae.decode(z)

    whole = WindowDecoder(vae.decode, decoder, latent, [window])(window)
    monkeypatch.setattr(window_decoder, "PIECE", 16)
    in_pieces = WindowDecoder(decode, decoder, latent, [window])(window)
    assert max(asked) == 256 and torch.allclose(in_pieces, whole, atol=1e-5) and hooks(vae) == 0


def test_work_is_what_the_layers_compute(vae):
    """Predicted share of a full decode's multiply-adds, against PyTorch's own count."""
    latent, canvas, window = torch.randn(1, 16, 40, 40), Canvas(40, 40, 8, 0, 0), Window(6, 24, 0, 15)
    decoder = vae.first_stage_model.decoder

    counters = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with counters[0]:
        vae.decode(latent)
    with counters[1]:
        WindowDecoder(vae.decode, decoder, latent, [window], (4, canvas, 8))(window)
    full, ours = (counter.get_total_flops() for counter in counters)
    assert share(decoder, canvas, [window], 4, 8, 0.0) == pytest.approx(ours / full, rel=0.05)
    assert share(decoder, canvas, [window], 4, 8) > 1, "calls of a decoder so small cost more than their work"
    assert share(decoder, Canvas(12, 12, 8, 0, 0), [Window(0, 4, 0, 4)], 4, 8, 0.0) == torch.inf


def test_context_is_in_latent_pixels(vae):
    assert context(vae.first_stage_model.decoder, 8) == REACH == 4
    assert context(vae.first_stage_model.decoder, 16) == 2 and context(WanVAE(**{**WAN, "dim": 32}).decoder, 8) == 4
    assert context(Taef2().decoder, 8) == 8 and context(Taef2().decoder, 16) == 4


def test_a_vae_of_unknown_layers_says_that_colours_may_differ(vae, latent):
    """Windows of a local one are exact, and nothing is said."""
    mask = torch.zeros(1, 256, 256)
    mask[:, 100:140, 30:70] = 1
    unknown = SimpleNamespace(decode=vae.decode, spacial_compression_decode=vae.spacial_compression_decode)
    unknown.first_stage_model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(4, 8))
    execute = load_pack("nodes.masked_decode").HiLoMaskedDecode.execute
    assert "layers are not known" in execute(unknown, {"samples": latent}, photo(256), mask, feather=0).args[1]
    assert "may differ" not in execute(small(), {"samples": latent}, photo(256), mask, feather=0).args[1]


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
    assert "Colours may differ from a full decode: the host decoded in parts" in text and "in parts" in run_log()[0]
    assert torch.equal(out[mask == 0], photo(256)[mask == 0]) and hooks(vae) == 0
    _, text = node.execute(vae, {"samples": latent}, photo(256), mask, feather=0).args
    assert "colours may differ" not in text and "of the latent decoded" in text


def test_too_large_an_edit_is_decoded_whole(vae, latent, full):
    """Not by plain windows, which would be a little cheaper and have colours of their own."""
    mask = torch.zeros(1, 256, 256)
    mask[:, :112] = 1
    node = load_pack("nodes.masked_decode").HiLoMaskedDecode
    out, text = node.execute(vae, {"samples": latent}, photo(256), mask, feather=0).args
    assert text.endswith("100% of the latent decoded; All decoded at once: windows would gain little.")
    assert torch.allclose(out[:, :112], full[:, :112], atol=1e-6) and torch.equal(out[:, 112:], photo(256)[:, 112:])


def test_other_structures_are_not_taken(vae):
    assert global_layers(None) is None and global_layers(nn.Sequential(nn.Conv2d(3, 3, 1))) is None
    assert global_layers(getattr(small().first_stage_model, "decoder", None)) is None
    early, norms = global_layers(vae.first_stage_model.decoder)
    assert early[-1] is vae.first_stage_model.decoder.up[3].block[2] and len(early) == 6 and len(norms) == 3 * 2 * 3 + 1
    with pytest.raises(UnfitDecoder, match="not known"):
        WindowDecoder(vae.decode, nn.Identity(), torch.zeros(1, 16, 32, 32), [WINDOW])


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
