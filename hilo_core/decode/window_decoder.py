"""A convolutional VAE decoder on a part of the picture, with what it takes from the whole picture.

Two kinds of layers of such a decoder look at all of a picture: the attention of its middle block, and GroupNorm. The
layers at the latent's own resolution, the middle block among them, are cheap: they run once, on the whole latent; the
attention asks for all pixels of the windows and for one of each square elsewhere. Only the layers after them run on
windows; there GroupNorm gets statistics estimated from small tiles spread over the picture (layer by layer, all tiles
together), each tile with a weight that makes their features at the start stand for the whole picture's. All of it is
done by hooks, and by forwards of single modules, that are gone when a call ends. A decoder whose norms see one pixel
each needs no tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import takewhile
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .narrow import Narrowing, levels
from .tiles import PARTS, SIDE, UnfitDecoder, bordered, moments, sample, tile_weights
from .windows import Canvas, Window

REACH = 4  # latent pixels that the layers after the cut see around a pixel; the little beyond changes nothing visible
PIECE = 128  # latent pixels along a side of what the host is asked for while the first layers run on the whole
TINY_REACH = 8  # the same of a tiny VAE, all that its layers see
COARSE = 8  # pixels along each side of a square that has one query in attention, where no window is
QUERIES = 16384  # of one call of attention: bounds its memory where the kernel keeps all products
Statistics = dict[nn.GroupNorm, tuple[Tensor, Tensor]]  # of a GroupNorm: mean and variance of each group, (groups,)


class _Enough(Exception):
    """The layers at the latent's resolution are done."""


