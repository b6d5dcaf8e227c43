"""Models that came after ComfyUI 0.3.75, on nodes that it has: with a noise mask, and edited through a reference."""

from __future__ import annotations

from collections.abc import Callable

from tools.examples.base import MASK_HINT, Example


def anima(g: Example) -> None:
    """Anima with a noise mask; encoder, steps and guidance as in its official workflow."""
    photo = g.picture()
    image, mask = (photo, "IMAGE"), (photo, "MASK")
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
    g.result(samples, (vae, "VAE"), image, mask, "hilo_anima")
    g.explain("Anima inpaint", "Repaints the masked area of a drawing. **denoise** says how far it may go from what was there. Needs ComfyUI 0.11. "
              + MASK_HINT)  # fmt: skip


def krea2(g: Example) -> None:
    """Krea 2 Turbo with a noise mask: eight steps, no guidance."""
    photo = g.picture()
    image, mask = (photo, "IMAGE"), (photo, "MASK")
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
    g.result(samples, (vae, "VAE"), image, mask, "hilo_krea2")
    g.explain("Krea 2 Turbo inpaint", "Repaints the masked area in eight steps. **denoise** says how far it may go from what was there. Needs ComfyUI "
              "0.26. " + MASK_HINT)  # fmt: skip


def klein(g: Example) -> None:
    """FLUX.2 klein: the picture is a reference, the mask goes to HiLo Model Patch and to Masked Decode, nowhere else."""
    photo = g.picture()
    image, mask = g.scaled(photo, "ImageScale", upscale_method="area", width=1024, height=1024, crop="center")
    model = g.loader("UNETLoader", (400, 0), unet_name="flux-2-klein-4b-fp8.safetensors")
    clip = g.loader("CLIPLoader", (400, 140), clip_name="qwen_3_4b.safetensors", type="flux2")
    vae = g.loader("VAELoader", (400, 320), vae_name="flux2-vae.safetensors")
    text = g.text(clip, "Replace the masked object by a glass vase")
    zero = g.add("ConditioningZeroOut", (780, 190), size=(315, 40), conditioning=(text, "CONDITIONING"))
    encoded = g.add("VAEEncode", (780, 290), size=(315, 60), pixels=image, vae=(vae, "VAE"))
    ends = [
        (g.add("ReferenceLatent", (780, 390 + 110 * row), size=(315, 60), conditioning=(node, "CONDITIONING"), latent=(encoded, "LATENT")),
         "CONDITIONING")
        for row, node in enumerate((text, zero))
    ]  # fmt: skip
    empty = g.add("EmptyFlux2LatentImage", (780, 610), {"width": 1024, "height": 1024})
    patch = g.patch((model, "MODEL"), mask=mask)
    samples = g.sample((patch, "model"), *ends, (empty, "LATENT"), steps=4, cfg=1.0, scheduler="simple")
    g.result(samples, (vae, "VAE"), image, mask, "hilo_klein_mask", match_colour=True)
    g.explain("FLUX.2 klein, mask on the patch", "An instruction changes the masked area. The latent is empty and the picture a reference, so the mask goes "
              "to *HiLo Model Patch*. Needs a ComfyUI that knows FLUX.2 klein (0.3.75 does not). " + MASK_HINT)  # fmt: skip


WORKFLOWS: dict[str, Callable[[Example], None]] = {
    "Anima - inpaint": anima,
    "Krea 2 Turbo - inpaint": krea2,
    "FLUX.2 klein - mask on the patch": klein,
}
