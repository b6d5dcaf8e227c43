"""Prompts for the real server: a photo, a mask, other nodes around the patch, a sampler; and what they saved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

VALUES = {
    "SkipLayerGuidanceDiT": {"double_layers": "0", "single_layers": "0", "start_percent": 0.0},
    "ModelSamplingFlux": {"width": 128, "height": 128},
    "ScaleROPE": {"scale_x": 1.1, "shift_y": 2.0},
    "EasyCache": {"start_percent": 0.0, "end_percent": 1.0},
    "LazyCache": {"start_percent": 0.0, "end_percent": 1.0},
}  # other than the widgets' defaults


@dataclass(frozen=True)
class Box:
    """A rectangle in px, and the mask's value in it."""

    left: int
    top: int
    width: int
    height: int
    value: float = 1.0

    def grown(self, reach: int, unit: int = 1) -> tuple[slice, slice]:
        """(rows, columns) of the pixels, or of units of so many px, that lie within reach (px)."""
        down, across = self.top + self.height, self.left + self.width
        return (
            slice(max(0, self.top - reach) // unit, -(-(down + reach) // unit)),
            slice(max(0, self.left - reach) // unit, -(-(across + reach) // unit)),
        )


def node(kind, **inputs):
    """One node of a prompt."""
    return {"class_type": kind, "inputs": inputs}


def with_defaults(prompt, info):
    """The prompt with the default of every widget that it leaves out, as the front end would send it."""
    for one in prompt.values():
        for name, spec in info[one["class_type"]]["input"].get("required", {}).items():
            options = spec[1] if len(spec) > 1 else {}
            choices = spec[0] if isinstance(spec[0], list) else options.get("options")
            if "default" in options or choices:
                one["inputs"].setdefault(name, options.get("default", choices[0] if choices else None))
    return prompt


def resized(image, width, height):
    """A picture at a size in px."""
    return node("ImageScale", image=[image, 0], upscale_method="area", width=width, height=height, crop="disabled")


def graph(width, height, boxes, preset="balanced", before=(), after=(), planned=False, dilated=0, batch=1,
          conds="plain", custom=False, decoded=False, feather=0, hilo=None,
          folder="prompts", **sampling):  # fmt: skip
    """A prompt: a photo at a size, a mask of boxes, other nodes before and after the patch.

    dilated: tokens of 16 px by which HiLoMaskDilate grows the mask; 0 takes its cleaned one. conds: a prompt of one
    part, with a guidance, an area, or a mask. custom: guider and custom sampler instead of KSampler. hilo: more
    widgets of the patch. folder: for what it saves. sampling: of KSampler.
    """
    prompt = {
        "photo": node("LoadImage", image="demo.jpg"),
        "image": resized("photo", width, height),
        "mask0": node("SolidMask", value=0.0, width=width, height=height),
        "model": node("HiLoDemoModel"),
        "hilo": node("HiLoModelPatch", preset=preset, **(hilo or {})),
    }
    for i, box in enumerate(boxes):
        prompt[f"box{i}"] = node("SolidMask", value=box.value, width=box.width, height=box.height)
        prompt[f"mask{i + 1}"] = node(
            "MaskComposite", destination=[f"mask{i}", 0], source=[f"box{i}", 0], x=box.left, y=box.top, operation="add"
        )
    prompt["grown"] = node("HiLoMaskDilate", mask=[f"mask{len(boxes)}", 0], margin=16 * dilated, drop_specks=0)
    mask = ["grown", 1 if dilated else 0]
    prompt["inpaint"] = node("InpaintModelConditioning", positive=["model", 1], negative=["model", 1], vae=["model", 2],
                             pixels=["image", 0], mask=mask, noise_mask=True)  # fmt: skip
    prompt["latents"] = node("RepeatLatentBatch", samples=["inpaint", 2], amount=batch)
    last = ["model", 0]
    for place, names in (("before", before), ("hilo", ["HiLoModelPatch"]), ("after", after)):
        for name in names:
            key = place if place == "hilo" else f"{place} {name}"
            prompt.setdefault(key, node(name, **VALUES.get(name, {})))["inputs"]["model"] = last
            last = [key, 0]
    if planned:
        chosen = "balanced" if preset == "off" else preset
        prompt["plan"] = node("HiLoTokenSelect", image=["image", 0], mask=mask, preset=chosen)
        prompt["hilo"]["inputs"]["plan"] = ["plan", 0]
    positive = _conds(prompt, conds, width, height)
    (_custom if custom else _ksampler)(prompt, last, positive, sampling)
    prompt["out"] = node("SaveLatent", samples=["sampler", 0], filename_prefix=f"{folder}/out")
    prompt["in"] = node("SaveLatent", samples=["latents", 0], filename_prefix=f"{folder}/in")
    if decoded:
        prompt["decode"] = node("HiLoMaskedDecode", vae=["model", 2], samples=["sampler", 0], original=["image", 0],
                                mask=mask, feather=feather)  # fmt: skip
        prompt["picture"] = node("SaveImage", images=["decode", 0], filename_prefix=f"{folder}/picture")
        prompt["original"] = node("SaveImage", images=["image", 0], filename_prefix=f"{folder}/original")
    return prompt


def _conds(prompt, kind, width, height):
    """The positive conditioning of the sampler."""
    if kind == "guidance":
        prompt["part"] = node("FluxGuidance", conditioning=["inpaint", 0], guidance=7.0)
    elif kind == "area":
        prompt["part"] = node("ConditioningSetArea", conditioning=["inpaint", 0], width=max(64, width // 2),
                              height=max(64, height // 2), x=0, y=0, strength=1.0)  # fmt: skip
    elif kind == "mask":
        prompt["half"] = node("SolidMask", value=1.0, width=width, height=height)
        prompt["part"] = node("ConditioningSetMask", conditioning=["inpaint", 0], mask=["half", 0], strength=0.7,
                              set_cond_area="default")  # fmt: skip
    else:
        return ["inpaint", 0]
    if kind == "guidance":
        return ["part", 0]
    prompt["parts"] = node("ConditioningCombine", conditioning_1=["inpaint", 0], conditioning_2=["part", 0])
    return ["parts", 0]


def _ksampler(prompt, model, positive, sampling):
    settings = {"seed": 1, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    prompt["sampler"] = node("KSampler", model=model, positive=positive, negative=["inpaint", 1],
                             latent_image=["latents", 0], **(settings | sampling))  # fmt: skip


def _custom(prompt, model, positive, sampling):
    prompt["noise"] = node("RandomNoise", noise_seed=sampling.get("seed", 1))
    prompt["select"] = node("KSamplerSelect", sampler_name=sampling.get("sampler_name", "euler"))
    prompt["sigmas"] = node("BasicScheduler", model=model, scheduler=sampling.get("scheduler", "simple"),
                            steps=sampling.get("steps", 2), denoise=sampling.get("denoise", 1.0))  # fmt: skip
    prompt["guider"] = node("CFGGuider", model=model, positive=positive, negative=["inpaint", 1],
                            cfg=sampling.get("cfg", 1.0))  # fmt: skip
    prompt["sampler"] = node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["select", 0],
                             sigmas=["sigmas", 0], latent_image=["latents", 0])  # fmt: skip


def latent(server, result, name):
    """A latent that a prompt saved."""
    (saved,) = result.outputs[name]["latents"]
    return load_file(server.output(saved["filename"], saved["subfolder"]))["latent_tensor"]


def pictures(server, result, name):
    """(B, H, W, 3) uint8: what a prompt saved as PNG."""
    found = []
    for saved in result.outputs[name]["images"]:
        path = server.output(saved["filename"], saved["subfolder"])
        found.append(torch.from_numpy(np.array(Image.open(path).convert("RGB"))))
    return torch.stack(found)


def lines(server):
    """The pack's report lines so far."""
    return [line for line in server.log_lines() if "HiLo-Token:" in line and "patched before" not in line]
