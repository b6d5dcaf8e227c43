"""Models that were not made for inpainting, with a noise mask."""

from __future__ import annotations

from tools.examples.base import MASK_HINT, Example


def flux_dev(g: Example) -> None:
    """FLUX.1 dev is no inpainting model: noise mask and DifferentialDiffusion."""
    photo = g.picture()
    image, mask, fit = g.fitted(photo)
    model = g.loader("UNETLoader", (400, 0), unet_name="flux1-dev.safetensors")
    vae = g.loader("VAELoader", (400, 320), vae_name="ae.safetensors")
    positive, negative = g.flux_text("a red hot air balloon", 3.5)
    soft = g.add("DifferentialDiffusion", (400, 440), size=(315, 60), model=(model, "MODEL"))
    latent = g.masked_latent(image, mask, (vae, "VAE"))
    patch = g.patch((soft, "MODEL"))
    conds = (positive, "CONDITIONING"), (negative, "CONDITIONING")
    samples = g.sample((patch, "model"), *conds, latent, steps=20, cfg=1.0, scheduler="simple", denoise=0.85)
    g.result(samples, (vae, "VAE"), image, mask, "hilo_flux_dev", fit)
    g.explain("FLUX.1 dev with a noise mask", "Repaints the masked area with a model that was not made for inpainting. **denoise** says how far it "
              "may go from what was there. " + MASK_HINT)  # fmt: skip


def qwen_control(g: Example) -> None:
    """The official InstantX inpainting ControlNet chain."""
    photo = g.picture()
    image, mask, fit = g.fitted(photo, megapixels=1.5)
    model = g.loader("UNETLoader", (400, 0), unet_name="qwen_image_fp8_e4m3fn.safetensors")
    clip = g.loader("CLIPLoader", (400, 140), clip_name="qwen_2.5_vl_7b_fp8_scaled.safetensors", type="qwen_image")
    vae = g.loader("VAELoader", (400, 320), vae_name="qwen_image_vae.safetensors")
    net = g.loader(
        "ControlNetLoader", (400, 440), control_net_name="Qwen-Image-InstantX-ControlNet-Inpainting.safetensors"
    )
    shift = g.add("ModelSamplingAuraFlow", (400, 560), {"shift": 3.1}, size=(315, 60), model=(model, "MODEL"))
    positive, negative = g.text(clip, "a queen on a throne, surrounded by knights"), g.text(clip, " ", 170)
    control = g.add("ControlNetInpaintingAliMamaApply", (780, 650), size=(315, 220), positive=(positive, "CONDITIONING"), negative=(negative, "CONDITIONING"),
                    control_net=(net, "CONTROL_NET"), vae=(vae, "VAE"), image=image, mask=mask)  # fmt: skip
    latent = g.masked_latent(image, mask, (vae, "VAE"))
    patch = g.patch((shift, "MODEL"))
    samples = g.sample(
        (patch, "model"), (control, "positive"), (control, "negative"), latent, steps=20, cfg=2.5, scheduler="simple"
    )
    g.result(samples, (vae, "VAE"), image, mask, "hilo_qwen_control", fit)
    g.explain(
        "Qwen-Image inpainting ControlNet",
        "Fills the painted area from a prompt, guided by the ControlNet. " + MASK_HINT,
    )


def z_image(g: Example) -> None:
    """Z-Image Turbo with a noise mask."""
    photo = g.picture()
    image, mask, fit = g.fitted(photo)
    model = g.loader("UNETLoader", (400, 0), unet_name="z_image_turbo_bf16.safetensors")
    clip = g.loader("CLIPLoader", (400, 140), clip_name="qwen_3_4b.safetensors", type="lumina2")
    vae = g.loader("VAELoader", (400, 320), vae_name="ae.safetensors")
    shift = g.add("ModelSamplingAuraFlow", (400, 440), {"shift": 3.0}, size=(315, 60), model=(model, "MODEL"))
    soft = g.add("DifferentialDiffusion", (400, 540), size=(315, 60), model=(shift, "MODEL"))
    positive = g.text(clip, "a red hot air balloon")
    negative = g.add("ConditioningZeroOut", (780, 190), size=(315, 40), conditioning=(positive, "CONDITIONING"))
    latent = g.masked_latent(image, mask, (vae, "VAE"))
    patch = g.patch((soft, "MODEL"))
    samples = g.sample((patch, "model"), (positive, "CONDITIONING"), (negative, "CONDITIONING"), latent, steps=9, cfg=1.0, sampler_name="res_multistep",
                       scheduler="simple", denoise=0.85)  # fmt: skip
    g.result(samples, (vae, "VAE"), image, mask, "hilo_z_image", fit)
    g.explain(
        "Z-Image Turbo inpaint",
        "Repaints the masked area in nine steps. **denoise** says how far it may go from what was there. " + MASK_HINT,
    )


def sd35(g: Example) -> None:
    """SD3.5 with a noise mask."""
    photo = g.picture()
    image, mask, fit = g.fitted(photo)
    model = g.loader("CheckpointLoaderSimple", (400, 0), ckpt_name="sd3.5_large_fp8_scaled.safetensors")
    positive, negative = g.text(model, "a bottle with a galaxy inside it, on a wooden table"), g.text(model, "", 170)
    soft = g.add("DifferentialDiffusion", (400, 200), size=(315, 60), model=(model, "MODEL"))
    latent = g.masked_latent(image, mask, (model, "VAE"))
    patch = g.patch((soft, "MODEL"))
    conds = (positive, "CONDITIONING"), (negative, "CONDITIONING")
    samples = g.sample((patch, "model"), *conds, latent, steps=20, cfg=4.0, scheduler="sgm_uniform", denoise=0.85)
    g.result(samples, (model, "VAE"), image, mask, "hilo_sd35", fit)
    g.explain(
        "SD3.5 inpaint",
        "Repaints the masked area. **denoise** says how far it may go from what was there. " + MASK_HINT,
    )
