"""The VAEs of the decode bench: the trained small one; those of model families at size with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tools import host

SMALL = host.ROOT / "demo" / "hilo_demo_vae.safetensors"
FLUX = {
    "double_z": True, "z_channels": 16, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
    "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip
WAN = {
    "dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": [],
    "temperal_downsample": [False, True, True], "dropout": 0.0,
}  # fmt: skip
SPREAD = 0.5  # standard deviation of a decoded picture in -1..1, as that of a photo


def photo(side: int) -> Tensor:
    """(1, side, side, 3) in 0..1: the demo photo's centre square."""
    picture = Image.open(host.ROOT / "lab" / "photos" / "demo.jpg").convert("RGB")
    square, (width, height) = min(picture.size), picture.size
    left, top = (width - square) // 2, (height - square) // 2
    picture = picture.crop((left, top, left + square, top + square)).resize((side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]


def small() -> Any:
    """The demo's trained VAE, as the host loads it."""
    import comfy.sd
    import comfy.utils

    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(SMALL)))


def empty_flux() -> Any:
    """FLUX.1's autoencoder module, on the host's own classes, not initialised."""
    from comfy.ldm.models.autoencoder import AutoencodingEngine

    module = "comfy.ldm.modules.diffusionmodules.model."
    return AutoencodingEngine(
        regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
        encoder_config={"target": module + "Encoder", "params": FLUX},
        decoder_config={"target": module + "Decoder", "params": FLUX},
    )


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Random weights of unit gain, in place: a layer's output has its input's variance."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if name.endswith("gamma"):
            weight.data.fill_(1.0)
        elif weight.ndim > 1:
            weight.data.normal_(0, weight[0].numel() ** -0.5, generator=generator)
        else:
            weight.data.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)


def flux_random(seed: int = 0) -> Any:
    """FLUX.1's VAE with random weights, as the host loads it.

    Weights have unit gain, and the last layer is scaled so that a decoded photo's latent has the spread of a picture.
    Random layers mix far regions of a picture more than trained ones do (GroupNorm's statistics and the attention of
    the middle block both see all of it), so differences measured with it are a hard case.
    """
    import comfy.sd

    model = empty_flux()
    randomise(model, seed)
    sample = model.decode(small().encode(photo(256)).float())
    last = model.decoder.conv_out
    last.weight.data.mul_(SPREAD / sample.std())
    last.bias.data.sub_(SPREAD * sample.mean((0, 2, 3)) / sample.std())
    return comfy.sd.VAE(sd=model.state_dict())


def flux2_random(seed: int = 0) -> Any:
    """FLUX.2's VAE with random weights, as the host loads it: FLUX.1's layers, whose latent holds 2x2 features."""
    import comfy.sd
    from comfy.ldm.models.autoencoder import AutoencoderKL

    model = AutoencoderKL(ddconfig={**FLUX, "z_channels": 32, "batch_norm_latent": True}, embed_dim=32)
    randomise(model, seed)
    model.decoder.conv_out.weight.data.mul_(SPREAD)
    return comfy.sd.VAE(sd=model.state_dict())


def wan_random(seed: int = 0) -> Any:
    """The VAE of Wan 2.1 and Qwen-Image with random weights of unit gain, as the host loads it."""
    import comfy.sd
    from comfy.ldm.wan.vae import WanVAE

    model = WanVAE(**WAN)
    randomise(model, seed)
    return comfy.sd.VAE(sd=model.state_dict())


VAES: dict[str, Callable[[], Any]] = {
    "small trained VAE": small, "FLUX.1 VAE, random weights": flux_random,
    "FLUX.2 VAE, random weights": flux2_random, "Qwen-Image VAE, random weights": wan_random,
}  # fmt: skip
