"""Loader of the demo model, for the demo workflow only. Linked into the host by the set-up; not shipped to users."""

from __future__ import annotations

import sys
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

sys.path.append(str(Path(__file__).resolve().parents[3]))

from lab.demo import model as demo_model


class HiLoDemoModel(io.ComfyNode):
    """MODEL and its empty CONDITIONING."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """No inputs."""
        return io.Schema(
            node_id="HiLoDemoModel",
            display_name="HiLo Demo Model",
            category="HiLo-Token/demo",
            description="A small inpainting transformer with the geometry of FLUX.1 Fill, and its empty conditioning.",
            inputs=[],
            outputs=[io.Model.Output(display_name="model"), io.Conditioning.Output(display_name="conditioning")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        """Load the weights."""
        return io.NodeOutput(demo_model.load(), demo_model.empty_conditioning())


class HiLoDemoExtension(ComfyExtension):
    """The demo's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """One node."""
        return [HiLoDemoModel]


async def comfy_entrypoint() -> HiLoDemoExtension:
    """Entry point of the V3 API."""
    return HiLoDemoExtension()
