"""Code of others inside blocks and attention: guidance, regions, adapters."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from .base import Neighbour, network


def _override(clone: Any, function: Any) -> Any:
    options = clone.model_options["transformer_options"] = {**clone.model_options.get("transformer_options", {})}
    options["optimized_attention_override"] = function
    return clone


class Nag(Neighbour):
    """Normalised attention guidance in an attention override (ChenDarYen/ComfyUI-NAG): each token's answer is led away
    from the one to a negative text and its norm held. Here the negative text is silence."""

    scale, alpha, tau = 3.0, 0.5, 1.5

    def __init__(self, text: int) -> None:
        super().__init__()
        self.text = text

    def put(self, model: Any) -> Any:
        def attend(function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kw: Any) -> Tensor:
            self.calls.append((q.shape[-2] - self.text, True))
            silent = v.clone()
            silent[..., : self.text, :] = 0
            out: Tensor = function(q, k, v, heads, *args, **kw)
            led = out * self.scale - function(q, k, silent, heads, *args, **kw) * (self.scale - 1)
            size = led.norm(p=1, dim=-1, keepdim=True) / out.norm(p=1, dim=-1, keepdim=True).clamp_min(1e-6)
            led = led * (size.clamp(max=self.tau) / size.clamp_min(1e-6))
            return led * self.alpha + out * (1 - self.alpha)

        return _override(model.clone(), attend)


class RegionReplacement(Neighbour):
    """Regional prompting: a block replacement that hands the block a mask over text and the whole picture
    (attashe/ComfyUI-FluxRegionAttention)."""

    def __init__(self, text: int, tokens: int) -> None:
        super().__init__()
        length = text + tokens
        self.mask = torch.zeros(1, 1, length, length)
        self.mask[..., text + tokens // 2 :, : text // 2] = -1e4  # the lower half does not see the first words

    def put(self, model: Any) -> Any:
        clone, mask = model.clone(), self.mask

        def replacement(args: dict[str, Any], extra: dict[str, Any]) -> Any:
            self.calls.append((args["img"].shape[1], True))
            return extra["original_block"]({**args, "attn_mask": mask})

        clone.set_model_patch_replace(replacement, "dit", "double_block", 0)
        return clone


class RegionOverride(RegionReplacement):
    """The same in an attention override (logtd/ComfyUI-Fluxtapoz)."""

    def put(self, model: Any) -> Any:
        region = self.mask

        def attend(
            function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, *a: Any, **kw: Any
        ) -> Any:
            self.calls.append((q.shape[-2], True))
            return function(q, k, v, heads, region if mask is None else mask + region, *a, **kw)

        return _override(model.clone(), attend)


class TokenWeights(Neighbour):
    """A weight for each token of the whole picture, in a block replacement (image adapters with a region mask)."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.weight = torch.ones(1, tokens, 1)
        self.weight[:, tokens // 2 :] = 1.1

    def put(self, model: Any) -> Any:
        clone, weight = model.clone(), self.weight

        def replacement(args: dict[str, Any], extra: dict[str, Any]) -> Any:
            self.calls.append((args["img"].shape[1], True))
            out = extra["original_block"](args)
            return {**out, "img": out["img"] * weight}

        clone.set_model_patch_replace(replacement, "dit", "double_block", 0)
        return clone


class CutWeights(TokenWeights):
    """The same, which silently cuts its weights to as many tokens as there are: wrong on a strip, without an error."""

    def put(self, model: Any) -> Any:
        clone, weight = model.clone(), self.weight

        def replacement(args: dict[str, Any], extra: dict[str, Any]) -> Any:
            self.calls.append((args["img"].shape[1], True))
            out = extra["original_block"](args)
            return {**out, "img": out["img"] * weight[:, : out["img"].shape[1]]}

        clone.set_model_patch_replace(replacement, "dit", "double_block", 0)
        return clone


class CutWeightsObject(TokenWeights):
    """The same as an object with the weights as its attribute, the other usual form of a patch."""

    def __call__(self, args: dict[str, Any], extra: dict[str, Any]) -> Any:
        self.calls.append((args["img"].shape[1], True))
        out = extra["original_block"](args)
        return {**out, "img": out["img"] * self.weight[:, : out["img"].shape[1]]}

    def put(self, model: Any) -> Any:
        clone = model.clone()
        clone.set_model_patch_replace(self, "dit", "double_block", 0)
        return clone


class Adapter(Neighbour):
    """An image adapter: after some blocks every image token also attends to a few tokens of another picture."""

    def __init__(self, strength: float = 0.3) -> None:
        super().__init__()
        self.strength = strength

    def put(self, model: Any) -> Any:
        clone, width = model.clone(), network(model).hidden_size
        tokens = torch.randn(4, width, generator=torch.Generator().manual_seed(4))

        def replacement(args: dict[str, Any], extra: dict[str, Any]) -> Any:
            self.calls.append((args["img"].shape[1], True))
            out = extra["original_block"](args)
            seen = tokens.to(out["img"])
            weights = (out["img"] @ seen.T / width**0.5).softmax(-1)
            return {**out, "img": out["img"] + self.strength * (weights @ seen)}

        clone.set_model_patch_replace(replacement, "dit", "double_block", 0)
        return clone


class OutOfMemory(Neighbour):
    """A block replacement whose own allocation fails on any but the whole picture."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def put(self, model: Any) -> Any:
        clone = model.clone()

        def replacement(args: dict[str, Any], extra: dict[str, Any]) -> Any:
            self.calls.append((args["img"].shape[1], True))
            if args["img"].shape[1] != self.tokens:
                raise comfy.model_management.OOM_EXCEPTION("stand-in: out of memory")
            return extra["original_block"](args)

        clone.set_model_patch_replace(replacement, "dit", "double_block", 0)
        return clone
