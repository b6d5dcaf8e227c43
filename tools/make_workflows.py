"""Writes `example_workflows/`: `python -m tools.make_workflows`. Run it after a node's inputs have changed."""

from __future__ import annotations

from typing import Any

from tools.graph import Graph
from tools.server import ComfyServer
from tools.workflow import save

DEMO_NOTE = """## HiLo-Token demo
The small model in this repository (it has no text encoder) removes a dandelion from a photo.

Set **preset** to `off` to see the dense result with the same seed, or to `quality` or `fast`. The text under
*HiLo Model Patch* is the measured gain of the last run.
"""


def demo(info: dict[str, Any]) -> Graph:
    """The demo model fills a hole in a photo."""
    g = Graph(info)
    g.note((40, -240), DEMO_NOTE)
    photo = g.add("LoadImage", (40, 40), ["demo.jpg", "image"], size=(315, 314))
    hole = g.add("LoadImageMask", (40, 400), ["demo_mask.png", "red", "image"], size=(315, 318))
    model = g.add("HiLoDemoModel", (400, -120))
    vae = g.add("VAELoader", (400, 20), ["hilo_demo_vae.safetensors"])
    select = g.add("HiLoTokenSelect", (400, 400), ["balanced", 0.0, 2.0, "tokens", "spatial frequency", "as preset", 0.25, 0.5, "as preset", False, 0],
                   size=(340, 480), image=(photo, "IMAGE"), mask=(hole, "MASK"), model=(model, "model"))  # fmt: skip
    cond = g.add("InpaintModelConditioning", (400, 180), [True], positive=(model, "conditioning"), negative=(model, "conditioning"), vae=(vae, "VAE"),
                 pixels=(photo, "IMAGE"), mask=(hole, "MASK"))  # fmt: skip
    patch = g.add(
        "HiLoModelPatch", (780, -120), ["balanced", -1, -1, -1, -1.0], size=(315, 180), model=(model, "model")
    )
    sampler = g.add("KSampler", (780, 120), [7, "fixed", 8, 1.0, "euler", "simple", 1.0], size=(315, 262), model=(patch, "model"), positive=(cond, "positive"),
                    negative=(cond, "negative"), latent_image=(cond, "latent"))  # fmt: skip
    decode = g.add(
        "HiLoMaskedDecode",
        (1140, -120),
        [8, False, 16],
        size=(315, 200),
        vae=(vae, "VAE"),
        samples=(sampler, "LATENT"),
        original=(photo, "IMAGE"),
        mask=(hole, "MASK"),
    )
    g.add("SaveImage", (1140, 140), ["hilo_demo"], size=(400, 440), images=(decode, "image"))
    g.add("PreviewImage", (780, 440), title="token map", size=(330, 360), images=(select, "map"))
    g.group("source", (20, -40), (355, 780))
    g.group("HiLo-Token", (760, -200), (355, 280), "#b06634")
    return g


WORKFLOWS = {"hilo_demo_inpaint": demo}


def main() -> None:
    """Write them all."""
    with ComfyServer() as server:
        info = server.object_info()
    for name, make in WORKFLOWS.items():
        save(name, make(info).workflow())


if __name__ == "__main__":
    main()
