"""Watches a model from outside: the attentions that it calls, and where image tokens lie among their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Rows = Tensor | None  # (L,) long: the image token of each key, -1 for others; None: no key is an image token


class Attentions(TorchFunctionMode):
    """While open, calls `hook(index, q, k, v, mask, options)` for each scaled dot product attention.

    What the hook returns is the attention's output; None leaves the call as it is.
    """

    def __init__(self, hook: Callable[..., Tensor | None]) -> None:
        super().__init__()
        self.hook, self.count = hook, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
        given = dict(zip(names, args, strict=False)) | kwargs
        q, k, v = given.pop("query"), given.pop("key"), given.pop("value")
        mask, index = given.pop("attn_mask", None), self.count
        self.count += 1
        out = self.hook(index, q, k, v, mask, given)
        return F.scaled_dot_product_attention(q, k, v, mask, **given) if out is None else out


def zeros(q: Tensor, v: Tensor) -> Tensor:
    """An attention that hands nothing on, so that tokens cannot mix."""
    return v.new_zeros(*q.shape[:-1], v.shape[-1])


def periodic(latent: Tensor, patch: int) -> Tensor:
    """(..., H, W) continued periodically to multiples of the patch, as the host does it."""
    down, right = -latent.shape[-2] % patch, -latent.shape[-1] % patch
    latent = torch.cat([latent, latent[..., :down, :]], -2) if down else latent
    return torch.cat([latent, latent[..., :right]], -1) if right else latent


def token_rows(latent: Tensor, patch: int) -> Tensor:
    """(B, C, [T,] H, W) -> (B, N, C * patch * patch), frame by frame; H and W multiples of the patch."""
    frames = latent.movedim(2, 1).flatten(0, 1) if latent.ndim == 5 else latent
    rows = F.unfold(frames, patch, stride=patch).transpose(1, 2)
    return rows.reshape(latent.shape[0], -1, rows.shape[-1])


def probes(latents: Sequence[Tensor], patch: int) -> Iterator[list[Tensor]]:
    """Changed copies of some latents, two for each bit of a token's number: with and without the tokens that have it.

    The tokens of all latents are numbered through. Whatever depends on one token alone changes in exactly one copy of
    each pair, and which one it is spells the token's number.
    """
    counts = [token_rows(z, patch).shape[1] for z in latents]
    numbers = torch.arange(sum(counts))
    for bit in range(max(1, (sum(counts) - 1).bit_length())):
        for value in (1, 0):
            parts = ((numbers >> bit & 1) == value).split(counts)
            yield [z + _pixels(part, z, patch) for z, part in zip(latents, parts, strict=True)]


def _pixels(tokens: Tensor, latent: Tensor, patch: int) -> Tensor:
    """(N,) bool -> (T or 1, H, W) of 0 and 1."""
    rows, columns = latent.shape[-2] // patch, latent.shape[-1] // patch
    grid = tokens.reshape(-1, rows, columns).repeat_interleave(patch, 1).repeat_interleave(patch, 2)
    return grid.to(latent)


def decode_rows(plain: Tensor, probed: Sequence[Tensor], total: int) -> Rows:
    """The image token of each key.

    plain: keys (heads, L, D) of the unchanged latents. probed: keys of each probe, in their order. total: image tokens.
    A row that never changes is no image token, nor is one that depends on several.
    """
    changes = torch.stack([(keys - plain).abs().amax((0, 2)) for keys in probed])  # (2 * bits, L)
    if not bool(changes.max() > 0):
        return None
    hit = changes > 1e-3 * changes.max()
    ones, others = hit[0::2], hit[1::2]
    single = (ones ^ others).all(0)
    number = (ones * (2 ** torch.arange(len(ones), device=hit.device))[:, None]).sum(0)
    rows = torch.where(single & (number < total), number, -1)
    return rows if bool((rows >= 0).any()) else None
