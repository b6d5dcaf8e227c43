"""HiLo Demo Model: the small model, its conditioning and its VAE that ship with the pack, for the demo template."""

from __future__ import annotations

from comfy_api.latest import io

from ..demo import model as demo
from .common import CATEGORY, schema


class HiLoDemoModel(io.ComfyNode):
    """Nothing in; MODEL, CONDITIONING and VAE out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """No inputs."""
        return schema(
            node_id="HiLoDemoModel",
            display_name="HiLo Demo Model",
            category=f"{CATEGORY}/demo",
            description="A small inpainting model that comes with HiLo-Token, to try it without any download. It fills "
            "grass, sky and other textures; it knows no words.",
            search_aliases=["demo", "test model"],
            inputs=[],
            outputs=[
                io.Model.Output("model", display_name="model", tooltip="The small model, for HiLo Model Patch."),
                io.Conditioning.Output("conditioning", display_name="conditioning", tooltip="Its empty prompt."),
                io.Vae.Output("vae", display_name="vae", tooltip="The VAE that belongs to it."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        """Run the node."""
        return io.NodeOutput(demo.load(), demo.empty_conditioning(), demo.load_vae())
