"""What the example workflows share: model files, columns, and the chains that return in several of them."""

from __future__ import annotations

import re
from typing import Any

from tools.graph import Graph

HUB = "https://huggingface.co/"
FLUX, QWEN = "Comfy-Org/flux1-dev/resolve/main/", "Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/"
QWEN21 = "Comfy-Org/Qwen-Image-2.1/resolve/main/"
TEXT = "comfyanonymous/flux_text_encoders/resolve/main/"
FLUX2, Z = "Comfy-Org/flux2-dev/resolve/main/split_files/", "Comfy-Org/z_image_turbo/resolve/main/split_files/"
MODELS = {  # file name -> folder under models/, address of the folder on the hub; as in the official templates
    "flux1-fill-dev.safetensors": ("diffusion_models", FLUX + "split_files/diffusion_models/"),
    "flux1-dev.safetensors": ("diffusion_models", FLUX),
    "flux1-dev-kontext_fp8_scaled.safetensors": ("diffusion_models", "Comfy-Org/flux1-kontext-dev_ComfyUI/resolve/main/split_files/diffusion_models/"),
    "flux2_dev_fp8mixed.safetensors": ("diffusion_models", FLUX2 + "diffusion_models/"),
    "qwen_image_edit_2509_fp8_e4m3fn.safetensors": ("diffusion_models", "Comfy-Org/Qwen-Image-Edit_ComfyUI/resolve/main/split_files/diffusion_models/"),
    "qwen_image_edit_2511_fp8mixed.safetensors": ("diffusion_models", "Comfy-Org/Qwen-Image-Edit_ComfyUI/resolve/main/split_files/diffusion_models/"),
    "Qwen-Image-Edit-2511-Lightning-4steps-V1.0-bf16.safetensors": ("loras", "lightx2v/Qwen-Image-Edit-2511-Lightning/resolve/main/"),
    "qwen_image_2.1_int8_convrot.safetensors": ("diffusion_models", QWEN21 + "diffusion_models/"),
    "qwen_image_2.1_turbo_int8_convrot.safetensors": ("diffusion_models", QWEN21 + "diffusion_models/"),
    "flux-2-klein-4b-fp8.safetensors": ("diffusion_models", "black-forest-labs/FLUX.2-klein-4b-fp8/resolve/main/"),
    "qwen_image_fp8_e4m3fn.safetensors": ("diffusion_models", QWEN + "diffusion_models/"),
    "z_image_turbo_bf16.safetensors": ("diffusion_models", Z + "diffusion_models/"),
    "sd3.5_large_fp8_scaled.safetensors": ("checkpoints", "Comfy-Org/stable-diffusion-3.5-fp8/resolve/main/"),
    "anima-base-v1.0.safetensors": ("diffusion_models", "circlestone-labs/Anima/resolve/main/split_files/diffusion_models/"),
    "krea2_turbo_fp8_scaled.safetensors": ("diffusion_models", "Comfy-Org/Krea-2/resolve/main/diffusion_models/"),
    "krea2_style_reference.safetensors": ("loras", "Comfy-Org/Krea-2/resolve/main/loras/"),
    "qwen_3_06b_base.safetensors": ("text_encoders", "circlestone-labs/Anima/resolve/main/split_files/text_encoders/"),
    "qwen3vl_4b_fp8_scaled.safetensors": ("text_encoders", "Comfy-Org/Krea-2/resolve/main/text_encoders/"),
    "qwen3vl_8b_int8_convrot.safetensors": ("text_encoders", QWEN21 + "text_encoders/"),
    "clip_l.safetensors": ("text_encoders", TEXT),
    "t5xxl_fp16.safetensors": ("text_encoders", TEXT),
    "t5xxl_fp8_e4m3fn_scaled.safetensors": ("text_encoders", TEXT),
    "mistral_3_small_flux2_fp8.safetensors": ("text_encoders", FLUX2 + "text_encoders/"),
    "qwen_2.5_vl_7b_fp8_scaled.safetensors": ("text_encoders", QWEN + "text_encoders/"),
    "qwen_3_4b.safetensors": ("text_encoders", Z + "text_encoders/"),
    "ae.safetensors": ("vae", "Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/"),
    "flux2-vae.safetensors": ("vae", FLUX2 + "vae/"),
    "qwen_image_vae.safetensors": ("vae", QWEN + "vae/"),
    "qwen_image_2.1_vae_bf16.safetensors": ("vae", QWEN21 + "vae/"),
    "Qwen-Image-InstantX-ControlNet-Inpainting.safetensors": ("controlnet", "Comfy-Org/Qwen-Image-InstantX-ControlNets/resolve/main/split_files/controlnet/"),
}  # fmt: skip
OWN_TIMESTEP = "index_timestep_zero"  # of references
NEWER = {OWN_TIMESTEP, "krea2"}  # values of the host's own nodes that ComfyUI 0.3.75 does not know yet
MASK_HINT = (
    "1. Right-click the picture, *Open in MaskEditor*, paint what is to change. 2. Write the prompt. 3. Run. "
    "4. The badge on *HiLo Model Patch* says what was saved, the slider on *HiLo Masked Decode* shows before and after."
)
Node = dict[str, Any]
Wire = tuple[Node, str]


