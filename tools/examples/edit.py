"""Edit models: the source picture is a reference."""

from __future__ import annotations

from tools.examples.base import MASK_HINT, OWN_TIMESTEP, Example, Node


def kontext(g: Example) -> None:
    """The official Kontext chain, with the noise mask that makes it a local edit."""
    photo = g.picture()
    image, mask, fit = g.fitted(photo)
    model = g.loader("UNETLoader", (400, 0), unet_name="flux1-dev-kontext_fp8_scaled.safetensors")
    vae = g.loader("VAELoader", (400, 320), vae_name="ae.safetensors")
    clip = g.loader(
        "DualCLIPLoader",
        (400, 140),
        clip_name1="clip_l.safetensors",
        clip_name2="t5xxl_fp8_e4m3fn_scaled.safetensors",
        type="flux",
    )
    text = g.text(clip, "Change the shirt to red wool, keep everything else")
    latent = g.masked_latent(image, mask, (vae, "VAE"))
    reference = g.edited(text, 180)
    positive = g.add("FluxGuidance", (780, 272), {"guidance": 2.5}, size=(315, 60), conditioning=reference)
    negative = g.add("ConditioningZeroOut", (780, 365), size=(315, 40), conditioning=(text, "CONDITIONING"))
    patch = g.patch((model, "MODEL"))
    conds = (positive, "CONDITIONING"), (negative, "CONDITIONING")
    samples = g.sample((patch, "model"), *conds, latent, steps=20, cfg=1.0, scheduler="simple")
    g.result(samples, (vae, "VAE"), image, mask, "hilo_kontext", fit, match_colour=True)
    g.explain(
        "FLUX.1 Kontext masked edit",
        "An instruction changes the masked area; the rest stays as it was. The reference follows the same plan. "
        + MASK_HINT,
    )


def _flux2(g: Example, model: Node, text: Node, negative: Node | None, steps: int, prefix: str) -> None:
    """From the conditioning to the result: an empty latent, so the plan brings the mask."""
    image, mask, fit = g.fitted(g.picture())
    vae = g.loader("VAELoader", (400, 320), vae_name="flux2-vae.safetensors")
    g.add("VAEEncode", (780, 290), size=(315, 60), pixels=image, vae=(vae, "VAE"))
    ends = [g.edited(node, 390 + 110 * row) for row, node in enumerate((text, negative)) if node is not None]
    empty, size = g.empty_flux2(image, 610)
    select = g.add("HiLoTokenSelect", (400, 440), size=(340, 900), image=image, mask=mask, model=(model, "MODEL"))
    patch = g.patch((model, "MODEL"), plan=(select, "plan"))
    if negative is None:
        guider = g.add("BasicGuider", (1160, 380), size=(315, 60), model=(patch, "model"), conditioning=ends[0])
    else:
        guider = g.add("CFGGuider", (1160, 380), {"cfg": 1.0}, size=(315, 90), model=(patch, "model"), positive=ends[0], negative=ends[1])  # fmt: skip
    noise = g.add("RandomNoise", (1160, 510), {"noise_seed": 7}, size=(315, 82))
    kind = g.add("KSamplerSelect", (1160, 630), {"sampler_name": "euler"}, size=(315, 60))
    sigmas = g.add("Flux2Scheduler", (1160, 730), {"steps": steps}, width=(size, "width"), height=(size, "height"))
    sampler = g.add("SamplerCustomAdvanced", (1160, 900), noise=(noise, "NOISE"), guider=(guider, "GUIDER"), sampler=(kind, "SAMPLER"),
                    sigmas=(sigmas, "SIGMAS"), latent_image=(empty, "LATENT"))  # fmt: skip
    g.result((sampler, "output"), (vae, "VAE"), image, mask, prefix, fit, match_colour=True)


FLUX2_TEXT = (
    "An instruction changes the masked area. The latent is empty, so *HiLo Token Select* brings the mask with its plan, "
    "and shows what will be computed. " + MASK_HINT
)


def flux2(g: Example) -> None:
    """The official FLUX.2 chain."""
    model = g.loader("UNETLoader", (400, 0), unet_name="flux2_dev_fp8mixed.safetensors")
    clip = g.loader("CLIPLoader", (400, 140), clip_name="mistral_3_small_flux2_fp8.safetensors", type="flux2")
    text = g.text(clip, "Replace the masked object by a glass vase")
    guidance = g.add("FluxGuidance", (780, 190), {"guidance": 4.0}, size=(315, 60), conditioning=(text, "CONDITIONING"))
    _flux2(g, model, guidance, None, 20, "hilo_flux2")
    g.explain("FLUX.2 masked edit", FLUX2_TEXT)


