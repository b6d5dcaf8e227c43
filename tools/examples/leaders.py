"""Models that came after ComfyUI 0.3.75, on nodes that it has: with a noise mask, and edited through a reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tools.examples.base import MASK_HINT, OWN_TIMESTEP, Example
from tools.examples.edit import klein


def anima(g: Example) -> None:
    """Anima with a noise mask; encoder, steps and guidance as in its official workflow."""
    image, mask, fit = g.fitted(g.picture())
    model = g.loader("UNETLoader", (400, 0), unet_name="anima-base-v1.0.safetensors")
    clip = g.loader("CLIPLoader", (400, 140), clip_name="qwen_3_06b_base.safetensors", type="stable_diffusion")
    vae = g.loader("VAELoader", (400, 320), vae_name="qwen_image_vae.safetensors")
    soft = g.add("DifferentialDiffusion", (400, 440), size=(315, 60), model=(model, "MODEL"))
    positive = g.text(clip, "a red hot air balloon, anime illustration")
    negative = g.text(clip, "worst quality, low quality, blurry, jpeg artifacts", 170)
    latent = g.masked_latent(image, mask, (vae, "VAE"))
    patch = g.patch((soft, "MODEL"))
    samples = g.sample((patch, "model"), (positive, "CONDITIONING"), (negative, "CONDITIONING"), latent, steps=30, cfg=4.0,
                       scheduler="simple", denoise=0.85)  # fmt: skip
    g.result(samples, (vae, "VAE"), image, mask, "hilo_anima", fit)
    g.explain("Anima inpaint", "Repaints the masked area of a drawing. **denoise** says how far it may go from what was there. Needs ComfyUI 0.11. "
              + MASK_HINT)  # fmt: skip


def krea2(g: Example) -> None:
    """Krea 2 Turbo with a noise mask: eight steps, no guidance."""
    image, mask, fit = g.fitted(g.picture())
    model = g.loader("UNETLoader", (400, 0), unet_name="krea2_turbo_fp8_scaled.safetensors")
    clip = g.loader("CLIPLoader", (400, 140), clip_name="qwen3vl_4b_fp8_scaled.safetensors", type="krea2")
    vae = g.loader("VAELoader", (400, 320), vae_name="qwen_image_vae.safetensors")
    soft = g.add("DifferentialDiffusion", (400, 440), size=(315, 60), model=(model, "MODEL"))
    positive = g.text(clip, "a red hot air balloon")
    negative = g.add("ConditioningZeroOut", (780, 190), size=(315, 40), conditioning=(positive, "CONDITIONING"))
    latent = g.masked_latent(image, mask, (vae, "VAE"))
    patch = g.patch((soft, "MODEL"))
    samples = g.sample((patch, "model"), (positive, "CONDITIONING"), (negative, "CONDITIONING"), latent, steps=8, cfg=1.0,
                       scheduler="simple", denoise=0.85)  # fmt: skip
    g.result(samples, (vae, "VAE"), image, mask, "hilo_krea2", fit)
    g.explain("Krea 2 Turbo inpaint", "Repaints the masked area in eight steps. **denoise** says how far it may go from what was there. Needs ComfyUI "
              "0.26. " + MASK_HINT)  # fmt: skip


def krea2_reference(g: Example) -> None:
    """Krea 2 Turbo with a noise mask and the style of another picture, by the LoRA of its official workflow."""
    image, mask, fit = g.fitted(g.picture())
    style = g.add("LoadImage", (40, 750), {"image": "example.png"}, title="the picture with the style", size=(315, 314))
    g.group("style", (20, 690), (355, 400))
    model = g.loader("UNETLoader", (400, 0), unet_name="krea2_turbo_fp8_scaled.safetensors")
    clip = g.loader("CLIPLoader", (400, 140), clip_name="qwen3vl_4b_fp8_scaled.safetensors", type="krea2")
    vae = g.loader("VAELoader", (400, 320), vae_name="qwen_image_vae.safetensors")
    lora = g.loader("LoraLoaderModelOnly", (400, 440), {"model": (model, "MODEL")}, lora_name="krea2_style_reference.safetensors")  # fmt: skip
    text = g.add("TextEncodeQwenImageEditPlus", (780, 0), {"prompt": "a red hot air balloon"}, size=(315, 190), clip=(clip, "CLIP"),
                 vae=(vae, "VAE"), image1=(style, "IMAGE"))  # fmt: skip
    positive = g.add("FluxKontextMultiReferenceLatentMethod", (780, 220), {"reference_latents_method": OWN_TIMESTEP},
                     size=(315, 60), conditioning=(text, "CONDITIONING"))  # fmt: skip
    negative = g.add("ConditioningZeroOut", (780, 320), size=(315, 40), conditioning=(positive, "CONDITIONING"))
    latent = g.masked_latent(image, mask, (vae, "VAE"))
    patch = g.patch((lora, "MODEL"))
    samples = g.sample((patch, "model"), (positive, "CONDITIONING"), (negative, "CONDITIONING"), latent, steps=8, cfg=1.0, scheduler="simple")  # fmt: skip
    g.result(samples, (vae, "VAE"), image, mask, "hilo_krea2_style", fit)
    g.explain("Krea 2 Turbo, style of another picture", "Fills the masked area in the style of the second picture. Needs ComfyUI 0.29. " + MASK_HINT)  # fmt: skip


def klein_mask(g: Example) -> None:
    """The picture is a reference; the mask goes to HiLo Model Patch and to Masked Decode, nowhere else."""
    image, mask, fit = g.fitted(g.picture())
    model, text, zero = klein(g, "Replace the masked object by a glass vase")
    vae = g.loader("VAELoader", (400, 320), vae_name="flux2-vae.safetensors")
    g.add("VAEEncode", (780, 290), size=(315, 60), pixels=image, vae=(vae, "VAE"))
    ends = [g.edited(node, 390 + 110 * row) for row, node in enumerate((text, zero))]
    empty, _ = g.empty_flux2(image, 610)
    patch = g.patch((model, "MODEL"), mask=mask)
    samples = g.sample((patch, "model"), *ends, (empty, "LATENT"), steps=4, cfg=1.0, scheduler="simple")
    g.result(samples, (vae, "VAE"), image, mask, "hilo_klein_mask", fit, match_colour=True)
    g.explain("FLUX.2 klein, mask on the patch", "An instruction changes the masked area. The latent is empty and the picture a reference, so the mask goes "
              "to *HiLo Model Patch*. Needs a ComfyUI that knows FLUX.2 klein (0.3.75 does not). " + MASK_HINT)  # fmt: skip


def klein_inpaint(g: Example) -> None:
    """A noise mask and no reference: the prompt says what is there."""
    image, mask, fit = g.fitted(g.picture())
    model, text, zero = klein(g, "a glass vase on a wooden table")
    vae = g.loader("VAELoader", (400, 320), vae_name="flux2-vae.safetensors")
    latent = g.masked_latent(image, mask, (vae, "VAE"))
    patch = g.patch((model, "MODEL"))
    ends = (text, "CONDITIONING"), (zero, "CONDITIONING")
    samples = g.sample((patch, "model"), *ends, latent, steps=4, cfg=1.0, scheduler="simple")
    g.result(samples, (vae, "VAE"), image, mask, "hilo_klein_inpaint", fit)
    g.explain("FLUX.2 klein inpaint", "Fills the masked area from a prompt, in four steps. To change what is there by an instruction, take *FLUX.2 "
              "klein - masked edit*. Needs a ComfyUI that knows FLUX.2 klein (0.3.75 does not). " + MASK_HINT)  # fmt: skip


def _qwen21(g: Example, file: str, prefix: str, **sampling: Any) -> None:
    """Qwen-Image 2.1 from the picture to the result.

    The encoder sees the picture and leaves a place for it, to which the reference latent goes: what the host's own
    node for this model does, made of nodes that older hosts have too, and without resizing the reference.
    """
    image, mask, fit = g.fitted(g.picture())
    model = g.loader("UNETLoader", (400, 0), unet_name=file)
    clip = g.loader("CLIPLoader", (400, 140), clip_name="qwen3vl_8b_int8_convrot.safetensors", type="qwen_image")
    vae = g.loader("VAELoader", (400, 320), vae_name="qwen_image_2.1_vae_bf16.safetensors")
    last = model, "MODEL"
    if shift := sampling.pop("shift", 0):
        last = g.add("ModelSamplingAuraFlow", (400, 440), {"shift": shift}, size=(315, 60), model=last), "MODEL"
    text = g.add("TextEncodeQwenImageEdit", (780, 0), {"prompt": "Replace the cat with a dalmatian"}, size=(315, 190), clip=(clip, "CLIP"), image=image)  # fmt: skip
    zero = g.add("ConditioningZeroOut", (780, 230), size=(315, 40), conditioning=(text, "CONDITIONING"))
    latent = g.masked_latent(image, mask, (vae, "VAE"))
    ends = [g.edited(node, 660 + 110 * row) for row, node in enumerate((text, zero))]
    patch = g.patch(last)
    samples = g.sample((patch, "model"), *ends, latent, cfg=1.0, **sampling)
    g.result(samples, (vae, "VAE"), image, mask, prefix, fit, match_colour=True)


def qwen21(g: Example) -> None:
    """Qwen-Image 2.1."""
    _qwen21(g, "qwen_image_2.1_int8_convrot.safetensors", "hilo_qwen21", steps=25, scheduler="simple")
    g.explain("Qwen-Image 2.1 masked edit", "An instruction changes the masked area. Needs ComfyUI 0.37. " + MASK_HINT)


def qwen21_turbo(g: Example) -> None:
    """Its turbo model. Of the schedulers of old and new hosts, this one is nearest to the steps it was made for."""
    _qwen21(
        g, "qwen_image_2.1_turbo_int8_convrot.safetensors", "hilo_qwen21_turbo", steps=8, scheduler="beta", shift=10.3
    )
    g.explain("Qwen-Image 2.1 Turbo masked edit", "An instruction changes the masked area, in eight steps; **shift** and **scheduler** give the official "
              "noise levels to within 0.03. Needs ComfyUI 0.39. " + MASK_HINT)  # fmt: skip


WORKFLOWS: dict[str, Callable[[Example], None]] = {
    "Anima - inpaint": anima,
    "Krea 2 Turbo - inpaint": krea2,
    "FLUX.2 klein - mask on the patch": klein_mask,
    "FLUX.2 klein - inpaint": klein_inpaint,
    "Krea 2 Turbo - style reference": krea2_reference,
    "Qwen-Image 2.1 - masked edit": qwen21,
    "Qwen-Image 2.1 Turbo - masked edit": qwen21_turbo,
}
