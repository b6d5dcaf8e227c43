"""Fill models: the mask is part of what the model sees."""

from __future__ import annotations

from tools.examples.base import MASK_HINT, Example, Node, Wire


def demo(g: Example) -> None:
    """The demo model fills a hole in a photo."""
    photo = g.add("LoadImage", (40, 0), {"image": "hilo_demo.webp"}, size=(315, 340))
    g.group("1. picture and mask", (20, -60), (355, 430))
    model = g.add("HiLoDemoModel", (420, 0), size=(340, 80))
    image, mask, vae = (photo, "IMAGE"), (photo, "MASK"), (model, "vae")
    select = g.add("HiLoTokenSelect", (420, 150), size=(340, 640), image=image, mask=mask, model=(model, "model"))
    cond = g.add("InpaintModelConditioning", (800, 0), size=(315, 140), positive=(model, "conditioning"), negative=(model, "conditioning"),
                 vae=vae, pixels=image, mask=mask)  # fmt: skip
    patch = g.patch((model, "model"), plan=(select, "plan"))
    samples = g.sample(
        (patch, "model"), (cond, "positive"), (cond, "negative"), (cond, "latent"), steps=8, cfg=1.0, scheduler="simple"
    )
    g.result(samples, vae, image, mask, "hilo_demo")
    report = g.add("HiLoReport", (800, 220), size=(315, 320), model=(patch, "model"), samples=samples)
    g.add("PreviewAny", (800, 590), title="report", size=(315, 200), source=(report, "text"))
    g.explain("Demo", "A small model that comes with the pack removes a dandelion; nothing is to be downloaded. Press Run.\n\n"
              "Then paint something else: right-click the photo, *Open in MaskEditor*. The map follows at once; so it does when you change **preset** "
              "or **margin** below it. With **preset** `off` on *HiLo Model Patch* the same seed runs at normal speed, for comparison.")  # fmt: skip


def _fill(
    g: Example, photo: Node, pixels: Wire, mask: Wire, prompt: str, noise_mask: bool = True
) -> tuple[Node, Wire, Node]:
    """FLUX.1 Fill up to the model before the patch: (conditioning, model, VAE)."""
    model = g.loader("UNETLoader", (400, 0), unet_name="flux1-fill-dev.safetensors")
    vae = g.loader("VAELoader", (400, 320), vae_name="ae.safetensors")
    positive, negative = g.flux_text(prompt, 30.0)
    soft = g.add("DifferentialDiffusion", (400, 440), size=(315, 60), model=(model, "MODEL"))
    cond = g.add("InpaintModelConditioning", (780, 400), {"noise_mask": noise_mask}, size=(315, 140), positive=(positive, "CONDITIONING"),
                 negative=(negative, "CONDITIONING"), vae=(vae, "VAE"), pixels=pixels, mask=mask)  # fmt: skip
    return cond, (soft, "MODEL"), vae


def chain(
    g: Example, prompt: str = "a red hot air balloon", prefix: str = "hilo_fill", detail: bool = False
) -> tuple[Node, Node, Node]:
    """The official Fill chain with the patch before the sampler: its picture, its prompt, its result.

    detail: on a canvas that enlarges the edit, and back.
    """
    photo = g.picture()
    image, mask, fit = (photo, "IMAGE"), (photo, "MASK"), None
    if detail:
        image, mask, fit = g.fitted(photo, "the edit, enlarged", mode="detail")
    cond, model, vae = _fill(g, photo, image, mask, prompt)
    patch = g.patch(model)
    ends = (cond, "positive"), (cond, "negative"), (cond, "latent")
    samples = g.sample((patch, "model"), *ends, steps=20, cfg=1.0, scheduler="normal")
    saved = g.result(samples, (vae, "VAE"), image, mask, prefix, fit)
    return photo, next(node for node in g.nodes if node["type"] == "CLIPTextEncode"), saved


