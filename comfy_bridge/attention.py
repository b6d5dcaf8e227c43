"""The attention bias in the host's attention, through the override that the host offers, also beside another node's.

Takes the bias by number of keys, gives an override that adds it to the mask of each attention that sees the picture and
hands on to the kernel, or the override, that would have run. DenseRun where the bias would get lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..hilo_core.bias import add_bias
from .call import OVERRIDE
from .reasons import FOREIGN_FAILURES, DenseRun, out_of_memory

Override = Callable[..., Tensor]
KEEPS, KERNEL, OTHER = "keeps the mask", "only a kernel without masks", "changes attention and drops the mask"
_SAME = 0.1  # relative difference of two attention kernels; int8 and fp8 ones stay below, a change of meaning does not


@dataclass(frozen=True)
class Attention:
    """One attention call of a model: what it is asked for, without its tensors."""

    function: Override
    dtype: torch.dtype
    device: torch.device
    shape: tuple[int, ...]  # of the queries
    heads: int
    reshaped: bool  # (B, heads, L, D), else (B, L, heads * D)
    options: dict[str, Any]  # transformer_options, with what the model says of the block

    @classmethod
    def of(cls, function: Override, q: Tensor, args: tuple[Any, ...], kw: dict[str, Any]) -> Attention:
        """args: what follows the queries: keys, values, heads."""
        heads = args[2] if len(args) > 2 else kw["heads"]
        return cls(
            function,
            q.dtype,
            q.device,
            tuple(q.shape),
            heads,
            bool(kw.get("skip_reshape")),
            {name: value for name, value in (kw.get("transformer_options") or {}).items() if name != OVERRIDE},
        )

    def noise(self, length: int, seed: int) -> Tensor:
        """Queries of so many tokens; the global random state stays as it is."""
        shape = (1, self.heads, length, self.shape[-1]) if self.reshaped else (1, length, self.shape[-1])
        made = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return made.to(self.device, self.dtype)


def mask_kept_by(previous: Override, attention: Attention, length: int, options: dict[str, Any]) -> str:
    """KEEPS, KERNEL or OTHER: what an override does with a mask, found by trying it on noise of a strip's length.

    SageAttention nodes, for example, take a mask and ignore it. options: transformer_options of the model call, which
    overrides may read. One that fails on noise counts as KEEPS: whatever it needs, the model's own calls give it.
    Waits for the GPU, so ask once in a run.
    """
    q, k, v = (attention.noise(length, seed) for seed in range(3))
    options = {**attention.options, **options}
    plain, keywords = _pytorch(), {"transformer_options": options, "_inside_attn_wrapper": True}
    keywords |= {"skip_reshape": True} if attention.reshaped else {}
    mask = torch.zeros(1, 1, 1, length, dtype=q.dtype, device=q.device)
    mask[..., length // 2 :] = -30.0  # a bias that nobody overlooks: half of the keys are all but gone
    function, heads = _plain(attention.function), attention.heads
    try:
        open_ = previous(function, q, k, v, heads, **keywords).float()
    except FOREIGN_FAILURES as error:
        if out_of_memory(error):
            raise
        return KEEPS
    try:
        masked = previous(plain, q, k, v, heads, mask, **keywords).float()
    except FOREIGN_FAILURES as error:
        if out_of_memory(error):
            raise
        masked = open_  # takes no mask at all
    if _differ(masked, open_):
        return KEEPS
    return OTHER if _differ(plain(q, k, v, heads, **keywords).float(), open_) else KERNEL


def _differ(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape or bool((a - b).abs().mean() > _SAME * b.abs().mean())


def biased_attention(bias: dict[int, Tensor], previous: Override | None, around: bool = False) -> Override:
    """An attention override for the host that adds the bias where the keys are the strip's.

    bias: additive, by the number of keys. An override that is already there is called with the biased mask; around:
    not for those calls, as it drops masks. Kernels that ignore a mask (flash, sage) are replaced by the host's PyTorch
    attention there. A mask that the model gives to each of its layers is merged with the bias once.
    """
    pytorch, honest = _pytorch(), _honest()
    merged: dict[int, tuple[Tensor, Tensor]] = {}  # by number of keys: the model's last mask, and it with the bias

    def attend(
        function: Override,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor | None = None,
        *args: Any,
        **kw: Any,
    ) -> Tensor:
        keys = k.shape[2] if kw.get("skip_reshape") else k.shape[1]
        over = bias.get(keys)
        if over is not None:
            given, (last, both) = mask, merged.get(keys, (None, None))
            again = given is not None and given is last and both is not None and both.dtype == q.dtype
            mask = both if again else add_bias(given, over, q.dtype)
            if given is not None and mask is not None and not torch.compiler.is_compiling():
                merged[keys] = given, mask
            if _plain(function) not in honest and not getattr(function, "takes_mask", False):
                function = pytorch
        if previous is not None and (over is None or not around):
            return previous(function, q, k, v, heads, mask, *args, **kw)
        return function(q, k, v, heads, mask, *args, **kw)

    return attend


def checked_attention(inner: Override, lengths: frozenset[int], least: int, seen: list[int]) -> Override:
    """The same override for a strip, which leaves the model with DenseRun at the first attention that may see the
    picture and was not there when the layout was found: it would get no bias, or a wrong one.

    lengths: numbers of keys that are known. least: fewer keys than this cannot hold the strip. seen: gets the number of
    keys of each attention that may hold it; of none that is compiled.
    """

    def attend(function: Override, q: Tensor, k: Tensor, *args: Any, **kw: Any) -> Tensor:
        keys = k.shape[2] if kw.get("skip_reshape") else k.shape[1]
        if keys >= least and keys not in lengths:
            raise DenseRun("an attention over other tokens than the model's own is in this model call")
        if keys >= least and not torch.compiler.is_compiling():
            seen.append(keys)
        return inner(function, q, k, *args, **kw)

    return attend


def _pytorch() -> Override:
    from comfy.ldm.modules import attention as host

    return _plain(host.attention_pytorch)


def _honest() -> set[Override]:
    """The host's kernels that honour a mask."""
    from comfy.ldm.modules import attention as host

    names = ["basic", "sub_quad", "split", "xformers", "pytorch", "comfy_kitchen_int8"]
    if getattr(host, "SAGE_ATTENTION_SUPPORTS_MASK", False):
        names.append("sage")
    return {_plain(getattr(host, f"attention_{name}", host.attention_pytorch)) for name in names}


def host_takes_masks() -> bool:
    """Whether the attention that the host uses everywhere honours a mask."""
    from comfy.ldm.modules import attention as host

    return _plain(host.optimized_attention) in _honest()


def _plain(function: Any) -> Override:
    """The attention function under the host's wrapper, which would call the override again."""
    plain: Override = getattr(function, "__wrapped__", function)
    return plain
