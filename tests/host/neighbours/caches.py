"""Caches that keep features or residuals from one step to the next."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
from comfy.ldm.flux.layers import timestep_embedding
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .base import Neighbour, network, relative_change, step_index


def run_blocks(net: Any, img: Tensor, txt: Tensor, vec: Any, **kw: Any) -> Tensor:
    """All blocks of a FLUX; img is changed in place."""
    for block in net.double_blocks:
        img, txt = block(img=img, txt=txt, vec=vec, **kw)
    both = torch.cat((txt, img), 1)
    for block in net.single_blocks:
        both = block(both, vec=vec, **kw)
    return both[:, txt.shape[1] :]


class ForwardOrig(Neighbour):
    """Puts a forward of its own in place of a FLUX's `forward_orig` for the time of each call, as
    welltop-cn/ComfyUI-TeaCache and Zehong-Ma/ComfyUI-MagCache do. Its state begins anew at the first step."""

    hands_on = False  # whether the blocks get transformer_options; the published FLUX forwards do not

    def put(self, model: Any) -> Any:
        clone, net = model.clone(), network(model)

        def wrapper(apply: Any, call: dict[str, Any]) -> Tensor:
            self.step, self.steps = step_index(call), len(call["c"]["transformer_options"]["sample_sigmas"]) - 1
            if self.step == 0:
                self.restart()
            with mock.patch.object(net, "forward_orig", lambda *a, **kw: self.forward(net, *a, **kw)):
                return apply(call["input"], call["timestep"], **call["c"])

        clone.set_model_unet_function_wrapper(wrapper)
        return clone

    def forward(
        self,
        net: Any,
        img: Tensor,
        img_ids: Tensor,
        txt: Tensor,
        txt_ids: Tensor,
        timesteps: Tensor,
        y: Tensor,
        guidance: Tensor | None,
        *rest: Any,
        attn_mask: Tensor | None = None,
        **kw: Any,
    ) -> Tensor:
        """As the host's, around `decide`."""
        options = kw["transformer_options"] if "transformer_options" in kw else rest[-1]
        img, txt = net.img_in(img), net.txt_in(txt)
        vec = net.time_in(timestep_embedding(timesteps, 256).to(img.dtype)) + net.vector_in(y)
        if net.params.guidance_embed:
            vec = vec + net.guidance_in(timestep_embedding(guidance, 256).to(img.dtype))
        kept = {"pe": net.pe_embedder(torch.cat((txt_ids, img_ids), 1)), "attn_mask": attn_mask}
        if self.hands_on:
            kept["transformer_options"] = options
        skip = self.decide(net, img, vec)
        self.calls.append((img.shape[1], not skip))
        if skip:
            img = img + self.residual
        else:
            before = img.clone()
            img = run_blocks(net, img, txt, vec, **kept)
            self.residual = img - before
        return net.final_layer(img, vec)

    def restart(self) -> None:
        """Before the first step of a run."""
        raise NotImplementedError

    def decide(self, net: Any, img: Tensor, vec: Tensor) -> bool:
        """Whether this call takes the residual of the one before."""
        raise NotImplementedError


class TeaCache(ForwardOrig):
    """Skips as long as the summed change of the first block's modulated input is small. It does not compare shapes."""

    limit, scale = 0.35, 1.0

    def restart(self) -> None:
        self.total, self.before = 0.0, None

    def decide(self, net: Any, img: Tensor, vec: Tensor) -> bool:
        block = net.double_blocks[0]
        mod, _ = block.img_mod(vec)
        now = (1 + mod.scale) * block.img_norm1(img) + mod.shift
        before, self.before = self.before, now
        if before is not None:
            self.total += self.scale * relative_change(now, before)
        if before is not None and self.total < self.limit and self.step < self.steps - 1:
            return True
        self.total = 0.0
        return False


class MagCache(ForwardOrig):
    """Skips by the step's number, from a table of how much the residual shrinks, whatever the tokens."""

    ratio, limit, longest, retention = 0.98, 0.06, 1, 0.2

    def restart(self) -> None:
        self.product, self.error, self.run = 1.0, 0.0, 0

    def decide(self, net: Any, img: Tensor, vec: Tensor) -> bool:
        if self.step < max(1, int(self.steps * self.retention)) or self.step == self.steps - 1:
            return False
        self.product *= self.ratio
        self.error, self.run = self.error + abs(1 - self.product), self.run + 1
        if self.error < self.limit and self.run <= self.longest:
            return True
        self.restart()
        return False


class MagCacheThatHandsOn(MagCache):
    """The same where the forward hands transformer_options to the blocks, as that of Qwen-Image does."""

    hands_on = True


