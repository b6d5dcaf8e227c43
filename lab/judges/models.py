"""The judges: small transformers on the host's own classes, each of another kind.

J1  the demo model: FLUX.1 Fill's shape, 10.7 M parameters, heads of 128, latents of the lab's own VAE.
J2  FLUX.1 Fill's shape, 35 M parameters, heads of 64, latents of FLUX.2's tiny autoencoder, with a prompt.
J3  FLUX.2 klein's shape, 18 M parameters: four position axes, shared modulation, gated MLPs without biases, 128
    channels a token, and its source as a reference latent with its own positions, grey where it is to be filled. It
    has no mask channels.

A prompt is what a caption tells at most: mean and deviation of the latent in each of 2x4 parts of the picture, as
eight tokens. Half of the training is without (zeros), so that guidance has something to work with.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hilo_token.demo import model as demo_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab.judges.codec import DemoCodec, Taef2, folder

TEXT_TOKENS, TEXT_WIDTH, POOLED_WIDTH = 8, 64, 32
SLICE = 14_000_000  # bytes of weights in one file


@dataclass(frozen=True)
class Judge:
    """What tells the judges apart."""

    name: str
    shift: float  # of the flow schedule
    packed: bool  # latents of 128 channels at a sixteenth of the picture's size
    reference: bool  # the source as a reference latent, instead of concatenated channels
    unet: dict[str, Any]

    @property
    def token(self) -> int:
        """Latent pixels a side."""
        return int(self.unet["patch_size"])


_SHARED = {
    "image_model": "flux", "num_heads": 8, "axes_dim": [16, 24, 24], "theta": 10000, "mlp_ratio": 4.0,
    "context_in_dim": TEXT_WIDTH, "guidance_embed": False,
}  # fmt: skip
JUDGES = {
    "J2": Judge("J2", 2.5, False, False, _SHARED | {
        "in_channels": 128, "out_channels": 32, "patch_size": 2, "hidden_size": 512, "depth": 1,
        "depth_single_blocks": 6, "qkv_bias": True, "vec_in_dim": POOLED_WIDTH,
    }),
    "J3": Judge("J3", 2.02, True, True, _SHARED | {
        "in_channels": 128, "out_channels": 128, "patch_size": 1, "hidden_size": 384, "num_heads": 6, "depth": 1,
        "depth_single_blocks": 6, "qkv_bias": False, "vec_in_dim": None, "axes_dim": [16, 16, 16, 16], "theta": 2000,
        "mlp_ratio": 3.0, "global_modulation": True, "mlp_silu_act": True, "ops_bias": False,
        "default_ref_method": "index", "ref_index_scale": 10.0,
    }),
}  # fmt: skip


def build(judge: Judge) -> Any:
    """The host's BaseModel in float32 with empty weights."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.supported_models
    from comfy.ldm.flux.model import FluxParams

    known = {field.name for field in dataclasses.fields(FluxParams)}
    config = {k: v for k, v in judge.unet.items() if k in known or k == "image_model"}
    if "txt_ids_dims" in known:
        config["txt_ids_dims"] = [3] if len(judge.unet["axes_dim"]) == 4 else []
    supported = comfy.supported_models.FluxSchnell(config)
    supported.sampling_settings = {"multiplier": 1.0, "shift": judge.shift}
    supported.set_inference_dtype(torch.float32, None)
    supported.latent_format = comfy.latent_formats.LatentFormat()
    supported.latent_format.scale_factor = 1.0
    supported.latent_format.latent_channels = judge.unet["out_channels"]
    return comfy.model_base.Flux(supported, model_type=comfy.model_base.ModelType.FLOW)


def prompt(latent: Tensor, packed: bool) -> Tensor:
    """(B, 8, 64): mean and deviation of the 32 channels in 2x4 parts of the picture."""
    z = F.pixel_shuffle(latent, 2) if packed else latent
    mean = F.adaptive_avg_pool2d(z, (2, 4))
    deviation = (F.adaptive_avg_pool2d(z * z, (2, 4)) - mean * mean).clamp(min=0).sqrt()
    return torch.cat([mean, deviation], 1).flatten(2).transpose(1, 2)


