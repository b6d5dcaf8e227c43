"""The state of one sampling run, and one model call as a strip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..cells import cell_plan
from ..grid import TokenGrid
from ..plan import EDIT, TokenPlan
from ..schedule import step_of
from ..strip import StripMap, gather, low_tokens
from .attention import KEEPS, KERNEL, OTHER, Attention, biased_attention, mask_kept_by
from .compat import FEATURES, forget, grid_patch, unknown_wrapper
from .families import Family
from .known import DenseRun, Known, flat
from .layout import Layout, Segment, make_layout
from .positions import AnyPositions, record, replaying
from .report import Stopwatch

# inputs of a model call that assume the full token grid
GRID_INPUTS = ("ref_latent", "image_cond", "guiding_frame_index", "reference_latent", "time_dim_concat")


class Call(NamedTuple):
    """The arguments of the host's `apply_model`."""

    x: Tensor  # (B, C, H, W) or (B, C, 1, H, W), all conds of the batch
    t: Tensor  # (B,) sigma
    concat: Any
    context: Any
    control: Any
    options: dict[str, Any]  # transformer_options
    kwargs: dict[str, Any]

    def execute(self, executor: Callable[..., Tensor]) -> Tensor:
        """Hand it on."""
        return executor(self.x, self.t, self.concat, self.context, self.control, self.options, **self.kwargs)


