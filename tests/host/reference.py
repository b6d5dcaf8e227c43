"""An independent reference for a compressed model call: knows the host and the node HiLoModelPatch, nothing else.

A strip of real tokens must be the dense call whose attentions mask the dropped keys and add log(mass) to the others:
all else in a transformer works token by token. So the compressed call is caught at the host's `_apply_model`, its
tokens are found in the dense latent by their values, the masses are read from the masks that its attentions get,
and the dense call is repeated with them on a second copy of the model that never met the pack. Where image tokens lie
among the keys of an attention is found out (`tap.probes`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import averages
from .models import Small
from .recording import Call, Setting, Strip, dense_rows, each, edit_of, networks, record
from .tap import Attentions, Rows, periodic, token_rows

NEVER = -1e9  # added to the logits of a dropped key


@dataclass(frozen=True)
class Agreement:
    """How far a compressed step is the dense step with fewer keys."""

    difference: float = math.nan  # largest over the kept tokens, relative to the output's size
    biased: int = 0  # attentions with one and the same mass for each image key
    seeing: int = 0  # attentions over image keys
    others: int = 0  # attentions in which the weight of the other keys is not the dense call's
    masses: tuple[float, ...] = ()  # sum for the target, and for each reference
    totals: tuple[int, ...] = ()  # dense tokens of each
    kept: tuple[int, ...] = ()  # tokens in the strip of each
    why: str = ""  # why there was nothing to compare

    def faults(self, tolerance: float = 1e-5) -> list[str]:
        """What does not hold, in words."""
        if self.why:
            return [self.why]
        found = []
        if not self.difference <= tolerance:
            found.append(f"differs from the dense step with masked keys by {self.difference:.1e} of its size")
        if self.biased != self.seeing:
            found.append(f"{self.biased} of {self.seeing} attentions over image keys are biased")
        if self.others:
            found.append(f"{self.others} attentions weigh other keys than image tokens differently")
        if self.masses and any(abs(m - t) > 1e-3 * t for m, t in zip(self.masses, self.totals, strict=True)):
            found.append(f"masses {self.masses} do not add up to {self.totals} tokens")
        return found


def compare(small: Small, **setting: Any) -> Agreement:
    """Sample one masked edit with the node and compare every compressed call of one step with its reference."""
    chosen = Setting(small, **setting)
    calls, answers = record(chosen)
    if not calls:
        return Agreement(why="no call was compressed")
    results = [_agreement(chosen, call, rows) for call, rows in zip(calls, answers, strict=True)]
    wrong = [result for result in results if result.faults()]
    return (wrong or results)[0]


def kept_tokens(small: Small, **setting: Any) -> int:
    """Tokens of the target in the strip."""
    calls, _ = record(Setting(small, **setting), rows=False)
    return token_rows(calls[0].strip.x, small.patch).shape[1]


def padded(call: Call, patch: int) -> Call:
    """What the host itself does to odd sizes, done before: pictures are continued periodically.

    The denoise mask is no picture: models take its mean, which padding would change.
    """
    size = call.x.shape[-2:]

    def pad(value: Tensor, any_size: bool = False) -> Tensor:
        if value.ndim < 4 or not (any_size or value.shape[-2:] == size):
            return value
        return periodic(value, patch)

    def pad_any(value: Tensor) -> Tensor:
        return pad(value, any_size=True)

    kwargs = {
        name: value if name == "denoise_mask" else each(value, pad_any if name == "ref_latents" else pad)
        for name, value in call.kwargs.items()
    }
    return call._replace(x=pad(call.x), concat=each(call.concat, pad), kwargs=kwargs)


def _agreement(setting: Setting, seen: Strip, rows: list[Rows]) -> Agreement:
    """One compressed call against its reference."""
    patch, twin = setting.small.patch, networks(setting.small.build)[1].model
    dense = padded(seen.dense, patch)
    kept, averaged, why = _kept(setting, seen, dense, twin)
    if why:
        return Agreement(why=why)
    dense = _with_averages(dense, averaged, patch) if averaged else dense
    totals = [token_rows(z, patch).shape[1] for z in dense.latents]
    counts = [len(k) for k in kept]
    logs, biased, seeing = _masses(seen.masks, rows, sum(counts))
    full = torch.full((sum(totals),), NEVER)
    starts = [sum(totals[:i]) for i in range(len(totals))]
    full[torch.cat([k + s for k, s in zip(kept, starts, strict=True)])] = logs
    where = dense_rows(twin._apply_model, dense, patch)
    with averages.moved(twin.diffusion_model, averaged, averages.grid_of(dense.x, patch)) as moved:
        output, weights = _masked_dense(twin, dense, where, full)
    if averaged and not moved:
        return Agreement(why="the reference found nothing that computes positions")
    others = _other_keys(seen.masks, rows, weights, where)
    want = token_rows(output, patch)[:, kept[0]]
    difference = float((token_rows(seen.output, patch) - want).abs().max() / want.abs().max())
    masses = (logs / setting.bias).exp().split(counts) if setting.bias else ()
    if len(where) != len(rows):
        return Agreement(why=f"{len(rows)} attentions in the strip, {len(where)} in the dense call")
    return Agreement(
        difference,
        biased,
        seeing,
        others,
        tuple(round(float(m.sum()), 3) for m in masses),
        tuple(totals),
        tuple(counts),
    )


def _with_averages(dense: Call, averaged: list[averages.Average], patch: int) -> Call:
    """The dense call with averages in their holders' places."""

    def beside(value: Tensor) -> Tensor:
        return averages.put_beside(value, averaged, dense.x, patch)

    kwargs = {name: value if name == "denoise_mask" else each(value, beside) for name, value in dense.kwargs.items()}
    return dense._replace(x=averages.put(dense.x, averaged, patch), concat=each(dense.concat, beside), kwargs=kwargs)


