"""Which colour correction of a drifting decode is best: `python -m lab.quality.colour_match`.

Edited photos go through the small VAE and get a drift. Corrections see what HiLo Masked Decode sees: the drifted
picture, the original, the mask. Scored inside the edit, against the decode without the drift; for the drift
"round trip", which is the VAE's own, against the edited photo.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import numpy as np
import torch
from hilo_token.hilo_core.decode.colour import fit, helpful, to_oklab
from hilo_token.hilo_core.decode.composite import RING, distance
from PIL import Image
from scipy import ndimage, sparse
from scipy.sparse import linalg
from torch import Tensor

from lab.speed.cpu import RATIOS, mask_of
from lab.speed.vaes import small
from tools import host

SIDE = 256
PHOTOS = ("demo", "coffee")
Correction = Callable[[Tensor, Tensor, Tensor], Tensor]


def photo(name: str) -> Tensor:
    """(SIDE, SIDE, 3) in 0..1."""
    picture = Image.open(host.ROOT / "lab" / "photos" / f"{name}.jpg").convert("RGB").resize((SIDE, SIDE))
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)


def _slope() -> Tensor:
    return torch.linspace(-1, 1, SIDE)[None, :, None]


DRIFTS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "round trip": lambda x: x,
    "offset": lambda x: x + torch.tensor([0.04, -0.02, 0.02]),
    "gain": lambda x: 0.5 + (x - 0.5) * torch.tensor([0.9, 0.92, 0.88]),
    "gain and offset": lambda x: x * torch.tensor([1.06, 1.0, 0.95]) + 0.02,
    "gamma": lambda x: x.clamp(0, 1) ** 1.12,
    "slope across the picture": lambda x: x + 0.04 * _slope(),
}


def ring_of(mask: Tensor) -> Tensor:
    """(H, W) bool: the pixels around the edit that the node looks at."""
    far = distance(mask[None].float(), slice(0, SIDE), slice(0, SIDE), RING)[0]
    return (far > 0) & (far <= RING)


def nothing(decoded: Tensor, original: Tensor, mask: Tensor) -> Tensor:
    """No correction."""
    return decoded


def median_shift(decoded: Tensor, original: Tensor, mask: Tensor) -> Tensor:
    """The ring's median difference, added."""
    ring = ring_of(mask)
    return decoded + (original[ring] - decoded[ring]).median(0).values


def affine(decoded: Tensor, original: Tensor, mask: Tensor) -> Tensor:
    """Gain and offset of each channel of Oklab, from the ring."""
    ring = ring_of(mask)
    return fit(decoded[ring], original[ring])(decoded)


def halves(mask: Tensor, block: int = RING) -> Tensor:
    """(H, W) bool: a chequerboard of blocks, that splits a ring in two."""
    y, x = (torch.arange(n) // block for n in mask.shape)
    return (y[:, None] + x) % 2 == 0


def affine_if_helpful(decoded: Tensor, original: Tensor, mask: Tensor) -> Tensor:
    """The same, where it holds on the part of the ring that it was not fitted on."""
    ring = ring_of(mask)
    found = helpful(decoded[ring], original[ring], halves(mask)[ring])
    return decoded if found is None else found(decoded)


def membrane(decoded: Tensor, original: Tensor, mask: Tensor, smooth: int = 0) -> Tensor:
    """Gradient-domain blending: the decode plus the harmonic function that meets the original at the border.

    P. Perez, M. Gangnet, A. Blake, "Poisson image editing", 2003. smooth: the border's difference is averaged over so
    many pixels of the ring first.
    """
    inside = mask.numpy()
    gap = (original - decoded).numpy()
    if smooth:
        ring = ring_of(mask).numpy().astype(np.float32)
        weight = ndimage.uniform_filter(ring, smooth) + 1e-6
        gap = np.stack([ndimage.uniform_filter(gap[..., c] * ring, smooth) / weight for c in range(3)], -1)
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    y, x = np.nonzero(inside)
    rows, columns, degree, right = [], [], np.zeros(len(y)), np.zeros((len(y), 3))
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        ny, nx = y + dy, x + dx
        there = (ny >= 0) & (ny < SIDE) & (nx >= 0) & (nx < SIDE)
        degree += there
        at, ny, nx = np.nonzero(there)[0], ny[there], nx[there]
        known = ~inside[ny, nx]
        rows.append(at[~known])
        columns.append(number[ny, nx][~known])
        np.add.at(right, at[known], gap[ny, nx][known])
    shape = (len(y), len(y))
    links = sparse.coo_matrix((np.ones(sum(map(len, rows))), (np.concatenate(rows), np.concatenate(columns))), shape)
    solve = linalg.factorized((sparse.diags(degree) - links).tocsc())
    filled = decoded.clone()
    filled[mask] += torch.from_numpy(np.stack([solve(right[:, c]) for c in range(3)], -1)).float()
    return filled


METHODS: dict[str, Correction] = {
    "none": nothing,
    "median shift": median_shift,
    "affine in Oklab": affine,
    "affine in Oklab where it helps": affine_if_helpful,
    "membrane": membrane,
    "membrane, smoothed border": lambda d, o, m: membrane(d, o, m, smooth=17),
}


def scores(out: Tensor, target: Tensor, original: Tensor, mask: Tensor) -> tuple[float, float]:
    """(mean difference inside in Oklab, times 100; step across the border relative to the target's)."""
    from lab.quality.metrics import border_jump  # after the host is on the path

    error = 100 * (to_oklab(out) - to_oklab(target)).square().sum(-1).sqrt()[mask].mean().item()
    pasted, wanted = (torch.where(mask[..., None], p.clamp(0, 1), original) for p in (out, target))
    jumps = [border_jump(p.permute(2, 0, 1)[None], mask).item() for p in (pasted, wanted)]
    return error, jumps[0] / max(jumps[1], 1e-6)


def main() -> None:
    """Measure, print, store."""
    host.prepare()
    torch.set_grad_enabled(False)
    vae, found = small(), {(d, m): [] for d in DRIFTS for m in METHODS}
    for number, name in enumerate(PHOTOS):
        original, other = photo(name), photo(PHOTOS[(number + 1) % len(PHOTOS)])
        for shape, ratio in enumerate(RATIOS):
            mask = mask_of(ratio, shape + number, SIDE)[0, 0] > 0
            edited = torch.where(mask[..., None], other, original)
            decoded = vae.decode(vae.encode(edited[None]))[0]
            for drift, change in DRIFTS.items():
                drifted = change(decoded).clamp(0, 1)
                for method, correct in METHODS.items():
                    target = edited if drift == "round trip" else decoded
                    found[drift, method].append(scores(correct(drifted, original, mask), target, original, mask))
    rows = []
    for drift in DRIFTS:
        for method in METHODS:
            errors, jumps = zip(*found[drift, method], strict=True)
            rows.append({"drift": drift, "method": method, "error": round(statistics.mean(errors), 3),
                         "worst": round(max(errors), 3), "border": round(statistics.mean(jumps), 3)})  # fmt: skip
            sys.stdout.write(f"{drift:26} {method:32} {rows[-1]['error']:7.3f} {rows[-1]['border']:7.3f}\n")
    facts = {"command": "python -m lab.quality.colour_match", "device": host.describe(), "commit": host.commit()}
    facts |= {"error": "mean difference inside the edit in Oklab, times 100", "border": "step across the mask's border"}
    host.store("colour", {**facts, "pictures": len(PHOTOS) * len(RATIOS), "side": SIDE, "rows": rows})


if __name__ == "__main__":
    main()
