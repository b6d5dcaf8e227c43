"""A picture and its mask as the tokens of the model that will see them: cropped as the host's VAE Encode crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..comfy_bridge.family import Family
from ..hilo_core import HiLoError
from ..hilo_core.frequency import SCORES, detail, luma
from ..hilo_core.mask import is_edited, mask_to_tokens


@dataclass(frozen=True)
class TokenSize:
    """How many pixels a token has: FLUX.1's are 8 * 2 px a side, FLUX.2's 16 * 1, HunyuanImage 2.1's 32 * 1."""

    ratio: int = 8  # pixels per latent pixel
    patch: int = 2  # latent pixels per token side
    crops: bool = True  # whether the VAE cuts a picture to whole latent pixels

    @classmethod
    def of(cls, family: Family | None, model: Any, vae: Any) -> TokenSize:
        """What a model (the host's BaseModel) and a VAE tell, each of which may be None; else that of most models."""
        ratio = getattr(vae, "spacial_compression_encode", lambda: None)()
        crops = bool(getattr(vae, "crop_input", True))
        if family is None:
            ratio = int(ratio or cls.ratio)
            return cls(ratio, max(1, cls.ratio * cls.patch // ratio), crops)
        patch = family.patch_size(model.diffusion_model)
        return cls(int(ratio or family.token_pixels(model) // patch), patch, crops)

    @property
    def pixels(self) -> int:
        """Pixels per token side."""
        return self.ratio * self.patch

    def inside(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of a picture that the latent holds: whole latent pixels, from the middle.

        HiLoError if there are none.
        """
        if not self.crops:
            return slice(0, height), slice(0, width)
        if min(height, width) < self.ratio:
            raise HiLoError(f"The picture is {width}x{height} px; this model needs {self.ratio} px a side or more.")
        (top, left), (down, across) = ((n % self.ratio // 2 for n in (height, width)),
                                       (n // self.ratio * self.ratio for n in (height, width)))  # fmt: skip
        return slice(top, top + down), slice(left, left + across)

    def whole(self, image: Tensor) -> Tensor:
        """(B, H, W, C) -> the part of it that the latent holds, as float, its border repeated up to whole tokens."""
        y, x = self.inside(*image.shape[1:3])
        part, size = image[:, y, x].float(), self.pixels
        down, across = -part.shape[1] % size, -part.shape[2] % size
        if not down and not across:
            return part
        return F.pad(part.movedim(-1, 1), (0, across, 0, down), mode="replicate").movedim(1, -1)

    def edit(self, mask: Tensor) -> Tensor:
        """(B, H, W) -> (rows, columns) bool: tokens with an edited pixel. HiLoError if what is painted is cropped off."""
        y, x = self.inside(*mask.shape[1:])
        edited, size = is_edited(mask), self.pixels
        part = edited[:, y, x]
        if bool(edited.any()) and not bool(part.any()):
            raise HiLoError(
                f"Only the border that VAE Encode crops off is painted. Resize the picture to a multiple of {self.ratio} px."
            )
        return mask_to_tokens(part, -(-part.shape[1] // size), -(-part.shape[2] // size), size)


def details(whole: Tensor, rows: int, columns: int, scores: tuple[str, ...] = SCORES) -> Tensor:
    """Detail of each token by each score: (B, H, W, 3) of whole tokens -> (scores, rows, columns)."""
    light = luma(whole)
    return torch.stack([detail(light, rows, columns, score) for score in scores])
