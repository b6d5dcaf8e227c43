"""How a model lays out its sequences, found by trying it on a tiny picture.

With the output of each attention replaced by zeros tokens cannot mix. So of a batch in which one item differs in the
target's tokens, another in those of a reference, another in one token alone, the rows that differ among the keys of an
attention are exactly those tokens. Nothing of a family is written down: not where text is, nor what order references
have, nor which attentions see text alone. Each model and kind of conditioning is tried once in the model's life.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..hilo_core.grid import grid_shape
from ..hilo_core.words import Said
from .attention import Attention
from .call import CARRIED, OURS, OVERRIDE, Call, flat, on_grid, shape_of
from .features import FEATURES
from .masked import overriding
from .neighbours import uncompiled
from .parts import CONST, TARGET, Part, Size, filled, grids
from .positions import eagerly, recording, rows_of
from .reasons import FOREIGN_FAILURES, DenseRun, out_of_memory

ROWS, COLUMNS = 5, 6  # of the tiny target; a reference has 3 rows and a number of columns of its own
FRAMES = 2  # of the tiny target, where the target is a clip

ASKED_NOTHING = (
    "this model asked HiLo-Token for no positions: it is a second model that needs a HiLo Model Patch of its own, or "
    "another node's embedder is in its place, or this ComfyUI version is not supported"
)

_MIXED = "image tokens cannot be told from others in this model's attention"


@dataclass(frozen=True)
class Probe:
    """What one model does with one kind of conditioning."""

    asks: tuple[tuple[Part, ...], ...]  # parts of each sequence of positions, in the order the model asks
    attentions: frozenset[tuple[Part, ...]]  # parts of the keys of each kind of attention
    attention: Attention  # the first that sees the target
    seeing: int  # how many see it in one call


def quiet(options: dict[str, Any]) -> dict[str, Any]:
    """transformer_options without what other nodes, and this one, do within a model call."""
    kept = {key: value for key, value in options.items() if key not in (*CARRIED, *OURS)}
    return {**kept, "qwen_image21_cache": {"device": "off"}}  # nothing of a trial is kept for the steps that follow


_found: WeakKeyDictionary[Any, dict[Any, Probe]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Form:
    """What of a model cannot be found out by trying it."""

    patch: int  # latent pixels per token side
    pads: Callable[[int], int]  # pad tokens that the model appends to so many image tokens
    table: bool  # its positions are a table of the picture's tokens, not ids of any


def find_layout(model: Any, form: Form, call: Call) -> Probe:
    """The probe of this model (the host's BaseModel) for such calls; DenseRun where no layout can be made out."""
    known = _found.setdefault(uncompiled(model.diffusion_model), {})
    key = _kind(call)
    if key not in known:
        known[key] = _probe(model, form, call)
    return known[key]


def _kind(call: Call) -> Any:
    """What a layout depends on: shapes of all that is not on the picture's grid, and the number of references."""

    def kind(value: Any) -> Any:
        return shape_of(value, lambda tensor: "grid" if on_grid(tensor, call.x) else tuple(tensor.shape[1:]))

    inputs = {name: value for name, value in call.kwargs.items() if name != "ref_latents"}
    references = len(call.kwargs.get("ref_latents") or ())
    named = tuple((name, kind(value)) for name, value in sorted(inputs.items()))
    x = (call.x.ndim, _frames(call.x), call.x.dtype, call.x.device)
    return x, kind(call.context), kind(call.concat), named, references


def _frames(latent: Tensor) -> int:
    """Frames of the tiny picture that stands for a latent."""
    return 1 if flat(latent).ndim == 4 else FRAMES


def _probe(model: Any, form: Form, call: Call) -> Probe:
    references = len(call.kwargs.get("ref_latents") or ())
    sizes = [(_frames(call.x), ROWS, COLUMNS), *((1, 3, 4 + i) for i in range(references))]
    seen: list[Tensor] = []  # of each attention, where keys differ between the pictures
    asked_for: list[Attention] = []
    tiny = _tiny_call(call, form.patch, sizes)
    batch = tiny.x.shape[0]

    def look(function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kw: Any) -> Tensor:
        seen.append(_changes(k.movedim(2, 1) if kw.get("skip_reshape") else k, batch))
        asked_for.append(Attention.of(function, q, (k, v, heads), kw))
        return _zeros(q, k, v, heads, kw)

    options = {**tiny.options, OVERRIDE: look}
    try:
        with recording() as asked, eagerly(), overriding(look):
            tiny._replace(options=options).execute(model._apply_model)
    except FOREIGN_FAILURES as error:
        if out_of_memory(error):
            raise
        raise DenseRun(
            Said("the model fails on a tiny picture ({})", f"{type(error).__name__}: {str(error)[:80]}")
        ) from error
    attentions = _attentions(seen, sizes, form.pads)
    asks = tuple(_rows(p, attentions) if form.table else grids(p, sizes, form.pads) for p in asked)
    if not any(_sees_target(parts) for parts in asks):
        raise DenseRun(ASKED_NOTHING)
    first = next((a for a, parts in zip(asked_for, attentions, strict=True) if _sees_target(parts)), None)
    if first is None:
        raise DenseRun(FEATURES["foreign_attention"].text)
    return Probe(asks, frozenset(attentions), first, sum(map(_sees_target, attentions)))


def _sees_target(parts: tuple[Part, ...]) -> bool:
    return any(kind == TARGET for kind, _ in parts)


def _zeros(q: Tensor, k: Tensor, v: Tensor, heads: int, kw: dict[str, Any]) -> Tensor:
    """What an attention gives, in the host's conventions, all zero."""
    if kw.get("skip_reshape"):
        batch, _, length, _ = q.shape
        width = v.shape[-1]
    else:
        batch, length = q.shape[:2]
        widths = [t.flatten(2).shape[-1] for t in (q, k, v)]
        width = (widths[0] if widths[2] == widths[1] else widths[2]) // heads
    return (
        q.new_zeros(batch, heads, length, width)
        if kw.get("skip_output_reshape")
        else q.new_zeros(batch, length, heads * width)
    )


def _tiny_call(call: Call, patch: int, sizes: Sequence[Size]) -> Call:
    """Batch: as it is; the target's tokens all changed; its second token; its second row's first; each reference; in a
    clip the second frame's first."""
    references, frames = len(sizes) - 1, sizes[0][0]
    batch = 4 + references + (frames > 1)
    noise = torch.Generator().manual_seed(0)

    def made(like: Tensor, size: Size) -> Tensor:
        axes = grid_shape(size[0], size[1] * patch, size[2] * patch)
        shape = (1, *like.shape[1 : -len(axes)], *axes)
        return torch.randn(shape, generator=noise).to(like.device, like.dtype).repeat(batch, *[1] * (like.ndim - 1))

    def widen(value: Any) -> Any:
        if isinstance(value, Tensor):
            if on_grid(value, call.x):
                if frames > 1:
                    value = value[..., :frames, :, :]
                value = value[..., :1, :1].expand(*value.shape[:-2], ROWS * patch, COLUMNS * patch)
            if value.ndim and value.shape[0] in (1, call.x.shape[0]):
                value = value[:1].expand(batch, *[-1] * (value.ndim - 1))
            return value
        return [widen(item) for item in value] if isinstance(value, (list, tuple)) else value

    x = made(call.x, sizes[0])
    x[1] += 1
    first = x[:, :, 0] if frames > 1 else x  # the tokens of the first frame
    first[2, ..., :patch, patch : 2 * patch] += 1
    first[3, ..., patch : 2 * patch, :patch] += 1
    if frames > 1:
        x[-1, :, 1, :patch, :patch] += 1
    kwargs = {name: widen(value) for name, value in call.kwargs.items() if name != "ref_latents"}
    if references:
        latents = [made(z.to(call.x.device), s) for z, s in zip(call.kwargs["ref_latents"], sizes[1:], strict=True)]
        for i, latent in enumerate(latents):
            latent[4 + i] += 1
        kwargs["ref_latents"] = latents
    options = {**quiet(call.options), "cond_or_uncond": [0] * batch}
    options.pop("uuids", None)
    return Call(x, widen(call.t), widen(call.concat), widen(call.context), None, options, kwargs)


def _changes(keys: Tensor, batch: int) -> Tensor:
    """How far each key (batch, L, ...) is from the first picture's: (batch - 1, L). Of an attention that takes each
    item apart, over the layers of a text encoder for example, with keys (batch * n, L, ...): (batch - 1, n, L). Does
    not wait for the GPU."""
    if keys.shape[0] % batch:
        raise DenseRun(_MIXED)
    items = keys.flatten(2) if keys.shape[0] == batch else keys.unflatten(0, (batch, -1)).flatten(3)
    return (items[1:] - items[:1]).abs().amax(-1).float()


def _attentions(seen: list[Tensor], sizes: Sequence[Size], pads: Callable[[int], int]) -> list[tuple[Part, ...]]:
    """Parts of the keys of each attention, from its changes. DenseRun where tokens have mixed or are out of order."""
    if not seen:
        return []
    found = torch.cat([changes.flatten() for changes in seen]).cpu().split([changes.numel() for changes in seen])
    known: dict[Any, tuple[Part, ...] | None] = {}
    parts: list[tuple[Part, ...]] = []
    for there, line in zip(seen, found, strict=True):
        changes = line.reshape(there.shape)
        hit = changes > 0.01 * changes.amax(-1, keepdim=True).clamp_min(1e-6)
        key = there.shape, hit.numpy().tobytes()
        if key not in known:
            known[key] = _parts(hit, sizes, pads) if hit.ndim == 2 else _text_alone(changes)
        if (mine := known[key]) is None:
            raise DenseRun(_MIXED)
        parts.append(mine)
    return parts


def _parts(hit: Tensor, sizes: Sequence[Size], pads: Callable[[int], int]) -> tuple[Part, ...] | None:
    """Parts of one attention's keys, of which (batch - 1, L) differ from the first picture's; None where tokens have
    mixed or are out of order."""
    found: list[tuple[int, int, int]] = []  # (start, kind, length)
    for kind, row in ((TARGET, 0), *((i, 3 + i) for i in range(len(sizes) - 1))):
        at = hit[row].nonzero()[:, 0].tolist()
        count = math.prod(sizes[kind + 1])
        if at and at != list(range(at[0], at[0] + count)):
            return None
        if at:
            found.append((at[0], kind, count))
    starts = {kind: start for start, kind, _ in found}
    places = [(1, 1), (2, COLUMNS), *([(len(hit) - 1, ROWS * COLUMNS)] if sizes[0][0] > 1 else [])]
    for row, place in places:
        at = hit[row].nonzero()[:, 0].tolist()
        if at != ([starts[TARGET] + place] if TARGET in starts else []):
            return None
    return filled(sorted(found), hit.shape[1], pads)


def _text_alone(changes: Tensor) -> tuple[Part, ...] | None:
    """Parts of an attention that takes each item apart, of changes (batch - 1, n, L); None where a picture is in it."""
    return None if bool(changes.max() > 1e-6) else ((CONST, changes.shape[2]),)


def _rows(table: Tensor, attentions: list[tuple[Part, ...]]) -> tuple[Part, ...]:
    """Parts of a table of positions: those of an attention that has so many keys, with text or without."""
    length = rows_of(table).shape[1]
    seen = [parts for parts in attentions if _sees_target(parts)]
    ways = {*seen, *(tuple(part for part in parts if part[0] >= TARGET) for parts in seen)}
    found = [parts for parts in ways if sum(count for _, count in parts) == length]
    if len(found) != 1:
        raise DenseRun("this model's positions cannot be told apart")
    return found[0]
