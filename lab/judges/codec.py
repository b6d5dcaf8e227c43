"""Pictures to latents and back, for each judge, on plain tensors.

J2 and J3 use `taef2`, the tiny autoencoder for FLUX.2's latent space by Ollin Boer Bohan (MIT), in a form written
here. Its weights are not in the repository. Get `taef2_encoder.pth` and `taef2_decoder.pth` (2.7 MB each) from the
public GitHub repository madebyollin/taesd, and put them into `.cache/judges`, or into the folder that the environment
variable HILO_JUDGES names.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools import host

CHANNELS = 32


def folder() -> Path:
    """Where weights, pictures and checkpoints of the judges lie."""
    return Path(os.environ.get("HILO_JUDGES", host.CACHE / "judges"))


class _Block(nn.Module):
    """Three convolutions and a skip; at the latent's resolution also statistics of the whole picture."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(*(m for i in range(3) for m in (nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU())[: 2 - i // 2]))
        self.pool = (
            nn.Sequential(
                nn.Conv2d(64, 256, 1, bias=False), nn.GroupNorm(4, 256), nn.ReLU(), nn.Conv2d(256, 64, 1, bias=False)
            )
            if pooled
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 64, H, W) -> the same shape."""
        if self.pool is not None:
            x = x + self.pool(x)
        return F.relu(self.conv(x) + x)


class _Squash(nn.Module):
    """Soft clamp to -3..3."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.tanh(x / 3) * 3


def _encoder() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1), _Block(False)]
    for stage in range(3):
        layers += [nn.Conv2d(64, 64, 3, 2, 1, bias=False), *(_Block(stage == 2) for _ in range(3))]
    return nn.Sequential(*layers, nn.Conv2d(64, CHANNELS, 3, 1, 1))


def _decoder() -> nn.Sequential:
    layers: list[nn.Module] = [_Squash(), nn.Conv2d(CHANNELS, 64, 3, 1, 1), nn.ReLU()]
    for stage in range(3):
        layers += [*(_Block(stage == 0) for _ in range(3)), nn.Upsample(scale_factor=2)]
        layers.append(nn.Conv2d(64, 64, 3, 1, 1, bias=False))
    return nn.Sequential(*layers, _Block(False), nn.Conv2d(64, 3, 3, 1, 1))


class Taef2(nn.Module):
    """FLUX.2's latents, 32 channels at an eighth of the picture's size, scaled to mean 0 and deviation 1 a channel.

    packed: 2x2 latent pixels as one of 128 channels, the way the host has FLUX.2's latents.
    """

    def __init__(self, packed: bool = False) -> None:
        super().__init__()
        self.encoder, self.decoder, self.packed = _encoder(), _decoder(), packed
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("deviation", torch.ones(CHANNELS))

    @classmethod
    def load(cls, packed: bool = False) -> Taef2:
        """With the published weights; FileNotFoundError where they are not (see the module's text)."""
        made = cls(packed)
        for name in ("encoder", "decoder"):
            state = torch.load(folder() / f"taef2_{name}.pth", map_location="cpu", weights_only=True)
            getattr(made, name).load_state_dict({k: v.float() for k, v in state.items()})
        return made.eval().requires_grad_(False)

    def measure(self, pixels: Tensor) -> None:
        """Set mean and deviation from pictures (B, H, W, 3)."""
        self.mean.zero_()
        self.deviation.fill_(1.0)
        raw = self._raw(pixels)
        self.mean.copy_(raw.mean((0, 2, 3)))
        self.deviation.copy_(raw.std((0, 2, 3)))

    def _raw(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.encoder(pixels.movedim(-1, 1).contiguous(memory_format=torch.channels_last)).float()
        return out.contiguous()

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) in 0..1 -> (B, 32, H / 8, W / 8), or (B, 128, H / 16, W / 16) if packed."""
        z = (self._raw(pixels) - self.mean.view(-1, 1, 1)) / self.deviation.view(-1, 1, 1)
        return F.pixel_unshuffle(z, 2) if self.packed else z

    def decode(self, latent: Tensor) -> Tensor:
        """The inverse: (B, H, W, 3)."""
        z = F.pixel_shuffle(latent, 2) if self.packed else latent
        out: Tensor = self.decoder(z * self.deviation.view(-1, 1, 1) + self.mean.view(-1, 1, 1))
        return out.float().movedim(1, -1)


class DemoCodec:
    """The demo model's own autoencoder, without the host's VAE around it."""

    def __init__(self, device: torch.device) -> None:
        from lab.data.examples import load_vae

        self.vae = load_vae(device)

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) in 0..1 -> (B, 16, H / 8, W / 8), as the host's VAE gives it."""
        z: Tensor = self.vae.taesd_encoder(pixels.movedim(-1, 1)).float()
        return z / self.vae.vae_scale + self.vae.vae_shift

    def decode(self, latent: Tensor) -> Tensor:
        """The inverse."""
        out: Tensor = self.vae.taesd_decoder((latent - self.vae.vae_shift) * self.vae.vae_scale)
        return out.float().movedim(1, -1)
