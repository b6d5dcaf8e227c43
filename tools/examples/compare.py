"""Which preset suits a model: dense and several presets on the same noise, side by side."""

from __future__ import annotations

from tools.examples import fill
from tools.examples.base import Example


def presets(g: Example) -> None:
    """The demo model's edit with each preset, in one node."""
    photo = g.add("LoadImage", (40, 0), {"image": "hilo_demo.webp"}, size=(315, 340))
    g.group("1. picture and mask", (20, -60), (355, 430))
    model = g.add("HiLoDemoModel", (420, 0), size=(315, 80))
    cond = g.add("InpaintModelConditioning", (420, 150), size=(315, 140), positive=(model, "conditioning"),
                 negative=(model, "conditioning"), vae=(model, "vae"), pixels=(photo, "IMAGE"), mask=(photo, "MASK"))  # fmt: skip
    widgets = {"seed": 7, "steps": 8, "presets": "fast, balanced"}
    found = g.add("HiLoCompare", (780, 0), widgets, size=(440, 860), model=(model, "model"), positive=(cond, "positive"),
                  negative=(cond, "negative"), latent_image=(cond, "latent"), vae=(model, "vae"))  # fmt: skip
    g.group("2. each preset and normal speed", (760, -60), (480, 940), "#b06634")
    g.add("PreviewAny", (1280, 0), title="verdict", size=(400, 220), source=(found, "text"))
    g.add("PreviewImage", (1280, 270), title="difference, 8 times", size=(400, 420), images=(found, "difference"))
    g.group("3. result", (1260, -60), (440, 770), "#3f7f4f")
    g.explain("Compare presets", "The same seed at normal speed and with each preset. The slider shows both; the buttons below it choose what lies over "
              "normal speed. The text says which preset cannot be told from it here.\n\nWith your own model: put *HiLo Compare* in the place of the "
              "sampler, choose a preset, and put the sampler with *HiLo Model Patch* back.")  # fmt: skip


def fill_presets(g: Example) -> None:
    """FLUX.1 Fill with each preset, for the blueprint: the pictures in their order, and the verdict."""
    photo = g.picture()
    cond, model, vae = fill._fill(g, photo, (photo, "IMAGE"), (photo, "MASK"), "a red hot air balloon")
    found = g.add("HiLoCompare", (1160, 0), {"scheduler": "normal"}, size=(440, 860), model=model, positive=(cond, "positive"),
                  negative=(cond, "negative"), latent_image=(cond, "latent"), vae=(vae, "VAE"))  # fmt: skip
    g.add("SaveImage", (1660, 0), size=(400, 390), images=(found, "compressed"))
    g.add("PreviewAny", (1660, 440), size=(400, 220), source=(found, "text"))
