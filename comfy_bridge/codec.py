"""A model call's tensors as a strip, and back, on the device where the model computes.

Takes a run's plan and clean picture once for each device; then gives, for each call, the strip of whatever lies on the
picture's grid, and the whole latent from the model's answer. It knows nothing of sequences or attention.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..hilo_core.follow import follow
from ..hilo_core.grid import TokenGrid
from ..hilo_core.plan import EDIT, TokenPlan
from ..hilo_core.strip import StripMap, average_tokens, gather
from .call import Call, flat, on_grid, unflat
from .layout import Pictures, Segment
from .memo import Memo
from .reasons import DenseRun
from .source import Source, repeat

_SAME = 0.05  # difference of two encodings of one picture, in standard deviations of its latent
_SCALED = 0.1  # an encoder scales a side by less
_ALIKE = 0.5  # correlation of latents of one picture at two such sizes; measured 0.67 to 0.99, of two pictures to 0.3


def _make_maps(plan: TokenPlan, grid: TokenGrid, device: torch.device, known: Tensor) -> list[StripMap]:
    return [StripMap(grid, turn, device, known) for turn in (plan, *plan.later_turns)]


_maps = Memo(_make_maps)


class Codec:
    """Index maps, averages and the clean picture of one run on one device.

    Whatever a step indexes by is there: an index on the CPU would make a GPU wait in each step. Averages lack the
    edit's pixels, which must not leak into its surroundings.
    """

    def __init__(
        self, source: Source, plan: TokenPlan, grid: TokenGrid, noise: Tensor, downsampled: dict[int, Tensor],
        coarse_references: int, device: torch.device,
    ) -> None:  # fmt: skip
        self.grid, self.plans, self.coarse = grid, (plan, *plan.later_turns), coarse_references
        self.latent = latent = flat(source.latent).to(device)
        unknown = torch.zeros(plan.total, dtype=torch.bool)
        unknown[plan.kept[plan.kind == EDIT]] = True
        pixels = ~grid.pixels(unknown.reshape(plan.shape)).to(device)
        self.maps = _maps(plan, grid, device, pixels)
        self.edited, self.from_reference = ~pixels, source.from_reference
        self.averages = average_tokens(latent, pixels, grid, self.maps[0].plan, downsampled)
        self.averages_noise = average_tokens(
            flat(noise).to(device), torch.ones_like(pixels), grid, self.maps[0].plan, noise=True
        )
        self.offsets = [m.offset(latent, self.averages) for m in self.maps]
        self._coarse_maps: dict[TokenGrid, StripMap] = {}
        self._sent: list[tuple[Tensor, Tensor]] = []  # what came from elsewhere, and its copy here
        self._followed_maps: dict[TokenGrid, list[StripMap]] = {}

    def compress(self, call: Call, model: Any, turn: int) -> Tensor:
        """The strip of a call's latent; averages are noised to the call's level as the model noises what is known."""
        averages = self.averages
        if averages.shape[-1]:
            clean, noise = repeat(averages, call.x), repeat(self.averages_noise, call.x)
            averages = model.scale_latent_inpaint(sigma=call.t.float(), noise=noise, latent_image=clean)
        return unflat(self.maps[turn].compress(flat(call.x), averages), call.x)

    def restore(self, strip: Tensor, turn: int) -> Tensor:
        """The whole latent from what the model gave for a strip (`StripMap.restore`)."""
        return unflat(self.maps[turn].restore(flat(strip), repeat(self.offsets[turn], strip)), strip)

    def squeeze(self, value: Any, x: Tensor, turn: int) -> Any:
        """The strip of whatever lies on the picture's pixel grid: concat channels, masks."""
        if not on_grid(value, x):
            return value
        value = self._here(value, x.device)  # the host moves it there only within the model
        one = value.flatten(0, value.ndim - x.ndim)
        return unflat(self.maps[turn].compress(flat(one)), one).unflatten(0, value.shape[: value.ndim - x.ndim + 1])

    def _here(self, value: Tensor, device: torch.device) -> Tensor:
        """A value on the device where the model computes. Conditionings are the same in each step and often on the CPU;
        to copy one from there waits for the GPU."""
        if value.device == device:
            return value
        for before, here in self._sent:
            if before.shape == value.shape and before.dtype == value.dtype and torch.equal(before, value):
                return here
        self._sent = [*self._sent[-7:], (value.clone(), value.to(device))]
        return self._sent[-1][1]

    def level_mask(self, mask: Any, x: Tensor, turn: int) -> Any:
        """The denoise mask as some models read it, for the level of noise of each frame: its mean, as one pixel, whose
        mean is itself to the bit. The tokens of a clip's strip have the level of their frame: each is a frame of its
        own."""
        if not on_grid(mask, x):
            return mask
        level = mask.to(x.device).mean(dim=(1, -2, -1), keepdim=True)
        if self.grid.frames == 1:
            return level
        if self.maps[turn].plan.cells:
            raise DenseRun("averaged tokens of several frames have no one level of noise, which this model needs")
        each = level.expand(-1, -1, -1, self.grid.height, self.grid.width).flatten(2).movedim(1, 2)
        return gather(each, self.maps[turn].plan).movedim(2, 1)[..., None, None]

    def references(self, latents: Any, x: Tensor, turn: int, source: int | None) -> list[Tensor]:
        """Reference latents as the strip's call takes them. source: number of the one that follows the plan."""
        maps = [self._reference_map(z, i == source, x, turn) for i, z in enumerate(latents)]
        here = [self._here(z, x.device) if m else z for z, m in zip(latents, maps, strict=True)]
        return [unflat(m.compress(flat(z)), z) if m else z for z, m in zip(here, maps, strict=True)]

    def pictures(self, latents: Any, x: Tensor, turn: int, source: int | None, pads: Callable[[int], int]) -> Pictures:
        """Target and references of a call, counted in tokens."""
        references = []
        for i, latent in enumerate(latents):
            found = self._reference_map(latent, i == source, x, turn)
            grid = TokenGrid.of(latent, self.grid.patch)
            references.append(Segment(grid.count, found.plan if found else None))
        return Pictures(Segment(self.plans[turn].total, self.plans[turn]), tuple(references), pads)

    def _reference_map(self, latent: Tensor, source: bool, x: Tensor, turn: int) -> StripMap | None:
        """None: whole. The source follows the plan; others are whole, or, of another size than the target, coarse
        cells."""
        if source and on_grid(latent, x):
            return self.maps[turn]
        if source:
            return self._followed(latent, x.device, turn)
        if self.coarse <= 1 or on_grid(latent, x):
            return None
        grid = TokenGrid.of(latent, self.grid.patch)
        if grid not in self._coarse_maps:
            plan = TokenPlan.of_cells(grid.height, grid.width, self.coarse)
            self._coarse_maps[grid] = StripMap(grid, plan, x.device)
        return self._coarse_maps[grid]

    def _followed(self, latent: Tensor, device: torch.device, turn: int) -> StripMap | None:
        """Of the source where its encoder scaled it by a few pixels; None: whole."""
        grid = TokenGrid.of(latent, self.grid.patch)
        if grid not in self._followed_maps:
            plan = follow(self.plans[0], grid.height, grid.width)
            turns = (plan, *plan.later_turns) if plan else ()
            self._followed_maps[grid] = [StripMap(grid, turn, device) for turn in turns]
        maps = self._followed_maps[grid]
        return maps[turn] if maps else None

    def find_source(self, latents: Any, x: Tensor) -> int | None:
        """Which reference is the picture that is edited: the one that equals it outside the edit; where that came from
        a reference itself, the first of its size. Waits for the GPU, so ask once for each set of conditionings."""
        on = [i for i, z in enumerate(latents) if on_grid(z, x)]
        if self.from_reference:
            return on[0] if on else None
        outside = ~self.edited
        want = self.latent[..., outside].float()
        for i in on if bool(outside.any()) else []:
            given = flat(latents[i].to(x.device))[..., outside].float()
            if (given - repeat(want, given)).abs().median() <= _SAME * want.std():
                return i
        return next((i for i, z in enumerate(latents) if self._scaled(z, x, want, outside)), None)

    def _scaled(self, latent: Tensor, x: Tensor, want: Tensor, outside: Tensor) -> bool:
        """Whether a reference is the picture scaled by a few pixels: it looks like it outside the edit."""
        sides = zip(latent.shape[-2:], x.shape[-2:], strict=True)
        if on_grid(latent, x) or latent.shape[1] != x.shape[1] or any(abs(a / b - 1) > _SCALED for a, b in sides):
            return False
        given = F.interpolate(flat(latent.to(x.device)).float(), size=x.shape[-2:], mode="bilinear")[..., outside]
        a, b = (z[:1] - z[:1].mean(-1, keepdim=True) for z in (given, want))
        return bool((a * b).sum() > _ALIKE * a.norm() * b.norm())

    def control(self, control: Any, turn: int) -> Any:
        """ControlNet residuals (B, N, D) of each block, for the tokens of the strip."""
        if control is None:
            return None
        plan = self.maps[turn].plan
        return {
            name: [r if r is None else gather(r[:, : plan.total], plan) for r in residuals or ()]
            for name, residuals in control.items()
        }