def _kept(setting: Setting, seen: Strip, dense: Call, twin: Any) -> tuple[list[Tensor], list[averages.Average], str]:
    """For the target and each reference, which dense token each token of the strip is; and the averages among them."""
    patch = setting.small.patch
    kept = [_matched(*pair, patch) for pair in zip(seen.strip.latents, dense.latents, strict=True)]
    foreign = kept[0] < 0
    if any(bool((k < 0).any()) for k in kept[1:]):
        return [], [], "a reference has tokens that are not its own"
    if not bool(foreign.any()):
        return kept, [], ""
    mask = edit_of(setting).mask
    if seen.inpaint is None or mask is None:
        return [], [], f"{int(foreign.sum())} tokens are not of the picture, and no source is known to average"
    tokens = token_rows(seen.strip.x, patch)
    found = averages.find(twin, tokens, kept[0], mask[0, 0], dense, seen.inpaint, patch)
    for average in found:
        kept[0][average.at] = average.holder
    return kept, found, "" if found else f"{int(foreign.sum())} of {len(foreign)} tokens are no averages of cells"


def _matched(short: Tensor, whole: Tensor, patch: int) -> Tensor:
    """Which token of a picture each token of its strip is, (n,); -1: none."""
    tokens, every = token_rows(short, patch), token_rows(whole, patch)
    near = torch.cdist(tokens[0].double(), every[0].double(), compute_mode="donot_use_mm_for_euclid_dist")
    index = near.min(1).indices
    return torch.where((tokens - every[:, index]).abs().amax((0, 2)) > 1e-4, -1, index)


def _line(mask: Tensor | None, length: int) -> Tensor:
    """What a mask adds to the logits of each key, (length,), for the first picture and the last query."""
    if mask is None:
        return torch.zeros(length)
    line = mask.reshape(-1, mask.shape[-2], mask.shape[-1])[0, -1] if mask.ndim > 1 else mask
    line = torch.where(line, 0.0, NEVER) if line.dtype == torch.bool else line.float()
    return line.expand(length)


def _masses(masks: list[tuple[int, Tensor | None]], rows: list[Rows], count: int) -> tuple[Tensor, int, int]:
    """log(mass) * strength of each token of the strip; how many attentions over image keys have it, and how many
    there are. The attention with the most of it says what is meant."""
    lines = []
    for (length, mask), where in zip(masks, rows, strict=True):
        if where is not None:
            line, given = _line(mask, length), torch.full((count,), math.nan)
            given[where[where >= 0]] = line[where >= 0]
            lines.append(given)
    if not lines:
        return torch.zeros(count), 0, 0
    meant = max(lines, key=lambda line: int((line > 0).sum())).nan_to_num(0.0)
    whole = [bool((line.nan_to_num(0.0) - meant)[~line.isnan()].abs().max() < 1e-3) for line in lines]
    return meant, sum(whole), len(lines)


def _masked_dense(twin: Any, call: Call, where: list[Rows], full: Tensor) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """The dense call with `full` added to the logits of image keys; and the host's own masks by call."""
    own: list[tuple[int, Tensor]] = []

    def attend(i: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, options: dict[str, Any]) -> Tensor | None:
        own.append((k.shape[2], _line(mask, k.shape[2])))
        rows = where[i]
        if rows is None:
            return None
        bias = torch.where(rows >= 0, full.to(q)[rows.clamp_min(0)], 0.0).expand(1, 1, 1, -1)
        if mask is not None:
            bias = bias + (torch.where(mask, 0.0, NEVER) if mask.dtype == torch.bool else mask)
        return F.scaled_dot_product_attention(q, k, v, bias.expand(*q.shape[:-1], -1).to(q), **options)

    clean = {k: v for k, v in call.options.items() if k in ("sigmas", "sample_sigmas", "cond_or_uncond", "uuids")}
    with Attentions(attend):
        return call._replace(options=clean).run(twin._apply_model), own


def _other_keys(
    masks: list[tuple[int, Tensor | None]], rows: list[Rows], own: list[tuple[int, Tensor]], where: list[Rows]
) -> int:
    """Attentions in which text, pads and the like have another total weight than in the dense call."""

    def weight(line: Tensor, image: Rows) -> float:
        return float((line if image is None else line[image < 0]).exp().sum())

    pairs = zip(masks, rows, own, where, strict=False)
    weights = [(weight(_line(mask, length), at), weight(line, there)) for (length, mask), at, (_, line), there in pairs]
    return sum(abs(strip - dense) > 1e-3 for strip, dense in weights)
