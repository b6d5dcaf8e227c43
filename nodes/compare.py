"""HiLo Compare: dense and several presets on the same noise, side by side, with a verdict."""

from __future__ import annotations

import math
from typing import Any

import comfy.sample
import comfy.samplers
from comfy_api.latest import io
from torch import Tensor

from ..hilo_core import HiLoError
from .common import CATEGORY, schema
from .compared import compare, shared_inputs, shared_outputs
from .inputs import check_model, checked


class HiLoCompare(io.ComfyNode):
    """A KSampler that samples once dense and once with each preset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="HiLoCompare",
            display_name="HiLo Compare",
            category=CATEGORY,
            description="Shows on your own model and picture what each preset gains and what it changes: the edit without "
            "HiLo-Token and with it, on the same noise, with a verdict in one sentence. Put it in the sampler's place.",
            search_aliases=["a/b test", "quality", "benchmark", "difference", "psnr", "before after"],
            inputs=[
                io.Model.Input("model", tooltip="The model, with LoRAs. HiLo Model Patch is not needed before it."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Of the noise, which all runs share.",
                ),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip="As in KSampler."),
                io.Float.Input(
                    "cfg", default=1.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="As in KSampler. Other than 1 needs negative."
                ),
                io.Combo.Input("sampler_name", options=list(comfy.samplers.KSampler.SAMPLERS), default="euler", tooltip="As in KSampler."),
                io.Combo.Input("scheduler", options=list(comfy.samplers.KSampler.SCHEDULERS), default="simple", tooltip="As in KSampler."),
                io.Conditioning.Input("positive", tooltip="As in KSampler."),
                io.Latent.Input("latent_image", tooltip="The encoded picture with its noise mask, as for KSampler."),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="As in KSampler."),
                io.Conditioning.Input("negative", optional=True, tooltip="As in KSampler. Not needed where cfg is 1."),
                *shared_inputs(),
            ],
            outputs=shared_outputs(),
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    @checked
    def execute(
        cls,
        model: Any,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Any,
        latent_image: dict[str, Any],
        denoise: float = 1.0,
        negative: Any = None,
        presets: str = "fast, balanced, quality",
        vae: Any = None,
        plan: Any = None,
    ) -> io.NodeOutput:
        """Run the node."""
        check_model(model)
        if negative is None and not math.isclose(cfg, 1.0):
            raise HiLoError(f"cfg is {cfg:g}, which needs a negative prompt. Connect negative, or set cfg to 1.")
        if denoise == 0:
            raise HiLoError("denoise is 0, so there is nothing to sample. Raise it.")

        def noise_for(latent: Tensor) -> Tensor:
            noise: Tensor = comfy.sample.prepare_noise(latent, seed, latent_image.get("batch_index"))
            return noise

        def sample(patched: Any, noise: Tensor, latent: Tensor, how: dict[str, Any]) -> Tensor:
            out: Tensor = comfy.sample.sample(
                patched, noise, steps, cfg, sampler_name, scheduler, positive,
                positive if negative is None else negative, latent, denoise=denoise,
                noise_mask=latent_image.get("noise_mask"), seed=seed, **how,
            )  # fmt: skip
            return out

        return compare(cls, model, latent_image, positive, steps, presets, vae, plan, noise_for, sample)
