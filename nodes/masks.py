"""What HiLo Mask Dilate does to a mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..hilo_core import HiLoError
from ..hilo_core.mask import clean_mask, dilate_tokens, is_edited, mask_to_tokens


@dataclass(frozen=True)
class Growth:
    """The node's widgets; see their tooltips."""

    margin: int
    mode: str
    black: float
    white: float
    fill_holes: bool
    drop_specks: int
    token_size: int

    def clean(self, mask: Tensor) -> Tensor:
        """(B, H, W) in 0..1 -> the same without holes, specks and near-black. HiLoError if nothing is left."""
        clean = clean_mask(mask, self.black, self.white, self.fill_holes, self.drop_specks)
        if not bool(is_edited(clean).any()):
            raise HiLoError("The mask is empty after cleaning: lower 'black' or 'drop_specks'.")
        return clean

    def grown(self, clean: Tensor) -> Tensor:
        """(B, H, W) -> 0 or 1, each of the batch grown by whole tokens."""
        (height, width), size, grown = clean.shape[1:], self.token_size, []
        for item in clean:
            tokens = mask_to_tokens(is_edited(item[None]), -(-height // size), -(-width // size), size)
            relative = self.mode == "percent"
            tokens = dilate_tokens(tokens, self.margin / (100 if relative else size), relative)
            pixels = tokens.repeat_interleave(size, 0).repeat_interleave(size, 1)
            grown.append(pixels[:height, :width].float())
        return torch.stack(grown).to(clean.device)
