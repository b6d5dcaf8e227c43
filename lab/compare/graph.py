"""A user's workflow in API form, made ready for one picture, seed and preset. Knows no server.

Everything that the picture before compositing does not need is left out, so that nothing of the user's is written.
"""

from __future__ import annotations

import copy
from typing import Any

from hilo_token.hilo_core import HiLoError

Prompt = dict[str, dict[str, Any]]
PATCH, SELECT = "HiLoModelPatch", "HiLoTokenSelect"
SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")
DECODERS = ("VAEDecode", "HiLoMaskedDecode", "VAEDecodeTiled")
SEEDS = ("seed", "noise_seed")
SAVE, DECODE = "hilo_compare_save", "hilo_compare_decode"
ENDINGS = (".safetensors", ".gguf", ".sft", ".ckpt", ".pt")


def only(prompt: Prompt, kinds: tuple[str, ...], asked: str = "") -> str:
    """The id of the one node of these kinds, or the one that was asked for. HiLoError otherwise."""
    found = [number for number, node in prompt.items() if node["class_type"] in kinds]
    if asked:
        if asked not in prompt:
            raise HiLoError(f"The workflow has no node {asked}.")
        return asked
    if len(found) != 1:
        raise HiLoError(f"The workflow has {len(found)} nodes of {' or '.join(kinds)}; say which one counts.")
    return found[0]


def check(prompt: Any) -> Prompt:
    """HiLoError unless this is a workflow in API form with a HiLo Model Patch in it."""
    if not isinstance(prompt, dict) or not all(isinstance(n, dict) and "class_type" in n for n in prompt.values()):
        raise HiLoError("The workflow is not in API form. Save it with Export (API) from ComfyUI's menu.")
    if not any(node["class_type"] == PATCH for node in prompt.values()):
        raise HiLoError("The workflow has no HiLo Model Patch. Put it between the model loader and the sampler.")
    return prompt


def ready(prompt: Prompt, picture: str, mask: str, seed: int, preset: str, nodes: dict[str, str]) -> Prompt:
    """The prompt for one run, whose last node is `SAVE`.

    picture, mask: names of uploaded files; the picture's alpha has the mask too. nodes: ids that the user named, of
    "picture", "mask", "sampler".
    """
    made = copy.deepcopy(prompt)
    made[only(made, ("LoadImage",), nodes.get("picture", ""))]["inputs"]["image"] = picture
    masks = [number for number, node in made.items() if node["class_type"] == "LoadImageMask"]
    if masks or nodes.get("mask"):
        number = only(made, ("LoadImageMask",), nodes.get("mask", ""))
        made[number]["inputs"] |= {"image": mask} | ({"channel": "red"} if number in masks else {})
    for node in made.values():
        if node["class_type"] in (PATCH, SELECT) and not isinstance(node["inputs"].get("preset"), list):
            off = preset == "off" and node["class_type"] == SELECT  # which has no such preset
            node["inputs"] |= {} if off else {"preset": preset}
        for name in SEEDS:
            if isinstance(node["inputs"].get(name), int):
                node["inputs"][name] = seed
    sampler = only(made, SAMPLERS, nodes.get("sampler", ""))
    vaes = [node["inputs"]["vae"] for node in made.values() if node["class_type"] in DECODERS]
    if not vaes:
        raise HiLoError("The workflow decodes nothing, so the VAE is not known. Add VAE Decode.")
    made[DECODE] = {"class_type": "VAEDecode", "inputs": {"samples": [sampler, 0], "vae": vaes[0]}}
    made[SAVE] = {"class_type": "PreviewImage", "inputs": {"images": [DECODE, 0]}}
    needed = _needed(made, SAVE)
    return {number: node for number, node in made.items() if number in needed}


def _needed(prompt: Prompt, last: str) -> set[str]:
    """A node and all that it comes from."""
    found, waiting = set[str](), [last]
    while waiting:
        number = waiting.pop()
        if number in found or number not in prompt:
            continue
        found.add(number)
        waiting += [str(v[0]) for v in prompt[number]["inputs"].values() if isinstance(v, list) and len(v) == 2]
    return found


def models(prompt: Prompt) -> list[str]:
    """Names of the model files that a workflow loads; the demo's model by its node."""
    values = [v for node in prompt.values() for v in node["inputs"].values() if isinstance(v, str)]
    found = [v for v in values if v.lower().endswith(ENDINGS)]
    return found + [n["class_type"] for n in prompt.values() if n["class_type"] == "HiLoDemoModel"]