def fill_inpaint(g: Example) -> None:
    """The official Fill chain."""
    chain(g)
    g.explain("FLUX.1 Fill inpaint", "Fills the painted area from a prompt. " + MASK_HINT)


def removal(g: Example) -> None:
    """An object goes: the mask is cleaned and grown first."""
    photo = g.picture()
    grown = g.add("HiLoMaskDilate", (40, 400), {"margin": 16, "drop_specks": 64}, size=(315, 420), mask=(photo, "MASK"))
    image, mask = (photo, "IMAGE"), (grown, "dilated")
    cond, model, vae = _fill(g, photo, image, mask, "empty background, nothing there")
    patch = g.patch(model)
    conds = (cond, "positive"), (cond, "negative"), (cond, "latent")
    samples = g.sample((patch, "model"), *conds, steps=20, cfg=1.0, scheduler="normal")
    g.result(samples, (vae, "VAE"), image, mask, "hilo_removal", feather=12, match_colour=True)
    g.explain("Object removal", "Paint roughly over the object, its shadow too. *HiLo Mask Dilate* drops stray strokes and grows the mask; "
              "the prompt says what is behind. " + MASK_HINT)  # fmt: skip


def fill_detail(g: Example) -> None:
    """The edit on more pixels than it has in the picture, with the picture around it."""
    chain(g, prefix="hilo_detail", detail=True)
    g.explain(
        "FLUX.1 Fill with detail",
        "*HiLo Fit* enlarges the picture so that the edit gets 1024 pixels, as a crop would, but with the whole picture, or "
        "as much as the canvas holds, around it. *HiLo Masked Decode* puts the edit back at the picture's own size; outside "
        "the mask nothing changes. Any picture size works; for a picture that is only too large set **mode** to `fit`. "
        + MASK_HINT,
    )


def fill_outpaint(g: Example) -> None:
    """The official outpaint chain."""
    photo = g.picture()
    padded = g.add(
        "ImagePadForOutpaint",
        (40, 400),
        {"left": 400, "right": 400, "top": 0, "bottom": 0, "feathering": 24},
        size=(315, 174),
        image=(photo, "IMAGE"),
    )
    image, mask = (padded, "IMAGE"), (padded, "MASK")
    cond, model, vae = _fill(g, photo, image, mask, "beautiful scenery")
    patch = g.patch(model, preset="quality")
    conds = (cond, "positive"), (cond, "negative"), (cond, "latent")
    samples = g.sample((patch, "model"), *conds, steps=20, cfg=1.0, scheduler="normal")
    g.result(samples, (vae, "VAE"), image, mask, "hilo_outpaint", feather=24)
    g.explain("FLUX.1 Fill outpaint", "Extends the picture to the left and right. The wider the new border beside the picture, the smaller the "
              "gain; above nine tenths of all tokens the run is dense and the badge says so.")  # fmt: skip


def ab_test(g: Example) -> None:
    """The same seed dense and compressed, with the report."""
    photo = g.picture()
    image, mask = (photo, "IMAGE"), (photo, "MASK")
    cond, model, vae = _fill(g, photo, image, mask, "a red hot air balloon")
    conds = (cond, "positive"), (cond, "negative"), (cond, "latent")
    patch = g.patch(model)
    samples = g.sample((patch, "model"), *conds, steps=20, cfg=1.0, scheduler="normal")
    dense = g.sample(model, *conds, at=(1160, 740), steps=20, cfg=1.0, scheduler="normal")
    plain = g.add("HiLoMaskedDecode", (780, 620), title="normal speed", size=(315, 560), vae=(vae, "VAE"), samples=dense,
                  original=image, mask=mask)  # fmt: skip
    g.result(samples, (vae, "VAE"), (plain, "image"), mask, "hilo_compare")
    g.add("HiLoReport", (400, 560), size=(315, 320), model=(patch, "model"), samples=samples)
    g.explain(
        "A/B against normal speed",
        "The same seed and prompt twice. The slider under *3. result* goes from the result at normal speed to the faster one. "
        + MASK_HINT,
    )