def save(judge: Judge, network: torch.nn.Module, codec: Taef2, into: Path) -> list[Path]:
    """Packed weights (int8 with a scale a row) and the codec's scaling, in files of at most SLICE bytes each."""
    packed = demo_model.pack(network.state_dict())
    packed |= {"codec.mean": codec.mean.cpu().clone(), "codec.deviation": codec.deviation.cpu().clone()}
    total = sum(t.numel() * t.element_size() for t in packed.values())
    parts: list[dict[str, Tensor]] = [{} for _ in range(math.ceil(total / SLICE))]
    sizes = [0] * len(parts)
    for name, value in sorted(packed.items(), key=lambda item: -item[1].numel()):
        at = sizes.index(min(sizes))
        parts[at][name] = value.contiguous()
        sizes[at] += value.numel() * value.element_size()
    into.mkdir(parents=True, exist_ok=True)
    paths = [into / f"{judge.name}-{i}.safetensors" for i in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        save_file(part, path)
    return paths


def read(judge: Judge, files: Iterable[Path]) -> dict[str, Tensor]:
    """The unpacked weights."""
    packed: dict[str, Tensor] = {}
    for file in files:
        packed |= load_file(file)
    if not packed:
        raise FileNotFoundError(
            f"No weights of {judge.name}. Train it: python -m lab.judges.train --judge {judge.name}"
        )
    return demo_model.unpack(packed)


class Loaded:
    """One judge, ready to sample: the host's ModelPatcher, its codec, its conditioning."""

    def __init__(self, name: str, device: torch.device) -> None:
        import comfy.model_management as management
        import comfy.model_patcher

        self.name, self.judge = name, JUDGES.get(name)
        if self.judge is None:
            model = demo_model.build(torch.float32)
            state = demo_model.unpack(load_file(demo_model.WEIGHTS))
            self.codec: Any = DemoCodec(device)
        else:
            model = build(self.judge)
            state = read(self.judge, sorted(folder().glob(f"{name}-*.safetensors")))
            codec = Taef2.load(self.judge.packed)
            codec.mean.copy_(state.pop("codec.mean"))
            codec.deviation.copy_(state.pop("codec.deviation"))
            self.codec = codec.to(device, memory_format=torch.channels_last)
        wanted = model.diffusion_model.state_dict().keys()  # hosts from 0.29 call a norm's scale its weight
        state = {k if k in wanted else k.replace("_norm.scale", "_norm.weight"): v for k, v in state.items()}
        model.diffusion_model.load_state_dict(state)
        model.diffusion_model.eval().requires_grad_(False)
        self.patcher = comfy.model_patcher.ModelPatcher(model, device, management.unet_offload_device())

    def conditioning(self, masked: Tensor, mask: Tensor, about: Tensor | None) -> list[Any]:
        """As the host's nodes make it. masked: latent of the picture with grey under the mask. mask: (H, W) float.
        about: the latent that the prompt is made of; None: no prompt."""
        if self.judge is None:
            (text, values), *_ = demo_model.empty_conditioning()
            return [[text, values | {"concat_latent_image": masked, "concat_mask": mask[None, None]}]]
        text = torch.zeros(1, TEXT_TOKENS, TEXT_WIDTH)
        if about is not None:
            text = prompt(about, self.judge.packed).cpu()
        values: dict[str, Any] = {"pooled_output": torch.zeros(1, POOLED_WIDTH)}
        if self.judge.reference:
            values["reference_latents"] = [masked]
        else:
            values |= {"concat_latent_image": masked, "concat_mask": mask[None, None]}
        return [[text, values]]

    def negative(self, masked: Tensor, mask: Tensor) -> list[Any]:
        """What guidance leads away from: no prompt. A judge that knows none: a grey picture, all masked."""
        if self.judge is None:
            nothing = self.codec.encode(torch.full((1, *mask.shape, 3), 0.5, device=self.patcher.load_device))
            return self.conditioning(nothing.cpu(), torch.ones_like(mask), None)
        return self.conditioning(masked, mask, None)
