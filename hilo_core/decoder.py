"""A convolutional VAE decoder on a part of the picture, with what it takes from the whole picture.

Two kinds of layers of such a decoder look at all of a picture: the attention of its middle block, and GroupNorm. The
layers at the latent's own resolution, the middle block among them, are cheap: they run once, on the whole latent. Only
the layers after them run on windows; there GroupNorm gets statistics estimated from small tiles spread over the picture
(layer by layer, all tiles together), each tile with a weight that makes their features at the start stand for the
whole picture's. All of it is done by forward hooks which are gone when a call ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .decode import Window

TILE, CONTEXT = 2, 1  # latent pixels of a tile that count along each side, and around them
SAMPLED = 0.08  # latent pixels in tiles, of all
FEWEST, MOST = 16, 400  # tiles
REACH = 4  # latent pixels that the layers after the cut see around a pixel; the little beyond changes nothing visible
RIDGE = 0.3  # of the features' mean square
Statistics = dict[nn.Module, tuple[Tensor, Tensor]]  # of a GroupNorm: mean and variance of each group, (groups,)


class UnfitDecoder(Exception):
    """This decoder did not do what its structure promised; says why."""


class _Enough(Exception):
    """The layers at the latent's resolution are done."""


def global_layers(decoder: Any) -> tuple[nn.Module, list[nn.GroupNorm]] | None:
    """(the last module at the latent's resolution, the GroupNorms after it); None where this is not that structure.

    The structure: `mid`, `up` (a list, the last is run first) of blocks, `norm_out`; two-dimensional; no attention
    after the middle block.
    """
    up, last = getattr(decoder, "up", None), getattr(decoder, "norm_out", None)
    if not isinstance(up, nn.ModuleList) or not isinstance(last, nn.GroupNorm) or len(up) < 2:
        return None
    if any(isinstance(m, nn.Conv3d) for m in decoder.modules()) or any(len(getattr(u, "attn", ())) for u in up):
        return None
    blocks = getattr(up[-1], "block", None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        return None
    return blocks[-1], [m for u in up[:-1] for m in u.modules() if isinstance(m, nn.GroupNorm)] + [last]


class WindowDecoder:
    """Decodes windows of one latent. Call it with a window; `HiLoError`s of the host's decode pass through.

    decode: the host's decode of a latent (B, C, h, w); decoder: its module; latent: (B, C, h, w).
    UnfitDecoder from the constructor if the decoder does not fit.
    """

    def __init__(self, decode: Callable[[Tensor], Tensor], decoder: nn.Module, latent: Tensor) -> None:
        found = global_layers(decoder)
        if found is None or latent.ndim != 4:
            raise UnfitDecoder("the decoder's structure is not known")
        self._decode, self._latent = decode, latent
        self._cut, self._norms = found
        self._features = [self._at_latent(item[None]) for item in latent]  # (1, D, h * scale, w * scale) each
        self._scale = self._features[0].shape[-1] // latent.shape[-1]
        if any(f.shape[-2:] != tuple(self._scale * n for n in latent.shape[-2:]) for f in self._features):
            raise UnfitDecoder("the decoder's first layers have another size")
        self._statistics = [self._estimate(features) for features in self._features]

    def __call__(self, window: Window) -> Tensor:
        """The picture of a window, as the host's decode gives it."""
        k, pictures = self._scale, []
        scaled = Window(k * window.top, k * window.bottom, k * window.left, k * window.right)
        for item, features, statistics in zip(self._latent, self._features, self._statistics, strict=True):
            with self._hooked(scaled.of(features).contiguous(), lambda norm, at, known=statistics: known[norm]):  # type: ignore[misc]
                pictures.append(self._decode(window.of(item[None])))
        return torch.cat(pictures)

    def _at_latent(self, item: Tensor) -> Tensor:
        """What the cut gives for a whole latent (1, C, h, w)."""
        kept: list[Tensor] = []

        def stop(module: nn.Module, args: Any, out: Tensor) -> None:
            kept.append(out)
            raise _Enough

        handle = self._cut.register_forward_hook(stop)
        try:
            self._decode(item)
        except _Enough:
            return kept[0]
        finally:
            handle.remove()
        raise UnfitDecoder("the decoder's first layers did not run")

    @contextmanager
    def _hooked(
        self, features: Tensor, statistics: Callable[[nn.GroupNorm, Tensor], tuple[Tensor, Tensor]]
    ) -> Iterator[None]:
        """Hooks that put `features` in at the cut and normalise by statistics(norm, input)."""

        def replace(module: nn.Module, args: Any, out: Tensor) -> Tensor:
            if out.shape != features.shape:
                raise UnfitDecoder("the host decoded in parts, most likely for want of memory")
            return features

        def normalise(norm: nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
            assert isinstance(norm, nn.GroupNorm)
            return normalised(args[0], norm, *statistics(norm, args[0]))

        handles = [self._cut.register_forward_hook(replace)]
        try:
            handles += [norm.register_forward_hook(normalise) for norm in self._norms]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _estimate(self, features: Tensor) -> Statistics:
        """The statistics of each GroupNorm after the cut, from tiles; features: of the whole, (1, D, h, w)."""
        size, context = TILE * self._scale, CONTEXT * self._scale
        rows, columns = features.shape[-2:]
        places = sample_places(rows, columns, size, context)
        side = size + 2 * context
        tiles = torch.cat([features[..., y : y + side, x : x + side] for y, x in places])
        inner = slice(context, context + size)
        weights = tile_weights(_moments(tiles[..., inner, inner]), _moments(features)[0])
        found: Statistics = {}

        def gather(norm: nn.GroupNorm, x: Tensor) -> tuple[Tensor, Tensor]:
            k = x.shape[-1] // side
            core = x[..., k * inner.start : k * inner.stop, k * inner.start : k * inner.stop].float()
            variance, mean = torch.var_mean(core.reshape(len(x), norm.num_groups, -1), 2, correction=0)
            middle = weights @ mean
            spread = weights @ (variance + (mean - middle).square())
            found[norm] = middle, torch.maximum(spread, 0.1 * variance.mean(0))
            return found[norm]

        with self._hooked(tiles, gather):
            self._decode(self._latent.new_zeros(len(tiles), self._latent.shape[1], *[side // self._scale] * 2))
        if len(found) != len(self._norms):
            raise UnfitDecoder("not every normalisation ran")
        return found


def normalised(x: Tensor, norm: nn.GroupNorm, mean: Tensor, variance: Tensor) -> Tensor:
    """GroupNorm of x (B, C, h, w) by given statistics (groups,) of its groups, in single precision."""
    each = x.shape[1] // norm.num_groups
    gain = (variance + norm.eps).rsqrt().repeat_interleave(each)
    gain = gain if norm.weight is None else gain * norm.weight.to(gain)
    offset = -mean.repeat_interleave(each) * gain
    offset = offset if norm.bias is None else offset + norm.bias.to(gain)
    return torch.addcmul(offset[:, None, None], x.float(), gain[:, None, None]).to(x.dtype)


def sample_places(rows: int, columns: int, size: int, context: int) -> list[tuple[int, int]]:
    """(top, left) of tiles with their context, evenly spread; all lie within (rows, columns).

    UnfitDecoder if the picture is too small for tiles to be worth it.
    """
    side = size + 2 * context
    wanted = min(max(SAMPLED * rows * columns / side**2, FEWEST), MOST)
    if rows * columns < 2 * FEWEST * side**2 or min(rows, columns) < 2 * side:
        raise UnfitDecoder("the picture is too small to estimate from tiles")
    down = min(max(round((wanted * rows / columns) ** 0.5), 2), rows - side)
    across = min(max(round(wanted / down), 2), columns - side)
    return [
        (int((rows - side + 1) * (y + 0.5) / down), int((columns - side + 1) * (x + 0.5) / across))
        for y in range(down)
        for x in range(across)
    ]


def tile_weights(tiles: Tensor, whole: Tensor) -> Tensor:
    """(n,) weights of sum 1 that bring the tiles' mean features near to the whole picture's.

    tiles: (n, features); whole: (features,). The ridge form of calibration weighting (J.-C. Deville, C.-E. Sarndal,
    "Calibration estimators in survey sampling", 1992): as near to equal weights as that allows.
    """
    mean, spread = tiles.mean(0), tiles.std(0, correction=0).clamp_min(1e-6)
    centred, gap = (tiles - mean) / spread, (whole - mean) / spread
    products = centred @ centred.T
    ridge = (RIDGE * products.diagonal().mean()).clamp_min(1e-6) * torch.eye(len(tiles), device=tiles.device)
    weights: Tensor = 1 / len(tiles) + torch.linalg.solve(products + ridge, centred @ gap)
    return weights / weights.sum()


def _moments(features: Tensor) -> Tensor:
    """(n, D, h, w) to (n, 2 D): mean and mean square of each channel."""
    values = features.float()
    return torch.cat([values.mean((2, 3)), values.square().mean((2, 3))], 1)