def global_layers(decoder: Any) -> tuple[list[nn.Module], list[nn.GroupNorm]] | None:
    """(the modules at the latent's resolution, the GroupNorms after them); None where this is not that structure.

    The structure: `mid`, `up` (a list, the last is run first) of blocks, `norm_out`; two-dimensional; no attention
    after the middle block. Or that of Wan's and Qwen-Image's VAE: `middle`, `upsamples`, of residual blocks and, later,
    layers that resample; it normalises each pixel by itself, so only its attention looks at all of a picture. Or one
    sequence of layers whose GroupNorms all come before the first that enlarges, as in the tiny VAE of FLUX.2.
    """
    if isinstance(decoder, nn.Sequential):
        layers = list(decoder)
        first = next((k for k, m in enumerate(layers) if isinstance(m, nn.Upsample)), 0)
        below, above = nn.Sequential(*layers[:first]), nn.Sequential(*layers[first:])
        return None if is_local(below) or not is_local(above) else (layers[first - 1 : first], [])
    if isinstance(middle := getattr(decoder, "middle", None), nn.Sequential):
        after = list(getattr(decoder, "upsamples", ()))
        residual = list(takewhile(lambda m: hasattr(m, "residual"), after))
        other = any(hasattr(m, "to_qkv") or isinstance(m, nn.GroupNorm) for u in after for m in u.modules())
        return ([*middle, *residual], []) if residual and not other else None
    up, last = getattr(decoder, "up", None), getattr(decoder, "norm_out", None)
    if not isinstance(up, nn.ModuleList) or not isinstance(last, nn.GroupNorm) or len(up) < 2:
        return None
    if any(isinstance(m, nn.Conv3d) for m in decoder.modules()) or any(len(getattr(u, "attn", ())) for u in up):
        return None
    blocks = getattr(up[-1], "block", None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        return None
    early = [*getattr(decoder, "mid", nn.Module()).children(), *blocks]
    return early, [m for u in up[:-1] for m in u.modules() if isinstance(m, nn.GroupNorm)] + [last]


def shared_attentions(early: list[nn.Module]) -> list[Any]:
    """Those of the first layers in which pixels can share a query, see `attention_at`."""
    return [m for m in early if all(hasattr(m, part) for part in ("norm", "q", "k", "v", "proj_out"))]


def context(decoder: Any, ratio: int) -> int:
    """Latent pixels around a window that its layers after `global_layers` are given; ratio: pixels per latent pixel.

    A latent pixel of two features' width, as FLUX.2's, needs half as many.
    """
    if isinstance(decoder, nn.Sequential):
        reach, levels = TINY_REACH, sum(isinstance(m, nn.Upsample) for m in decoder)
    else:
        reach, levels = REACH, len(getattr(decoder, "up", ())) - 1
    return -(-reach * 2**levels // ratio) if levels > 0 else reach


def is_local(model: Any) -> bool:
    """Whether no layer of a VAE looks at the whole picture, so that a window with its context is exact."""
    layers = model.modules() if isinstance(model, nn.Module) else ()
    return not any(isinstance(m, nn.GroupNorm) or "att" in type(m).__name__.lower() for m in layers)


@contextmanager
def replaced(modules: list[nn.Module], compute: Callable[[Any, Tensor], Tensor]) -> Iterator[None]:
    """While open, a call of one of the modules gives compute(module, input); its own work is not done."""
    own = [module.__dict__.get("forward") for module in modules]
    try:
        for module in modules:
            module.forward = lambda x, *args, module=module, **kwargs: compute(module, x)
        yield
    finally:
        for module, before in zip(modules, own, strict=True):
            del module.forward
            if before is not None:
                module.forward = before


class WindowDecoder:
    """Decodes windows of one latent. Call it with one of them; `HiLoError`s of the host's decode pass through.

    decode: the host's decode of a latent (B, C, h, w), or (B, C, 1, h, w) for a video VAE; decoder: its module.
    spare: pixels around each window's own part that are wanted, if not all of the window: (margin, canvas, pixels), see
    `narrow`. UnfitDecoder from the constructor if the decoder does not fit.
    """

    def __init__(
        self,
        decode: Callable[[Tensor], Tensor],
        decoder: nn.Module,
        latent: Tensor,
        windows: list[Window],
        spare: tuple[int, Canvas, int] | None = None,
    ) -> None:
        found = global_layers(decoder)
        if found is None or (latent.ndim != 4 and found[1]):
            raise UnfitDecoder("the decoder's structure is not known")
        self._decode, self._decoder, self._latent, self._windows = decode, decoder, latent, windows
        self._early, self._norms = found
        self._narrow = {}
        if spare is not None:
            margin, canvas, pixels = spare
            stages = levels(decoder, pixels)
            self._narrow = {window: Narrowing(window, margin, canvas, stages) for window in windows}
        rows, columns = latent.shape[-2:]
        self._sample = sample(rows, columns, SIDE) if self._norms else None
        self._features = [self._at_latent(item[None]) for item in latent]  # (1, D, h * scale, w * scale) each
        self._scale = self._features[0].shape[-1] // latent.shape[-1]
        if any(f.shape[-2:] != tuple(self._scale * n for n in latent.shape[-2:]) for f in self._features):
            raise UnfitDecoder("the decoder's first layers have another size")
        self._statistics = [
            {norm: per_channel(norm, *found) for norm, found in self._estimate(features).items()}
            for features in self._features
        ]

    def __call__(self, window: Window) -> Tensor:
        """The picture of a window, as the host's decode gives it."""
        pictures = []
        for item, features, statistics in zip(self._latent, self._features, self._statistics, strict=True):
            part, narrow = window.scaled(self._scale).of(features).contiguous(), self._narrow.get(window)
            with (
                self._from(part, lambda norm, x, known=statistics: normalised(x, norm, known[norm])),  # type: ignore[misc]
                nullcontext() if narrow is None else narrow.within(),
            ):
                picture = self._decode(window.of(item[None]))
            pictures.append(picture if narrow is None else narrow.whole(picture))
        return torch.cat(pictures)

    def _at_latent(self, item: Tensor) -> Tensor:
        """What the early layers give for a whole latent (1, C, h, w).

        The host is asked for a piece, so that it does not make room for a decode of the whole.
        """
        whole = torch.cat([
            torch.cat([self._until(self._decoder, part) for part in row.split(PIECE, -1)], -1)
            for row in item.split(PIECE, -2)
        ], -2)  # fmt: skip

        def given(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return whole, *args[1:]

        handle = self._decoder.register_forward_pre_hook(given)
        try:
            with replaced(shared_attentions(self._early), self._attend):
                return self._until(self._early[-1], item[..., :PIECE, :PIECE], after=True)
        finally:
            handle.remove()

    def _until(self, module: nn.Module, latent: Tensor, after: bool = False) -> Tensor:
        """What a module is given, or with `after` what it gives, in the decode of a latent, which ends there."""
        kept: list[Tensor] = []

        def stop(module: nn.Module, args: Any, out: Any = None) -> None:
            kept.append(out if after else args[0])
            raise _Enough

        handle = module.register_forward_hook(stop) if after else module.register_forward_pre_hook(stop)
        try:
            self._decode(latent)
        except _Enough:
            return kept[0]
        finally:
            handle.remove()
        raise UnfitDecoder("the decoder's first layers did not run")

    def _attend(self, attention: Any, x: Tensor) -> Tensor:
        """The attention's output for x (1, D, h, w): exact in the windows and tiles, elsewhere a square shares one."""
        rows, columns = x.shape[-2:]
        scale, exact = rows // self._latent.shape[-2], torch.zeros(rows, columns, dtype=torch.bool)
        for window in self._windows:
            window.scaled(scale).of(exact).fill_(True)
        for tile in self._sample.tiles if self._sample else ():
            tile.scaled(scale).of(exact).fill_(True)
        return attention_at(attention, x, exact)

    @contextmanager
    def _from(self, features: Tensor, normalise: Callable[[nn.GroupNorm, Tensor], Tensor]) -> Iterator[None]:
        """A decode starts from `features` after the early layers, and normalises by normalise(norm, input)."""

        def given(module: nn.Module, x: Tensor) -> Tensor:
            if x.shape[-2:] != features.shape[-2:] or len(x) != len(features):
                raise UnfitDecoder(PARTS)
            return features

        with replaced(self._early, given), replaced([*self._norms], normalise):
            yield

    def _estimate(self, features: Tensor) -> Statistics:
        """The statistics of each GroupNorm after the early layers, from tiles; features: of the whole, (1, D, h, w)."""
        if self._sample is None:
            return {}
        chosen = self._sample
        tiles = torch.cat([tile.scaled(self._scale).of(features) for tile in chosen.tiles])
        weights = tile_weights(moments(tiles), moments(features)[0], chosen.shares.to(tiles.device))
        found: Statistics = {}

        def gather(norm: nn.GroupNorm, x: Tensor) -> Tensor:
            variance, mean = torch.var_mean(x.float().reshape(len(x), norm.num_groups, -1), 2, correction=0)
            middle = weights @ mean
            spread = weights @ (variance + (mean - middle).square())
            found[norm] = middle, torch.maximum(spread, 0.1 * variance.mean(0))
            return normalised(x, norm, per_channel(norm, *found[norm]))

        with bordered(self._decoder, chosen), self._from(tiles, gather):
            self._decode(self._latent.new_zeros(len(tiles), self._latent.shape[1], SIDE, SIDE))
        if len(found) != len(self._norms):
            raise UnfitDecoder("not every normalisation ran")
        return found


def attention_at(attention: Any, x: Tensor, exact: Tensor) -> Tensor:
    """The decoder's attention block for x (1, D, h, w), with all queries where `exact` (h, w) holds.

    Elsewhere the pixels of a square of `COARSE` share the query of one of them: there the output only serves the
    statistics of layers to come.
    """
    rows, columns = exact.shape
    own = torch.arange(rows * columns).reshape(rows, columns)
    y, left = ((torch.arange(n) // COARSE * COARSE + COARSE // 2).clamp(max=n - 1) for n in (rows, columns))
    chosen, back = torch.where(exact, own, own[y][:, left]).to(x.device).unique(return_inverse=True)
    normed = attention.norm(x)
    q, k, v = (layer(normed).flatten(2).mT[:, None].contiguous() for layer in (attention.q, attention.k, attention.v))
    parts = [F.scaled_dot_product_attention(part, k, v) for part in q[:, :, chosen].split(QUERIES, 2)]
    out = torch.cat(parts, 2)[0, 0, back.flatten()].T.reshape(x.shape)
    result: Tensor = x + attention.proj_out(out)
    return result


def per_channel(norm: nn.GroupNorm, mean: Tensor, variance: Tensor) -> tuple[Tensor | None, ...]:
    """(mean, variance, weight, bias) of each channel from the statistics (groups,) of a norm's groups, in their
    precision."""
    each = norm.num_channels // norm.num_groups
    affine = (None if p is None else p.to(mean) for p in (norm.weight, norm.bias))
    return mean.repeat_interleave(each), variance.repeat_interleave(each), *affine


def normalised(x: Tensor, norm: nn.GroupNorm, known: tuple[Tensor | None, ...]) -> Tensor:
    """GroupNorm of x (B, C, h, w) by what `per_channel` gives, which is in single precision."""
    mean, variance, weight, bias = known
    mixed = x if x.device.type == "cuda" else x.to(mean)  # not every backend takes statistics of another precision
    return F.batch_norm(mixed, mean, variance, weight, bias, training=False, eps=norm.eps).to(x)