class Example(Graph):
    """A graph in columns: source, models, text, HiLo-Token and sampler, result."""

    used: list[str]

    def __init__(self, info: dict[str, Any]) -> None:
        super().__init__(info)
        self.used = []

    def loader(self, kind: str, at: tuple[int, int], wires: dict[str, Wire] | None = None, **widgets: Any) -> Node:
        """A loader with the links of its files."""
        files = [v for v in widgets.values() if v in MODELS]
        self.used += [f for f in files if f not in self.used]
        links = [{"name": f, "url": HUB + MODELS[f][1] + f, "directory": MODELS[f][0]} for f in files]
        height = 34 + 26 * len(self.info[kind]["input"]["required"])
        return self.add(kind, at, widgets, size=(315, height), models=links, **(wires or {}))

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

    def fitted(self, photo: Node, title: str = "at the model's size", **widgets: Any) -> tuple[Wire, Wire, Wire]:
        """Picture and mask on a canvas, and the way back."""
        node = self.add("HiLoFit", (40, 420), widgets, size=(315, 250), image=(photo, "IMAGE"), mask=(photo, "MASK"))
        self.group(title, (20, 360), (355, 330))
        return (node, "image"), (node, "mask"), (node, "fit")

    def edited(self, text: Node, y: int) -> Wire:
        """A prompt with the encoded picture as its reference."""
        (encoded,) = (node for node in self.nodes if node["type"] == "VAEEncode")
        wires = {"conditioning": (text, "CONDITIONING"), "latent": (encoded, "LATENT")}
        return self.add("ReferenceLatent", (780, y), size=(315, 60), **wires), "CONDITIONING"

    def empty_flux2(self, image: Wire, y: int) -> tuple[Node, Node]:
        """An empty latent of a canvas's size, and that size."""
        size = self.add("GetImageSize", (780, y), size=(315, 80), image=image)
        wires = {"width": (size, "width"), "height": (size, "height")}
        return self.add("EmptyFlux2LatentImage", (780, y + 130), size=(315, 110), **wires), size

    def masked_latent(self, image: Wire, mask: Wire, vae: Wire) -> Wire:
        """The picture as a latent with a noise mask."""
        encoded = self.add("VAEEncode", (780, 450), size=(315, 60), pixels=image, vae=vae)
        return self.add(
            "SetLatentNoiseMask", (780, 550), size=(315, 60), samples=(encoded, "LATENT"), mask=mask
        ), "LATENT"

    def patch(self, model: Wire, **more: Any) -> Node:
        """The patch node in its frame."""
        self.group("2. faster here", (1140, -60), (355, 400), "#b06634")
        return self.add("HiLoModelPatch", (1160, 0), {"preset": more.pop("preset", "balanced")}, size=(315, 300), model=model, **more)  # fmt: skip

    def result(
        self, samples: Wire, vae: Wire, original: Wire, mask: Wire, prefix: str, fit: Wire | None = None, **widgets: Any
    ) -> Node:
        """Decode around the edit and save."""
        self.group("3. result", (1520, -60), (440, 1170), "#3f7f4f")
        more = {} if fit is None else {"fit": fit}
        out = self.add("HiLoMaskedDecode", (1540, 0), widgets, size=(400, 650), vae=vae, samples=samples, original=original, mask=mask, **more)  # fmt: skip
        return self.add("SaveImage", (1540, 700), {"filename_prefix": prefix}, size=(400, 390), images=(out, "image"))

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
        words = f"## {title}\n\n{text}\n\n" + (f"### Model files\n\n{files}\n" if files else "")
        left = [node for node in self.nodes if node["pos"][0] < 380]  # the column of the picture
        below = max(node["pos"][1] + node["size"][1] for node in left) + 80
        lines = sum(1 + len(re.sub(r"\(http\S+\)", "", line)) // 44 for line in words.splitlines())
        self.note((20, below), words, (355, 60 + 17 * lines))
