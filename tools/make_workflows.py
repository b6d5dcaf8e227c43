"""Writes `example_workflows/`: `python -m tools.make_workflows`. Run it after a node's inputs have changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tools.graph import Graph
from tools.server import ComfyServer
from tools.thumbnails import draw
from tools.workflow import FOLDER, save

HUB = "https://huggingface.co/"
FLUX, QWEN = "Comfy-Org/flux1-dev/resolve/main/", "Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/"
TEXT = "comfyanonymous/flux_text_encoders/resolve/main/"
FLUX2, Z = "Comfy-Org/flux2-dev/resolve/main/split_files/", "Comfy-Org/z_image_turbo/resolve/main/split_files/"
MODELS = {  # file name -> folder under models/, address of the folder on the hub; as in the official templates
    "flux1-fill-dev.safetensors": ("diffusion_models", FLUX + "split_files/diffusion_models/"),
    "flux1-dev.safetensors": ("diffusion_models", FLUX),
    "flux1-dev-kontext_fp8_scaled.safetensors": ("diffusion_models", "Comfy-Org/flux1-kontext-dev_ComfyUI/resolve/main/split_files/diffusion_models/"),
    "flux2_dev_fp8mixed.safetensors": ("diffusion_models", FLUX2 + "diffusion_models/"),
    "qwen_image_edit_2509_fp8_e4m3fn.safetensors": ("diffusion_models", "Comfy-Org/Qwen-Image-Edit_ComfyUI/resolve/main/split_files/diffusion_models/"),
    "qwen_image_fp8_e4m3fn.safetensors": ("diffusion_models", QWEN + "diffusion_models/"),
    "z_image_turbo_bf16.safetensors": ("diffusion_models", Z + "diffusion_models/"),
    "sd3.5_large_fp8_scaled.safetensors": ("checkpoints", "Comfy-Org/stable-diffusion-3.5-fp8/resolve/main/"),
    "clip_l.safetensors": ("text_encoders", TEXT),
    "t5xxl_fp16.safetensors": ("text_encoders", TEXT),
    "t5xxl_fp8_e4m3fn_scaled.safetensors": ("text_encoders", TEXT),
    "mistral_3_small_flux2_fp8.safetensors": ("text_encoders", FLUX2 + "text_encoders/"),
    "qwen_2.5_vl_7b_fp8_scaled.safetensors": ("text_encoders", QWEN + "text_encoders/"),
    "qwen_3_4b.safetensors": ("text_encoders", Z + "text_encoders/"),
    "ae.safetensors": ("vae", "Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/"),
    "flux2-vae.safetensors": ("vae", FLUX2 + "vae/"),
    "qwen_image_vae.safetensors": ("vae", QWEN + "vae/"),
    "Qwen-Image-InstantX-ControlNet-Inpainting.safetensors": ("controlnet", "Comfy-Org/Qwen-Image-InstantX-ControlNets/resolve/main/split_files/controlnet/"),
}  # fmt: skip
MASK_HINT = "Right-click the picture, choose *Open in MaskEditor*, paint what is to change, and run."
Node = dict[str, Any]
Wire = tuple[Node, str]


class Example(Graph):
    """A graph in columns: source, models, text, HiLo-Token and sampler, result."""

    used: list[str]

    def __init__(self, info: dict[str, Any]) -> None:
        super().__init__(info)
        self.used = []

    def loader(self, kind: str, at: tuple[int, int], **widgets: Any) -> Node:
        """A loader with the links of its files."""
        files = [v for v in widgets.values() if v in MODELS]
        self.used += [f for f in files if f not in self.used]
        links = [{"name": f, "url": HUB + MODELS[f][1] + f, "directory": MODELS[f][0]} for f in files]
        height = 34 + 26 * len(self.info[kind]["input"]["required"])
        return self.add(kind, at, widgets, size=(315, height), models=links)

    def picture(self) -> Node:
        """The picture with its painted mask."""
        self.group("1. picture and mask", (20, -60), (355, 420))
        return self.add("LoadImage", (40, 0), {"image": "example.png"}, size=(315, 314))

    def flux_text(self, prompt: str, guidance: float, t5: str = "t5xxl_fp16.safetensors") -> tuple[Node, Node]:
        """Positive and negative of the FLUX.1 models."""
        clip = self.loader("DualCLIPLoader", (400, 140), clip_name1="clip_l.safetensors", clip_name2=t5, type="flux")
        text = self.text(clip, prompt)
        positive = self.add(
            "FluxGuidance", (780, 190), {"guidance": guidance}, size=(315, 60), conditioning=(text, "CONDITIONING")
        )
        negative = self.add("ConditioningZeroOut", (780, 300), size=(315, 40), conditioning=(text, "CONDITIONING"))
        return positive, negative

    def text(self, clip: Node, prompt: str, y: int = 0, output: str = "CLIP") -> Node:
        """A prompt."""
        return self.add("CLIPTextEncode", (780, y), {"text": prompt}, size=(315, 130), clip=(clip, output))

    def scaled(self, photo: Node, kind: str, **widgets: Any) -> tuple[Wire, Wire]:
        """Picture and mask through the same scaling node."""
        image = self.add(kind, (40, 400), widgets, image=(photo, "IMAGE"))
        as_image = self.add("MaskToImage", (40, 560), size=(315, 40), mask=(photo, "MASK"))
        hole = self.add(kind, (40, 640), widgets, image=(as_image, "IMAGE"))
        mask = self.add("ImageToMask", (40, 800), {"channel": "red"}, image=(hole, "IMAGE"))
        self.group("picture and mask at the model's size", (20, 360), (355, 560))
        return (image, "IMAGE"), (mask, "MASK")

    def masked_latent(self, image: Wire, mask: Wire, vae: Wire) -> Wire:
        """The picture as a latent with a noise mask."""
        encoded = self.add("VAEEncode", (780, 450), size=(315, 60), pixels=image, vae=vae)
        return self.add(
            "SetLatentNoiseMask", (780, 550), size=(315, 60), samples=(encoded, "LATENT"), mask=mask
        ), "LATENT"

    def patch(self, model: Wire, **more: Any) -> Node:
        """The patch node in its frame."""
        self.group("2. HiLo-Token", (1140, -60), (355, 400), "#b06634")
        return self.add("HiLoModelPatch", (1160, 0), {"preset": more.pop("preset", "balanced")}, size=(315, 300), model=model, **more)  # fmt: skip

    def result(self, samples: Wire, vae: Wire, original: Wire, mask: Wire, prefix: str, **widgets: Any) -> Node:
        """Decode around the edit and save."""
        self.group("3. result", (1520, -60), (440, 780), "#3f7f4f")
        out = self.add("HiLoMaskedDecode", (1540, 0), widgets, size=(400, 220), vae=vae, samples=samples, original=original, mask=mask)  # fmt: skip
        return self.add("SaveImage", (1540, 270), {"filename_prefix": prefix}, size=(400, 420), images=(out, "image"))

    def sample(self, model: Wire, positive: Wire, negative: Wire, latent: Wire, at: tuple[int, int] = (1160, 400), **widgets: Any) -> Wire:  # fmt: skip
        """The sampler."""
        return self.add("KSampler", at, {"seed": 7, **widgets}, size=(315, 262), model=model, positive=positive,
                        negative=negative, latent_image=latent), "LATENT"  # fmt: skip

    def explain(self, title: str, text: str) -> None:
        """The note: what it does, and its model files."""
        folders: dict[str, list[str]] = {}
        for name in self.used:
            folders.setdefault(MODELS[name][0], []).append(f"- [{name}]({HUB}{MODELS[name][1]}{name})")
        files = "\n\n".join(f"`models/{folder}/`\n\n" + "\n".join(names) for folder, names in folders.items())
        self.note(
            (-420, -60), f"## {title}\n\n{text}\n\n" + (f"### Model files\n\n{files}\n" if files else ""), (400, 640)
        )


def demo(g: Example) -> None:
    """The demo model fills a hole in a photo."""
    photo = g.add("LoadImage", (40, 0), {"image": "demo.jpg"}, size=(315, 314))
    hole = g.add("LoadImageMask", (40, 360), {"image": "demo_mask.png", "channel": "red"}, size=(315, 318))
    g.group("1. picture and mask", (20, -60), (355, 760))
    model = g.add("HiLoDemoModel", (420, 0), size=(340, 60))
    vae = g.add("VAELoader", (420, 110), {"vae_name": "hilo_demo_vae.safetensors"}, size=(340, 60))
    select = g.add(
        "HiLoTokenSelect",
        (420, 220),
        size=(340, 900),
        image=(photo, "IMAGE"),
        mask=(hole, "MASK"),
        model=(model, "model"),
    )
    cond = g.add("InpaintModelConditioning", (800, 360), size=(315, 140), positive=(model, "conditioning"), negative=(model, "conditioning"),
                 vae=(vae, "VAE"), pixels=(photo, "IMAGE"), mask=(hole, "MASK"))  # fmt: skip
    patch = g.patch((model, "model"))
    samples = g.sample(
        (patch, "model"), (cond, "positive"), (cond, "negative"), (cond, "latent"), steps=8, cfg=1.0, scheduler="simple"
    )
    g.result(samples, (vae, "VAE"), (photo, "IMAGE"), (hole, "MASK"), "hilo_demo")
    g.add("PreviewImage", (800, 0), title="token map", size=(315, 310), images=(select, "map"))
    report = g.add("HiLoReport", (1160, 720), size=(315, 60), model=(patch, "model"), samples=samples)
    g.add("PreviewAny", (1540, 760), title="report", size=(400, 160), source=(report, "text"))
    g.explain("HiLo-Token demo", "The small model in this repository (it has no text encoder) removes a dandelion from a photo.\n\n"
              "The map on *HiLo Token Select* follows its settings at once. The badge on *HiLo Model Patch* is the measured gain of the "
              "last run. Set **preset** there to `off` for the dense result with the same seed, or to `quality` or `fast`.")  # fmt: skip


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


def fill_inpaint(g: Example, prompt: str = "a red hot air balloon", title: str = "FLUX.1 Fill inpaint", prefix: str = "hilo_fill",
                 text: str = "Fills the painted area from a prompt. " + MASK_HINT) -> None:  # fmt: skip
    """The official Fill chain with the patch before the sampler."""
    photo = g.picture()
    image, mask = (photo, "IMAGE"), (photo, "MASK")
    cond, model, vae = _fill(g, photo, image, mask, prompt)
    patch = g.patch(model)
    samples = g.sample(
        (patch, "model"),
        (cond, "positive"),
        (cond, "negative"),
        (cond, "latent"),
        steps=20,
        cfg=1.0,
        scheduler="normal",
    )
    g.result(samples, (vae, "VAE"), image, mask, prefix)
    g.explain(title, text)


def removal(g: Example) -> None:
    """An object goes: the mask is cleaned and grown first."""
    photo = g.picture()
    grown = g.add(
        "HiLoMaskDilate", (40, 400), {"dilation": 1.0, "drop_specks": 64}, size=(315, 420), mask=(photo, "MASK")
    )
    image, mask = (photo, "IMAGE"), (grown, "dilated")
    cond, model, vae = _fill(g, photo, image, mask, "empty background, nothing there")
    patch = g.patch(model)
    samples = g.sample(
        (patch, "model"),
        (cond, "positive"),
        (cond, "negative"),
        (cond, "latent"),
        steps=20,
        cfg=1.0,
        scheduler="normal",
    )
    g.result(samples, (vae, "VAE"), image, mask, "hilo_removal", feather=12, match_colour=True)
    g.explain("Object removal", "Paint roughly over the object, its shadow too. *HiLo Mask Dilate* drops stray strokes and grows the mask; "
              "the prompt says what is behind. " + MASK_HINT)  # fmt: skip


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
    samples = g.sample(
        (patch, "model"),
        (cond, "positive"),
        (cond, "negative"),
        (cond, "latent"),
        steps=20,
        cfg=1.0,
        scheduler="normal",
    )
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
    g.result(samples, (vae, "VAE"), image, mask, "hilo_compressed")
    other = g.add(
        "HiLoMaskedDecode", (1540, 760), size=(400, 220), vae=(vae, "VAE"), samples=dense, original=image, mask=mask
    )
    g.add(
        "SaveImage",
        (1540, 1030),
        {"filename_prefix": "hilo_dense"},
        title="dense",
        size=(400, 420),
        images=(other, "image"),
    )
    report = g.add("HiLoReport", (1160, 1050), size=(315, 60), model=(patch, "model"), samples=samples)
    g.add(
        "SaveImage",
        (2000, 0),
        {"filename_prefix": "hilo_report"},
        title="report",
        size=(400, 320),
        images=(report, "picture"),
    )
    g.explain(
        "A/B against dense",
        "The same seed and prompt with HiLo-Token (upper) and dense (lower), and the report of the first. " + MASK_HINT,
    )


def flux_dev(g: Example) -> None:
    """FLUX.1 dev is no inpainting model: noise mask and DifferentialDiffusion."""
    photo = g.picture()
    image, mask = (photo, "IMAGE"), (photo, "MASK")
    model = g.loader("UNETLoader", (400, 0), unet_name="flux1-dev.safetensors")
    vae = g.loader("VAELoader", (400, 320), vae_name="ae.safetensors")
    positive, negative = g.flux_text("a red hot air balloon", 3.5)
    soft = g.add("DifferentialDiffusion", (400, 440), size=(315, 60), model=(model, "MODEL"))
    latent = g.masked_latent(image, mask, (vae, "VAE"))
    patch = g.patch((soft, "MODEL"))
    samples = g.sample(
        (patch, "model"),
        (positive, "CONDITIONING"),
        (negative, "CONDITIONING"),
        latent,
        steps=20,
        cfg=1.0,
        scheduler="simple",
        denoise=0.85,
    )
    g.result(samples, (vae, "VAE"), image, mask, "hilo_flux_dev")
    g.explain("FLUX.1 dev with a noise mask", "Repaints the masked area with a model that was not made for inpainting. **denoise** says how far it "
              "may go from what was there. " + MASK_HINT)  # fmt: skip


def kontext(g: Example) -> None:
    """The official Kontext chain, with the noise mask that makes it a local edit."""
    photo = g.picture()
    image, mask = g.scaled(photo, "FluxKontextImageScale")
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
    encoded = next(n for n in g.nodes if n["type"] == "VAEEncode")
    reference = g.add(
        "ReferenceLatent", (780, 180), size=(315, 60), conditioning=(text, "CONDITIONING"), latent=(encoded, "LATENT")
    )
    positive = g.add(
        "FluxGuidance", (780, 272), {"guidance": 2.5}, size=(315, 60), conditioning=(reference, "CONDITIONING")
    )
    negative = g.add("ConditioningZeroOut", (780, 365), size=(315, 40), conditioning=(text, "CONDITIONING"))
    patch = g.patch((model, "MODEL"))
    samples = g.sample(
        (patch, "model"),
        (positive, "CONDITIONING"),
        (negative, "CONDITIONING"),
        latent,
        steps=20,
        cfg=1.0,
        scheduler="simple",
    )
    g.result(samples, (vae, "VAE"), image, mask, "hilo_kontext", match_colour=True)
    g.explain(
        "FLUX.1 Kontext masked edit",
        "An instruction changes the masked area; the rest stays as it was. The reference follows the same plan. "
        + MASK_HINT,
    )


def flux2(g: Example) -> None:
    """The official FLUX.2 chain starts from an empty latent, so the plan brings the mask."""
    photo = g.picture()
    image, mask = g.scaled(photo, "ImageScale", upscale_method="area", width=1024, height=1024, crop="center")
    model = g.loader("UNETLoader", (400, 0), unet_name="flux2_dev_fp8mixed.safetensors")
    clip = g.loader("CLIPLoader", (400, 140), clip_name="mistral_3_small_flux2_fp8.safetensors", type="flux2")
    vae = g.loader("VAELoader", (400, 320), vae_name="flux2-vae.safetensors")
    text = g.text(clip, "Replace the masked object by a glass vase")
    guidance = g.add("FluxGuidance", (780, 190), {"guidance": 4.0}, size=(315, 60), conditioning=(text, "CONDITIONING"))
    encoded = g.add("VAEEncode", (780, 290), size=(315, 60), pixels=image, vae=(vae, "VAE"))
    reference = g.add(
        "ReferenceLatent",
        (780, 390),
        size=(315, 60),
        conditioning=(guidance, "CONDITIONING"),
        latent=(encoded, "LATENT"),
    )
    empty = g.add("EmptyFlux2LatentImage", (780, 490), {"width": 1024, "height": 1024})
    select = g.add("HiLoTokenSelect", (400, 440), size=(340, 900), image=image, mask=mask, model=(model, "MODEL"))
    patch = g.patch((model, "MODEL"), plan=(select, "plan"))
    guider = g.add(
        "BasicGuider", (1160, 380), size=(315, 60), model=(patch, "model"), conditioning=(reference, "CONDITIONING")
    )
    noise = g.add("RandomNoise", (1160, 480), {"noise_seed": 7}, size=(315, 82))
    kind = g.add("KSamplerSelect", (1160, 600), {"sampler_name": "euler"}, size=(315, 60))
    sigmas = g.add("Flux2Scheduler", (1160, 700), {"steps": 20, "width": 1024, "height": 1024})
    sampler = g.add("SamplerCustomAdvanced", (1160, 870), noise=(noise, "NOISE"), guider=(guider, "GUIDER"), sampler=(kind, "SAMPLER"),
                    sigmas=(sigmas, "SIGMAS"), latent_image=(empty, "LATENT"))  # fmt: skip
    g.result((sampler, "output"), (vae, "VAE"), image, mask, "hilo_flux2", match_colour=True)
    g.explain("FLUX.2 masked edit", "An instruction changes the masked area. The latent is empty, so *HiLo Token Select* brings the mask with its plan; "
              "the reference and the latent must have the same size. Live map: run once, then move the settings. " + MASK_HINT)  # fmt: skip


def qwen_edit(g: Example) -> None:
    """The official Qwen-Image-Edit 2509 chain with a noise mask."""
    photo = g.picture()
    image, mask = g.scaled(photo, "FluxKontextImageScale")
    model = g.loader("UNETLoader", (400, 0), unet_name="qwen_image_edit_2509_fp8_e4m3fn.safetensors")
    clip = g.loader("CLIPLoader", (400, 140), clip_name="qwen_2.5_vl_7b_fp8_scaled.safetensors", type="qwen_image")
    vae = g.loader("VAELoader", (400, 320), vae_name="qwen_image_vae.safetensors")
    shift = g.add("ModelSamplingAuraFlow", (400, 440), {"shift": 3.0}, size=(315, 60), model=(model, "MODEL"))
    norm = g.add("CFGNorm", (400, 540), {"strength": 1.0}, size=(315, 60), model=(shift, "MODEL"))
    wires = {"clip": (clip, "CLIP"), "vae": (vae, "VAE"), "image1": image}
    positive = g.add(
        "TextEncodeQwenImageEditPlus",
        (780, 0),
        {"prompt": "Replace the cat with a dalmatian"},
        size=(315, 190),
        **wires,
    )
    negative = g.add("TextEncodeQwenImageEditPlus", (780, 220), {"prompt": ""}, size=(315, 190), **wires)
    latent = g.masked_latent(image, mask, (vae, "VAE"))
    patch = g.patch((norm, "patched_model"))
    samples = g.sample(
        (patch, "model"),
        (positive, "CONDITIONING"),
        (negative, "CONDITIONING"),
        latent,
        steps=20,
        cfg=2.5,
        scheduler="simple",
    )
    g.result(samples, (vae, "VAE"), image, mask, "hilo_qwen_edit", match_colour=True)
    g.explain("Qwen-Image-Edit 2509 masked edit", "An instruction changes the masked area. Further pictures can go to **image2** and **image3** of both "
              "text nodes. For the 4-step LoRA put its loader before *ModelSamplingAuraFlow*, with 4 steps and cfg 1. " + MASK_HINT)  # fmt: skip


def qwen_control(g: Example) -> None:
    """The official InstantX inpainting ControlNet chain."""
    photo = g.picture()
    image, mask = g.scaled(photo, "ImageScaleToMaxDimension", upscale_method="area", largest_size=1536)
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
    g.result(samples, (vae, "VAE"), image, mask, "hilo_qwen_control")
    g.explain(
        "Qwen-Image inpainting ControlNet",
        "Fills the painted area from a prompt, guided by the ControlNet. " + MASK_HINT,
    )


def z_image(g: Example) -> None:
    """Z-Image Turbo with a noise mask."""
    photo = g.picture()
    image, mask = (photo, "IMAGE"), (photo, "MASK")
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
    g.result(samples, (vae, "VAE"), image, mask, "hilo_z_image")
    g.explain(
        "Z-Image Turbo inpaint",
        "Repaints the masked area in nine steps. **denoise** says how far it may go from what was there. " + MASK_HINT,
    )


def sd35(g: Example) -> None:
    """SD3.5 with a noise mask."""
    photo = g.picture()
    image, mask = (photo, "IMAGE"), (photo, "MASK")
    model = g.loader("CheckpointLoaderSimple", (400, 0), ckpt_name="sd3.5_large_fp8_scaled.safetensors")
    positive, negative = g.text(model, "a bottle with a galaxy inside it, on a wooden table"), g.text(model, "", 170)
    soft = g.add("DifferentialDiffusion", (400, 200), size=(315, 60), model=(model, "MODEL"))
    latent = g.masked_latent(image, mask, (model, "VAE"))
    patch = g.patch((soft, "MODEL"))
    samples = g.sample(
        (patch, "model"),
        (positive, "CONDITIONING"),
        (negative, "CONDITIONING"),
        latent,
        steps=20,
        cfg=4.0,
        scheduler="sgm_uniform",
        denoise=0.85,
    )
    g.result(samples, (model, "VAE"), image, mask, "hilo_sd35")
    g.explain(
        "SD3.5 inpaint",
        "Repaints the masked area. **denoise** says how far it may go from what was there. " + MASK_HINT,
    )


WORKFLOWS: dict[str, Callable[[Example], None]] = {
    "hilo_demo_inpaint": demo,
    "hilo_flux_fill_inpaint": fill_inpaint,
    "hilo_flux_fill_outpaint": fill_outpaint,
    "hilo_flux_dev_inpaint": flux_dev,
    "hilo_flux_kontext_edit": kontext,
    "hilo_flux2_edit": flux2,
    "hilo_qwen_edit_2509": qwen_edit,
    "hilo_qwen_inpaint_controlnet": qwen_control,
    "hilo_z_image_inpaint": z_image,
    "hilo_sd35_inpaint": sd35,
    "hilo_object_removal": removal,
    "hilo_ab_test": ab_test,
}


def main() -> None:
    """Write them all, and the thumbnails of those that cannot be run here."""
    with ComfyServer() as server:
        info = server.object_info()
    for name, make in WORKFLOWS.items():
        example = Example(info)
        make(example)
        workflow = example.workflow()
        save(name, workflow)
        thumbnail = FOLDER / f"{name}.jpg"
        if name != "hilo_demo_inpaint" or not thumbnail.exists():
            draw(workflow).save(thumbnail, quality=88)


if __name__ == "__main__":
    main()
