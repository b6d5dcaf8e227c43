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
from ..hilo_core.mask import GROUP, is_edited, latent_frames, mask_to_tokens


@dataclass(frozen=True)
class TokenSize:
    """How many pixels a token has: FLUX.1's are 8 * 2 px a side, FLUX.2's 16 * 1, HunyuanImage 2.1's 32 * 1."""

    ratio: int = 8  # pixels per latent pixel
    patch: int = 2  # latent pixels per token side
    clips: bool = False  # several pictures are the frames of one clip

    @classmethod
    def of(cls, family: Family | None, model: Any) -> TokenSize:
        """What a model (the host's BaseModel) of a family tells; without one that of most models."""
        if family is None:
            return cls()
        patch = family.patch_size(model.diffusion_model)
        clips = family.clips and getattr(model.latent_format, "latent_dimensions", 2) == 3
        return cls(int(family.token_pixels(model) // patch), patch, clips)

    @property
    def pixels(self) -> int:
        """Pixels per token side."""
        return self.ratio * self.patch

    def frames(self, pictures: int) -> int:
        """Latent frames that hold so many pictures; 1 where they are no clip. HiLoError if the VAE cannot take them."""
        if not self.clips or pictures == 1:
            return 1
        more, rest = divmod(pictures - 1, GROUP)
        if rest:
            raise HiLoError(
                f"The clip has {pictures} frames, of which this model's VAE leaves out the last {rest}: "
                f"give it {pictures - rest} or {pictures - rest + GROUP} frames."
            )
        return 1 + more

    def inside(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of a picture that the latent holds: whole latent pixels, from the middle.

        HiLoError if there are none.
        """
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

    def edit(self, mask: Tensor, frames: int = 1) -> Tensor:
        """(B, H, W) -> ((T,) rows, columns) bool: tokens with an edited pixel. HiLoError if what is painted is cropped
        off. frames: latent frames."""
        y, x = self.inside(*mask.shape[1:])
        edited, size = is_edited(mask), self.pixels
        part = edited[:, y, x]
        if bool(edited.any()) and not bool(part.any()):
            raise HiLoError(
                f"Only the border that VAE Encode crops off is painted. Resize the picture to a multiple of {self.ratio} px."
            )
        masks = latent_frames(part, frames)[None]  # (1, T, H, W)
        found = mask_to_tokens(masks, -(-part.shape[1] // size), -(-part.shape[2] // size), size)
        return found[0] if frames == 1 else found


def first_picture(frame: int) -> int:
    """Of a latent frame: the number of the first frame of the clip that it holds."""
    return max(0, (frame - 1) * GROUP + 1)


def details(whole: Tensor, shape: torch.Size) -> Tensor:
    """Detail of the brightness in each token: (B, H, W, 3) of whole tokens -> of that shape, ((T,) rows, columns).

    A latent frame has the most that one of its frames has.
    """
    if len(shape) == 2:
        return detail(luma(whole), *shape, SCORES[0])
    return latent_frames(detail(luma(whole).movedim(0, 1)[None], *shape[1:], SCORES[0]), shape[0])
