"""From a user's mask to the edit tokens: hygiene, coverage without loss, Euclidean dilation.

Takes masks (B, H, W) of values 0..1 at any size, (B, T, H, W) of clips, gives boolean token grids. Its promise: no
pixel that may be denoised lies in a token that is not an edit token. HiLoError on masks of another shape, or with NaN.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from .errors import HiLoError, all_finite

BLACK = 0.04  # values up to this are black: what JPEG and soft brushes leave there is no edit
NOTHING_PAINTED = (
    "Nothing is painted yet. Right-click the picture, choose Open in MaskEditor, and paint what is to change."
)
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)
GROUP = 4  # frames of a clip in a latent frame after the first, in the VAE of each video model that is compressed
FRAME = 4.0  # tokens: how far apart neighbouring latent frames count, which hold several frames of the clip


def is_edited(mask: Tensor) -> Tensor:
    """Where a mask is an edit, as bool of the same shape: the one definition for nodes, live map and runs.

    mask: any shape, values 0..1. Above `BLACK` is an edit, however grey; NaN is none.
    """
    return mask.float() > BLACK


def check_mask(mask: object) -> Tensor:
    """Bring a mask to (B, H, W) float, or say what is wrong with it. Values outside 0..1 are clamped.

    mask: (H, W), (B, H, W) or (B, 1, H, W), floats or bool. A mask of a picture's shape (B, H, W, C) is taken only
    where nothing is painted in it, so that this can be said instead.
    """
    if not isinstance(mask, Tensor):
        what = "nothing (None)" if mask is None else f"a {type(mask).__name__}"
        raise HiLoError(f"The mask is {what}, not a mask. Connect a node with a MASK output.")
    if not mask.is_floating_point() and mask.dtype != torch.bool:
        raise HiLoError(
            f"The mask holds {mask.dtype} values; expected floats from 0 to 1. Check the node that made it."
        )
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim == 4 and mask.shape[1] == 1:
        mask = mask[:, 0]
    elif mask.ndim == 4 and mask.shape[-1] in (1, 3, 4) and 0 not in mask.shape:
        if not all_finite(mask) or bool(is_edited(mask).any()):
            raise HiLoError(f"The mask is a picture of shape {tuple(mask.shape)}. Use Convert Image to Mask.")
        mask = mask[..., 0]
    if mask.ndim != 3 or 0 in mask.shape:
        raise HiLoError(f"The mask has shape {tuple(mask.shape)}; expected (batch, height, width).")
    if not all_finite(mask):
        raise HiLoError("The mask has NaN or infinite values. Check the node that made it.")
    return mask.float().clamp(0, 1)


def clean_mask(
    mask: Tensor, black: float = BLACK, white: float = 0.96, fill_holes: bool = True, drop_specks: int = 0
) -> Tensor:
    """Mask hygiene on (B, H, W), values 0..1. Grey edges between `black` and `white` stay: they are the feather.

    black, white: values at most `black` become 0, values of at least `white` become 1 (a near-black mask is not an
    edit, a near-white one is not a half-edit). fill_holes: regions enclosed by the edit become 1. drop_specks:
    connected edits of fewer pixels than this become 0.
    """
    mask = check_mask(mask)
    mask = torch.where(mask <= black, torch.zeros_like(mask), mask)
    mask = torch.where(mask >= white, torch.ones_like(mask), mask)
    if not fill_holes and drop_specks <= 1:
        return mask
    cleaned = []
    for item in mask.cpu().numpy():
        on = item > 0
        if fill_holes:
            item = np.where(ndimage.binary_fill_holes(on) & ~on, np.float32(1), item)
        if drop_specks > 1:
            labels, _ = ndimage.label(item > 0, _EIGHT_NEIGHBOURS)
            small = np.bincount(labels.ravel()) < drop_specks
            item = np.where(small[labels] & (labels > 0), np.float32(0), item)
        cleaned.append(torch.from_numpy(np.ascontiguousarray(item, dtype=np.float32)))
    return torch.stack(cleaned).to(mask.device)


def mask_to_tokens(mask: Tensor, rows: int, columns: int, size: int | None = None) -> Tensor:
    """Tokens that hold any pixel with mask > 0: (B, (T,) H, W) -> ((T,) rows, columns) bool on the CPU.

    A token is in if any of its pixels may be denoised at any step, for any item of the batch, so nothing that can
    change is ever dropped. size: pixels per token side; None spreads the mask evenly over the grid (a mask of
    another resolution than the latent), rounding outwards.
    """
    on = (mask > 0).any(dim=0)
    height, width = on.shape[-2:]
    if size is not None:
        padded = F.pad(on, (0, max(columns * size - width, 0), 0, max(rows * size - height, 0)))
        padded = padded[..., : rows * size, : columns * size]
        return padded.reshape(*on.shape[:-2], rows, size, columns, size).any(dim=-1).any(dim=-2).cpu()
    below = on.float().cumsum(-2).cumsum(-1)
    table = F.pad(below, (1, 0, 1, 0)).cpu().double()  # summed-area table, ((T,) H + 1, W + 1)
    top = torch.arange(rows) * height // rows
    bottom = -(-(torch.arange(rows) + 1) * height // rows)
    left = torch.arange(columns) * width // columns
    right = -(-(torch.arange(columns) + 1) * width // columns)
    up, down = table[..., top, :], table[..., bottom, :]
    return down[..., right] - up[..., right] - down[..., left] + up[..., left] > 0


def latent_frames(mask: Tensor, frames: int) -> Tensor:
    """The masks of a clip's frames as those of its latent frames: (F, H, W) -> (T, H, W), all that its frames have.

    A video's latent holds the first frame alone, then `GROUP` of them each. Given may be one mask, which holds for all
    frames, one for each frame, or one for each latent frame; HiLoError on any other number. The masks of a picture
    (frames: 1) are those of a batch, and all of them count.
    """
    count, whole = len(mask), 1 + GROUP * (frames - 1)
    if frames == 1:
        return mask.amax(0, keepdim=True)
    if count not in (1, frames, whole):
        raise HiLoError(
            f"There are {count} masks for a clip of {whole} frames: give one for each frame, or one for all."
        )
    if count != whole:
        return mask.expand(frames, -1, -1)
    return torch.cat([mask[:1], mask[1:].unflatten(0, (frames - 1, GROUP)).amax(1)])


def distance_to(tokens: Tensor) -> Tensor:
    """Euclidean distance, in tokens, of each token to the nearest True one; 0 inside, inf where there is none.

    tokens: ((T,) rows, columns) bool; a frame is `FRAME` tokens from the next.
    """
    if not bool(tokens.any()):
        return torch.full(tokens.shape, float("inf"))
    return torch.from_numpy(ndimage.distance_transform_edt(~tokens.cpu().numpy(), _spacing(tokens))).float()


def _spacing(tokens: Tensor) -> tuple[float, ...]:
    """Of neighbours along each axis, in tokens."""
    return (FRAME, 1.0, 1.0)[-tokens.ndim :]


def nearest(tokens: Tensor) -> Tensor:
    """For each token the number of the nearest True one, itself if it is: ((T,) rows, columns) bool -> (N,)."""
    found = ndimage.distance_transform_edt(
        ~tokens.cpu().numpy(), _spacing(tokens), return_distances=False, return_indices=True
    )
    return torch.from_numpy(np.ravel_multi_index(tuple(found.astype(np.int64)), tokens.shape)).flatten()


def dilate_tokens(tokens: Tensor, radius: float, relative: bool = False) -> Tensor:
    """Euclidean dilation of ((T,) rows, columns) bool tokens, in space; in a clip by one latent frame in time besides.

    radius: in tokens, or, with `relative`, in parts of each connected edit's equivalent radius sqrt(area / pi),
    and then at least one token, so that a large edit gets a wide margin and a small one beside it a narrow one.
    """
    if radius <= 0 or not bool(tokens.any()):
        return tokens.clone()
    if tokens.ndim == 3:
        grown = torch.stack([dilate_tokens(frame, radius, relative) for frame in tokens])
        both = F.pad(grown, (0, 0, 0, 0, 1, 1))
        return both[:-2] | both[1:-1] | both[2:]
    if not relative:
        return distance_to(tokens) <= radius + 1e-4
    labels, count = ndimage.label(tokens.cpu().numpy(), _EIGHT_NEIGHBOURS)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    radii = np.maximum(1.0, np.round(4 * radius * np.sqrt(areas / np.pi)) / 4)
    grown = torch.zeros_like(tokens)
    for value in np.unique(radii[1:]):
        edits = torch.from_numpy((radii[labels] == value) & (labels > 0))
        grown |= distance_to(edits) <= value + 1e-4
    return grown