class _AllBlocks(torch.nn.Module):
    """Both lists of blocks as one, with what is left of them when the first is done."""

    def __init__(self, owner: FirstBlockCache, double: list[Any], single: list[Any]) -> None:
        super().__init__()
        self.__dict__.update(owner=owner, double=double, single=single)  # not as submodules: the net owns them

    def forward(self, img: Tensor, txt: Tensor, **kw: Any) -> tuple[Tensor, Tensor]:
        owner, before = self.owner, img.clone()
        first, txt = self.double[0](img=img, txt=txt, **kw)
        change, after = first - before, first.clone()
        skip = owner.like_before(change)
        owner.calls.append((img.shape[1], not skip))
        if skip:
            return after + owner.kept["residual"], txt
        rest = first
        for block in self.double[1:]:
            rest, txt = block(img=rest, txt=txt, **kw)
        both = torch.cat((txt, rest), 1)
        for block in self.single:
            both = block(both, **kw)
        rest = both[:, txt.shape[1] :]
        owner.kept.update(change=change, residual=rest - after)
        return rest, txt


class FirstBlockCache(Neighbour):
    """Swaps the lists of blocks for one module of its own while a call runs, and skips all blocks but the first if that
    one's change is like the one of the last computed call (chengzeyi/Comfy-WaveSpeed). Starts anew when sigma rises."""

    def __init__(self, threshold: float = 0.25, longest: int = 1) -> None:
        super().__init__()
        self.threshold, self.longest = threshold, longest
        self.kept: dict[str, Tensor] = {}
        self.sigma, self.hits = float("inf"), 0

    def like_before(self, change: Tensor) -> bool:
        """The rule; tensors of another shape are not alike."""
        known = self.kept.get("change")
        alike = known is not None and known.shape == change.shape and relative_change(change, known) < self.threshold
        self.hits = self.hits + 1 if alike and self.hits < self.longest else 0
        return self.hits > 0

    def put(self, model: Any) -> Any:
        clone, net = model.clone(), network(model)
        blocks = torch.nn.ModuleList([_AllBlocks(self, list(net.double_blocks), list(net.single_blocks))])

        def wrapper(apply: Any, call: dict[str, Any]) -> Tensor:
            sigma = float(call["timestep"][0])
            if sigma > self.sigma:
                self.kept, self.hits = {}, 0
            self.sigma = sigma
            with (
                mock.patch.object(net, "double_blocks", blocks),
                mock.patch.object(net, "single_blocks", torch.nn.ModuleList()),
            ):
                return apply(call["input"], call["timestep"], **call["c"])

        clone.set_model_unet_function_wrapper(wrapper)
        return clone


class Spectrum(Neighbour):
    """Replaces every block: on a forecast step the first puts in the last block's features, extrapolated from the last
    two that were computed, and no block runs. A wrapper of PREDICT_NOISE counts the steps (judian17/ComfyUI-Spectrum,
    there with Chebyshev polynomials)."""

    warmup = 3

    def __init__(self) -> None:
        super().__init__()
        self.step = self.steps = 0
        self.seen: list[tuple[int, Tensor]] = []
        self.forecast = False

    def put(self, model: Any) -> Any:
        clone, net = model.clone(), network(model)
        clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "spectrum", self._count)
        singles = len(net.single_blocks)
        for i in range(len(net.double_blocks)):
            clone.set_model_patch_replace(self._block(i == 0, False), "dit", "double_block", i)
        for i in range(singles):
            clone.set_model_patch_replace(self._block(False, i == singles - 1), "dit", "single_block", i)
        return clone

    def _count(self, execute: Any, x: Tensor, sigma: Tensor, options: Any = None, seed: Any = None) -> Tensor:
        if self.step >= self.steps:
            self.step, self.steps, self.seen = 0, len(options["transformer_options"]["sample_sigmas"]) - 1, []
        self.forecast = self.step >= self.warmup and self.step % 2 == 1
        out = execute(x, sigma, options, seed)
        self.step += 1
        return out

    def _block(self, first: bool, last: bool) -> Any:
        def replacement(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            if first:
                self.tokens = args["img"].shape[1]
                self.calls.append((self.tokens, not self.forecast))
            if self.forecast:
                img = self._guess().to(args["img"]) if first else args["img"]
                return {"img": img, "txt": args["txt"]} if "txt" in args else {"img": img}
            out: dict[str, Any] = extra["original_block"](args)
            if last:
                features = out["img"][:, -self.tokens :].clone()
                assert not self.seen or self.seen[-1][1].shape == features.shape, "feature shape changed within a run"
                self.seen.append((self.step, features))
            return out

        return replacement

    def _guess(self) -> Tensor:
        (i, a), (k, b) = self.seen[-2:]
        return b + (b - a) * (self.step - k) / (k - i)