def klein(g: Example, prompt: str) -> tuple[Node, Node, Node]:
    """The distilled klein model without guidance: (model, prompt, its zeroed negative)."""
    model = g.loader("UNETLoader", (400, 0), unet_name="flux-2-klein-4b-fp8.safetensors")
    clip = g.loader("CLIPLoader", (400, 140), clip_name="qwen_3_4b.safetensors", type="flux2")
    text = g.text(clip, prompt)
    zero = g.add("ConditioningZeroOut", (780, 190), size=(315, 40), conditioning=(text, "CONDITIONING"))
    return model, text, zero


def flux2_klein(g: Example) -> None:
    """The official klein chain: four steps."""
    _flux2(g, *klein(g, "Replace the masked object by a glass vase"), 4, "hilo_klein")
    g.explain("FLUX.2 klein masked edit", "Four steps. Needs a ComfyUI that knows FLUX.2 klein (0.3.75 does not). " + FLUX2_TEXT)  # fmt: skip


def _qwen(
    g: Example, file: str, shift: float, steps: int, cfg: float, prefix: str, method: str = "", lora: str = ""
) -> None:
    """The official Qwen-Image-Edit chain with a noise mask. The encoder gets no VAE: it would make a reference of another
    size than the canvas, and what the model shows would lie beside the original."""
    image, mask, fit = g.fitted(g.picture())
    model = g.loader("UNETLoader", (400, 0), unet_name=file)
    clip = g.loader("CLIPLoader", (400, 140), clip_name="qwen_2.5_vl_7b_fp8_scaled.safetensors", type="qwen_image")
    vae = g.loader("VAELoader", (400, 320), vae_name="qwen_image_vae.safetensors")
    sampling = g.add("ModelSamplingAuraFlow", (400, 440), {"shift": shift}, size=(315, 60), model=(model, "MODEL"))
    norm = g.add("CFGNorm", (400, 540), {"strength": 1.0}, size=(315, 60), model=(sampling, "MODEL"))
    last = norm, "patched_model"
    if lora:
        last = g.loader("LoraLoaderModelOnly", (400, 640), {"model": last}, lora_name=lora), "MODEL"
    latent, ends = g.masked_latent(image, mask, (vae, "VAE")), []
    for row, prompt in enumerate(("Replace the cat with a dalmatian", "")):
        text = g.add("TextEncodeQwenImageEditPlus", (780, 220 * row), {"prompt": prompt}, size=(315, 190), clip=(clip, "CLIP"), image1=image)  # fmt: skip
        ends.append(g.edited(text, 650 + 100 * row))
    if method:
        ends = [
            (g.add("FluxKontextMultiReferenceLatentMethod", (780, 850 + 100 * row), {"reference_latents_method": method},
                   size=(315, 60), conditioning=end), "CONDITIONING")
            for row, end in enumerate(ends)
        ]  # fmt: skip
    patch = g.patch(last)
    samples = g.sample((patch, "model"), *ends, latent, steps=steps, cfg=cfg, scheduler="simple")
    g.result(samples, (vae, "VAE"), image, mask, prefix, fit, match_colour=True)


def qwen_2509(g: Example) -> None:
    """Qwen-Image-Edit 2509."""
    _qwen(g, "qwen_image_edit_2509_fp8_e4m3fn.safetensors", 3.0, 20, 2.5, "hilo_qwen_edit")
    g.explain("Qwen-Image-Edit 2509 masked edit", "An instruction changes the masked area. A further picture goes to **image2** of both text nodes and, through "
              "*VAE Encode*, to another *ReferenceLatent* after each. For the 4-step LoRA put its loader before *ModelSamplingAuraFlow*, with 4 steps and cfg 1. " + MASK_HINT)  # fmt: skip


QWEN_2511 = "qwen_image_edit_2511_fp8mixed.safetensors", 3.1


def qwen_2511(g: Example) -> None:
    """Qwen-Image-Edit 2511, whose references have their own timestep."""
    _qwen(g, *QWEN_2511, 20, 4.0, "hilo_qwen_2511", OWN_TIMESTEP)
    g.explain("Qwen-Image-Edit 2511 masked edit", "An instruction changes the masked area. The references have a timestep of their own "
              "(`index_timestep_zero`, which ComfyUI 0.3.75 does not know yet). " + MASK_HINT)  # fmt: skip


def qwen_lightning(g: Example) -> None:
    """The same with the LoRA of four steps."""
    lora = "Qwen-Image-Edit-2511-Lightning-4steps-V1.0-bf16.safetensors"
    _qwen(g, *QWEN_2511, 4, 1.0, "hilo_qwen_lightning", OWN_TIMESTEP, lora)
    g.explain("Qwen-Image-Edit 2511 masked edit in 4 steps", "An instruction changes the masked area, in four steps with the Lightning LoRA. "
              "Needs a ComfyUI newer than 0.3.75 (`index_timestep_zero`). " + MASK_HINT)  # fmt: skip