@dataclass
class Run:
    """Lives from the start of a sampling run to its end, in the run's own model options."""

    model: Any  # the host's BaseModel
    family: Family
    positions: AnyPositions
    known: Known
    noise: Tensor
    sigmas: list[float]
    dense_steps: list[bool]
    bias: float
    coarse_references: int  # cell size for references of another size than the target; 0: whole
    watch: Stopwatch
    seen: list[tuple[Tensor, bool]] = field(default_factory=list)  # (sigmas, ran dense) of each call
    reason: str = ""  # why a call had to be dense
    remark: str = ""  # what else the user should know
    layouts: dict[Any, list[Layout]] = field(default_factory=dict)  # one for each turn, by the call's shapes
    last: Any = "none yet"  # the lengths of the sequences of the call before this one; None: dense
    turn: int = 0  # which of the plan's turns this call takes
    calls: dict[Any, int] = field(default_factory=dict)  # so far, by the conds of the call
    references: dict[Any, StripMap | None] = field(default_factory=dict)  # by size and turn; None: whole
    overrides: dict[Any, str] = field(default_factory=dict)  # what those of other nodes do with a mask, by their code

    def __post_init__(self) -> None:
        grid, plan, latent = self.known.grid, self.known.plan, flat(self.known.latent)
        unknown = torch.zeros(plan.total, dtype=torch.bool)
        unknown[plan.kept[plan.kind == EDIT]] = True
        pixels = grid.pixels(unknown.reshape(plan.rows, plan.columns)).to(latent.device)
        # whatever a step indexes by is on the model's device: an index on the CPU would make the GPU wait in each step
        self.maps = [StripMap(grid, turn, latent.device, ~pixels) for turn in (plan, *plan.turns)]
        self.low = low_tokens(latent, ~pixels, grid, self.plan, self.known.small)
        self.low_noise = low_tokens(flat(self.noise), torch.ones_like(pixels), grid, self.plan, noise=True)
        self.editable = None if self.known.editable is None else self.known.editable.to(latent.device)
        self.settled = None if any(self.dense_steps) else False  # whether all further calls are dense, once known

    @property
    def map(self) -> StripMap:
        """Of this call."""
        return self.maps[self.turn]

    @property
    def plan(self) -> TokenPlan:
        """Of this call, with its indices on the model's device."""
        return self.map.plan

    def call(self, executor: Callable[..., Tensor], call: Call) -> Tensor:
        """One model call: dense or as a strip, as the schedule says."""
        self.turn = self._next_turn(call.options)
        layout = None if self._wants_dense(call.t) else self._layout_or_reason(call)
        lengths = None if layout is None else [p.shape for p in layout.positions]
        if lengths != self.last and self.last != "none yet":
            forget(call.options)
        self.last = lengths
        mark = self.watch.start()
        out = call.execute(executor) if layout is None else self._compressed(layout, executor, call)
        self.watch.stop(mark, dense=layout is None)
        self.seen.append((call.t, layout is None))
        # without a denoise mask the sampler protects nothing, so the source is put back here
        return self._protected(out, self.known.latent)

    def _next_turn(self, options: dict[str, Any]) -> int:
        """Each step takes the plan's next turn, the same for all its conds. EasyCache compares a call's input with that
        of the step before, token by token, so beside it all steps take the first."""
        if "easycache" in options:
            return 0
        conds = tuple(options.get("uuids") or ())
        self.calls[conds] = self.calls.get(conds, -1) + 1
        return self.calls[conds] % len(self.maps)

    def taken(self) -> list[bool]:
        """For each step that was made, whether a call of it ran dense. Waits for the GPU, so ask at the end."""
        steps: dict[int, bool] = {}
        for sigma, (_, dense) in zip(torch.stack([t.max() for t, _ in self.seen]).tolist(), self.seen, strict=True):
            step = step_of(sigma, self.sigmas)
            steps[step] = steps.get(step, False) or dense
        return list(steps.values())

    def finish(self, out: Tensor) -> Tensor:
        """The sampler's result. Where nothing else protects it, the picture outside the edit is put back exactly:
        model calls that a step cache left out did not."""
        if self.sigmas[-1] > 0:
            return out
        return self._protected(out, self.known.picture.to(out).reshape(-1, *out.shape[1:]))

    def _protected(self, out: Tensor, picture: Tensor) -> Tensor:
        """The picture outside the edit where there is no denoise mask; else, and for parts of the latent, as it is."""
        if self.editable is None or out.shape[-2:] != self.editable.shape or out.shape[0] % picture.shape[0]:
            return out
        return torch.where(self.editable.to(out.device), out, self._repeat(picture, out))

    def _wants_dense(self, sigma: Tensor) -> bool:
        """Whether the schedule has a dense step here. Reading sigma makes the GPU wait, so only while it matters."""
        if self.settled is not None:
            return self.settled
        step = step_of(float(sigma.max()), self.sigmas)
        if len(set(self.dense_steps[step:])) == 1:
            self.settled = self.dense_steps[step]
        return self.dense_steps[step]

    def _compressed(self, layout: Layout, executor: Callable[..., Tensor], call: Call) -> Tensor:
        low, options = self.low, call.options
        if low.shape[-1]:
            clean, noise = self._repeat(low, call.x), self._repeat(self.low_noise, call.x)
            low = self.model.model_sampling.noise_scaling(call.t.float().reshape(-1, 1, 1, 1), noise, clean)
        if layout.bias:
            previous = options.get("optimized_attention_override")
            around = previous is not None and self.overrides[_code(previous)] != KEEPS
            options = {**options, "optimized_attention_override": biased_attention(layout.bias, previous, around)}
        strip = Call(
            unflat(self.map.compress(flat(call.x), low), call.x),
            call.t,
            self._squeeze(call.concat, call.x),
            call.context,
            self._control(call.control),
            options,
            {name: self._squeeze_input(name, value, call.x) for name, value in call.kwargs.items()},
        )
        with replaying(self.positions, list(layout.positions)):
            out = strip.execute(executor)
        return unflat(self.map.restore(flat(out), flat(self._repeat(self.known.latent, out))), out)

    def _repeat(self, value: Tensor, like: Tensor) -> Tensor:
        """A per-picture value for conds that the host has batched, cond by cond."""
        value, times = value.to(like), like.shape[0] // value.shape[0]
        if value.shape[0] == 1:
            return value.expand(times, *[-1] * (value.ndim - 1))
        return value if times == 1 else value.repeat(times, *[1] * (value.ndim - 1))

    def _squeeze(self, value: Any, x: Tensor) -> Any:
        """The strip of whatever lies on the picture's pixel grid: concat channels, masks."""
        if not on_grid(value, x):
            return value
        value = value.to(x.device)  # the host moves it there only within the model
        return unflat(self.map.compress(flat(value)), value)

    def _squeeze_input(self, name: str, value: Any, x: Tensor) -> Any:
        if name != "ref_latents" or not value:
            return self._squeeze(value, x)
        maps = [self._reference(latent, x, self.turn) for latent in value]
        return [unflat(m.compress(flat(z.to(x.device))), z) if m else z for z, m in zip(value, maps, strict=True)]

    def _reference(self, latent: Tensor, x: Tensor, turn: int) -> StripMap | None:
        """A reference of the target's size follows its plan; others are whole (None), or coarse cells throughout."""
        follows, grid = on_grid(latent, x), TokenGrid(latent.shape[-2], latent.shape[-1], self.known.grid.patch)
        key = (grid, turn if follows else "all")
        if key not in self.references:
            plan: TokenPlan | None = None
            if follows:
                plan = self.maps[turn].plan
            elif self.coarse_references > 1:
                cells = cell_plan(grid.height, grid.width, self.coarse_references)
                plan = TokenPlan.of_cells(grid.height, grid.width, cells)
            self.references[key] = StripMap(grid, plan, x.device) if plan else None
        return self.references[key]

    def _layout(self, asked: list[Tensor], attention: Attention | None, call: Call, turn: int) -> Layout:
        """asked, attention: what the dense model asked for (`positions.record`)."""
        plan, references = self.maps[turn].plan, []
        for latent in call.kwargs.get("ref_latents") or ():
            found = self._reference(latent, call.x, turn)
            grid = TokenGrid(latent.shape[-2], latent.shape[-1], self.known.grid.patch)
            references.append(Segment(grid.count, found.plan if found else None))
        network, target = self.model.diffusion_model, Segment(plan.total, plan)
        return make_layout(asked, self.family, network, target, references, self.bias, attention)

    def _control(self, control: Any) -> Any:
        """ControlNet residuals (B, N, D) of each block, for the tokens of the strip."""
        if control is None:
            return None
        plan = self.plan
        return {
            name: [r if r is None else gather(r[:, : plan.total], plan) for r in residuals or ()]
            for name, residuals in control.items()
        }

    def _layout_or_reason(self, call: Call) -> Layout | None:
        """The layout of a compressed call; None, with the reason noted, when it has to be dense."""
        shapes = tuple((name, shape_of(value)) for name, value in sorted(call.kwargs.items()))
        key = (call.x.shape, shape_of(call.context), shapes)
        try:
            self._refuse(call)
            if key not in self.layouts:  # of all turns at once, so that no later step has to wait for it
                asked, attention = record(self.positions, self.model, call)
                self.layouts[key] = [self._layout(asked, attention, call, turn) for turn in range(len(self.maps))]
            layout = self.layouts[key][self.turn]
            self._refuse_attention(layout, call.options)
        except DenseRun as refusal:
            self.reason = str(refusal)
            return None
        return layout

    def _refuse_attention(self, layout: Layout, options: dict[str, Any]) -> None:
        """DenseRun where the bias would get lost."""
        previous = options.get("optimized_attention_override")
        if not layout.bias:
            return
        if layout.attention is None:
            raise DenseRun(FEATURES["foreign_attention"].text)
        if previous is None:
            return
        if _code(previous) not in self.overrides:
            found = mask_kept_by(previous, layout.attention, max(layout.bias), options)
            self.overrides[_code(previous)] = found
            if found == KERNEL:
                self.remark = FEATURES["override_kernel"].text
        if self.overrides[_code(previous)] == OTHER:
            raise DenseRun(FEATURES["override_no_mask"].text)

    def _refuse(self, call: Call) -> None:
        """DenseRun for whatever assumes the full grid and is not handled."""
        plan, grid = self.known.plan, self.known.grid
        if flat(call.x).shape[-2:] != (grid.latent_height, grid.latent_width):
            raise DenseRun(FEATURES["tiles"].text)
        if call.options.get("context_window") is not None:
            raise DenseRun(FEATURES["context_windows"].text)  # a window over the batch leaves the size as it is
        if call.x.shape[0] % self.known.latent.shape[0]:
            raise DenseRun(FEATURES["batch"].text)
        mask = call.kwargs.get("attention_mask")
        if mask is not None and call.context is not None and mask.shape[-1] > call.context.shape[1]:
            raise DenseRun(FEATURES["redux"].text)
        for residuals in (call.control or {}).values():
            if any(r is not None and (r.ndim != 3 or r.shape[1] < plan.total) for r in residuals or ()):
                raise DenseRun(FEATURES["control_grid"].text)
        if kind := grid_patch(call.options):
            raise DenseRun(FEATURES["grid_patch"].text.format(kind))
        if key := unknown_wrapper(call.options):
            raise DenseRun(FEATURES["unknown_wrapper"].text.format(key))
        for name in GRID_INPUTS:
            if call.kwargs.get(name) is not None:
                raise DenseRun(FEATURES["grid_input"].text.format(name))
        if call.kwargs.get("ref_latents") and not self.family.references:
            raise DenseRun(f"reference latents of {self.family.name} are not compressed yet")


def _code(override: Any) -> Any:
    """Tells overrides apart; some nodes make a new function for each call."""
    return getattr(override, "__code__", type(override))


def unflat(latent: Tensor, like: Tensor) -> Tensor:
    """With a frame axis if `like` has one."""
    return latent[:, :, None] if like.ndim == 5 else latent


def on_grid(value: Any, x: Tensor) -> bool:
    """Whether a conditioning value lies on the pixel grid of the latent."""
    return isinstance(value, Tensor) and value.ndim == x.ndim and value.shape[2:] == x.shape[2:]


def shape_of(value: Any) -> Any:
    """A hashable stand-in for a conditioning value: shapes, not contents."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, (list, tuple)):
        return tuple(shape_of(item) for item in value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
