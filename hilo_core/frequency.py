"""How much local detail a token carries: the high-frequency score.

Every score is the root mean square of a band-pass response inside the token, in units of the picture's own
standard deviation, so that a threshold means the same on a dark and on a bright picture. In a clip what changes from
frame to frame is detail too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import HiLoError, all_finite

SCORES = ("spatial frequency", "laplacian", "dct", "haar")


def luma(image: Tensor) -> Tensor:
    """Brightness of a picture: (B, H, W, 3) in 0..1 -> (B, 1, H, W). Weights of ITU-R BT.709."""
    return (image @ image.new_tensor([0.2126, 0.7152, 0.0722]))[:, None]


def detail(picture: Tensor, rows: int, columns: int, score: str = "spatial frequency") -> Tensor:
    """Detail of each token: (B, C, (T,) H, W) -> ((T,) rows, columns) float on the CPU, the maximum over the batch.

    picture: pixels or a latent, any range. Channels are averaged in energy. score: one of `SCORES`.
    """
    if score not in _RESPONSES:
        raise HiLoError(f"Unknown detail score '{score}'. Use one of: {', '.join(SCORES)}.")
    if not all_finite(picture):
        raise HiLoError("The picture has NaN or infinite values. Check the node that made it.")
    picture = picture.float()
    height, width = (
        max(rows, -(-picture.shape[-2] // rows) * rows),
        max(columns, -(-picture.shape[-1] // columns) * columns),
    )
    shape, token = picture.shape[:-2], (height // rows, width // columns)
    pictures = picture.reshape(-1, 1, *picture.shape[-2:])
    pictures = F.pad(pictures, (0, width - picture.shape[-1], 0, height - picture.shape[-2]), mode="replicate")
    picture = pictures.reshape(*shape, height, width)
    contrast = picture.std(dim=tuple(range(2, picture.ndim)), correction=0).mean(dim=1).clamp_min(1e-6)  # (B,)
    energy = _RESPONSES[score](pictures, token).reshape(*shape, rows, columns)
    if picture.ndim == 5:
        energy = energy + _change(picture, token)
    relative = energy.mean(dim=1).clamp_min(0).sqrt() / contrast.reshape(-1, *[1] * (picture.ndim - 2))
    return relative.amax(dim=0).cpu()


def _change(clip: Tensor, token: tuple[int, int]) -> Tensor:
    """Mean squared difference to the frame before: (B, C, T, H, W) -> (B, C, T, rows, columns).

    As space has it in `_spatial_frequency`. The first frame has that of the second, so that what moves is kept in both.
    """
    change = clip.diff(dim=2).square()
    change = torch.cat([change[:, :, :1], change], dim=2)
    return F.avg_pool2d(change.flatten(0, 2)[:, None], token).reshape(*clip.shape[:3], -1, clip.shape[-1] // token[1])


def _spatial_frequency(picture: Tensor, token: tuple[int, int]) -> Tensor:
    """SF^2 = RF^2 + CF^2, mean squared horizontal and vertical first differences.

    Eskicioglu and Fisher, "Image quality measures and their performance", IEEE Trans. Communications 43(12), 1995.
    The difference to the pixel before the token counts, so a token of one latent pixel has a score too.
    """
    across = F.pad(picture, (1, 0, 0, 0), mode="replicate").diff(dim=-1).square()
    down = F.pad(picture, (0, 0, 1, 0), mode="replicate").diff(dim=-2).square()
    return F.avg_pool2d(across + down, token)


def _laplacian(picture: Tensor, token: tuple[int, int]) -> Tensor:
    """Mean squared 4-neighbour Laplacian. Subbarao, Choi, Nikzad, "Focusing techniques", Opt. Eng. 32(11), 1993."""
    p = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    neighbours = p[..., :-2, 1:-1] + p[..., 2:, 1:-1] + p[..., 1:-1, :-2] + p[..., 1:-1, 2:]
    return F.avg_pool2d((neighbours - 4 * picture).square(), token)


def _dct(picture: Tensor, token: tuple[int, int]) -> Tensor:
    """Mean energy of the AC coefficients of the token's orthonormal DCT-II.

    By Parseval's theorem that is the token's variance, so no transform is needed. A token of one latent pixel has
    no AC coefficient; then the 3x3 neighbourhood is used.
    """
    if token == (1, 1):
        p = F.pad(picture, (1, 1, 1, 1), mode="replicate")
        return F.avg_pool2d(p.square(), 3, 1) - F.avg_pool2d(p, 3, 1).square()
    mean = F.avg_pool2d(picture, token)
    centred = picture - mean.repeat_interleave(token[0], dim=-2).repeat_interleave(token[1], dim=-1)
    return F.avg_pool2d(centred.square(), token)


def _haar(picture: Tensor, token: tuple[int, int]) -> Tensor:
    """Mean energy of the three detail bands (LH, HL, HH) of the undecimated one-level Haar transform.

    Mallat, "A theory for multiresolution signal decomposition", IEEE PAMI 11(7), 1989; orthonormal filters.
    """
    p = F.pad(picture, (1, 0, 1, 0), mode="replicate")
    a, b, c, d = p[..., :-1, :-1], p[..., :-1, 1:], p[..., 1:, :-1], p[..., 1:, 1:]
    bands = (a - b + c - d).square() + (a + b - c - d).square() + (a - b - c + d).square()
    return F.avg_pool2d(bands / 4, token)


_RESPONSES = dict(zip(SCORES, (_spatial_frequency, _laplacian, _dct, _haar), strict=True))
