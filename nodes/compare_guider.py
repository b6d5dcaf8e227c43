"""HiLo Compare (Advanced): the same comparison for workflows with a guider, in the place of SamplerCustomAdvanced."""

from __future__ import annotations

import copy
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..hilo_core import HiLoError
from .common import CATEGORY, schema
from .compared import compare, shared_inputs, shared_outputs
from .inputs import check_model, checked


class HiLoCompareAdvanced(io.ComfyNode):
    """A SamplerCustomAdvanced that samples once dense and once with each preset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return schema(
            node_id="HiLoCompareAdvanced",
            display_name="HiLo Compare (Advanced)",
            category=CATEGORY,
            description="HiLo Compare for workflows with a guider: put it in the place of SamplerCustomAdvanced.",
            search_aliases=["a/b test", "quality", "benchmark", "difference", "custom sampler"],
            inputs=[
                io.Noise.Input("noise", tooltip="As for SamplerCustomAdvanced; all runs share it."),
                io.Guider.Input("guider", tooltip="As for SamplerCustomAdvanced. HiLo Model Patch is not needed before it."),
                io.Sampler.Input("sampler", tooltip="As for SamplerCustomAdvanced."),
                io.Sigmas.Input("sigmas", tooltip="As for SamplerCustomAdvanced."),
                io.Latent.Input("latent_image", tooltip="The encoded picture with its noise mask."),
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
        noise: Any,
        guider: Any,
        sampler: Any,
        sigmas: Any,
        latent_image: dict[str, Any],
        presets: str = "fast, balanced, quality",
        vae: Any = None,
        plan: Any = None,
    ) -> io.NodeOutput:
        """Run the node."""
        model = check_model(getattr(guider, "model_patcher", None))
        steps = len(sigmas) - 1 if isinstance(sigmas, Tensor) and sigmas.ndim == 1 else 0
        if steps < 1:
            raise HiLoError("The sigmas hold no step. Connect a scheduler, with denoise above 0.")

        def noise_for(latent: Tensor) -> Tensor:
            made: Tensor = noise.generate_noise({**latent_image, "samples": latent})
            return made

        def sample(patched: Any, given: Tensor, latent: Tensor, how: dict[str, Any]) -> Tensor:
            out: Tensor = _on(guider, patched).sample(
                given, latent, sampler, sigmas, denoise_mask=latent_image.get("noise_mask"), seed=noise.seed, **how
            )
            return out

        positive = [(None, entry) for entry in getattr(guider, "original_conds", {}).get("positive", ())]
        return compare(cls, model, latent_image, positive, steps, presets, vae, plan, noise_for, sample)


def _on(guider: Any, model: Any) -> Any:
    """The guider with another clone of its model; the user's own stays as it is."""
    other = copy.copy(guider)
    other.model_patcher, other.model_options = model, model.model_options
    return other
