"""What a row of the table of model families says, and what is read from a model by it. Knows no family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import Any


@dataclass(frozen=True)
class Family:
    """How one model class lays out its tokens."""

    name: str
    model_class: str  # module:class of the diffusion model, as the host defines it
    embedder: str  # attribute that is asked for the positions of tokens
    width: str  # attribute with the transformer's width, for the cost model
    checkpoints: str  # known to be of this family
    patch: str | int = "patch_size"  # latent pixels per token side, or the attribute with them
    attention: str = ""  # attention modules that take a mask and no override, as "blocks.*.attention"
    table: bool = (
        False  # the embedder gives a table of the picture's tokens, whatever it is asked; else it is given ids
    )
    references: bool = False  # takes reference latents as more image tokens
    prefix: bool = False  # what it computes of references in the first step serves the others, so they stay whole
    clips: bool = False  # runs of several frames are compressed too
    dense_when: str = ""  # what makes a run dense, for the README
    since: str = "0.3.75"  # host version
    matches: Callable[[Any], bool] = lambda model: True  # further fields that must hold

    def patch_size(self, model: Any) -> int:
        """Latent pixels per token side."""
        size = self.patch if isinstance(self.patch, int) else attrgetter(self.patch)(model)
        return int(size if isinstance(size, int) else size[-1])

    def token_pixels(self, model: Any) -> int:
        """Pixels of the picture per token side; model: the host's BaseModel."""
        form = model.latent_format
        # on old hosts: FLUX.2, HunyuanImage, Wan 2.2, pictures in pixels
        known = {128: 16, 64: 32, 48: 16, 3: 1}.get(form.latent_channels, 8)
        return int(getattr(form, "spacial_downscale_ratio", known)) * self.patch_size(model.diffusion_model)

    def attentions(self, model: Any) -> list[str]:
        """Names of the attention modules that are stood in for."""
        names = [name for name, _ in model.named_modules()] if self.attention else []
        return [
            name for name in names if fnmatchcase(name, self.attention) and name.count(".") == self.attention.count(".")
        ]

    def padding(self, model: Any) -> Callable[[int], int]:
        """How many pad tokens the model appends to a number of image tokens."""
        multiple = getattr(model, "pad_tokens_multiple", None)
        return lambda tokens: -tokens % multiple if multiple else 0

    def hidden(self, model: Any) -> int:
        """Width of the transformer."""
        return int(attrgetter(self.width)(model))
