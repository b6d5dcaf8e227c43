"""The state of one sampling run, and one model call as a strip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..bias import add_bias, key_bias
from ..cells import pool_tokens
from ..errors import HiLoError
from ..grid import TokenGrid
from ..schedule import step_of
from ..strip import compress, gather, low_tokens, restore
from .families import Family
from .known import DenseRun, Known
from .positions import AnyPositions, record, replaying
from .report import Stopwatch


@dataclass(frozen=True)
class Layout:
    """How the tokens of a strip lie in the model's sequences; the same for every step of a run."""

    positions: tuple[Tensor, ...]  # answers of the position embedder, in the order the model asks
    bias: dict[int, Tensor]  # additive attention bias, by the number of keys


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
    watch: Stopwatch
    taken: dict[int, bool] = field(default_factory=dict)  # step -> ran dense
    reason: str = ""  # why a call had to be dense
    layouts: dict[Any, Layout] = field(default_factory=dict)
    low: Tensor | None = None  # clean low-frequency tokens
    low_noise: Tensor | None = None

    def __post_init__(self) -> None:
        if self.noise.ndim == 5:  # one frame: the frame axis goes away here and comes back at the model's door
            self.noise = self.noise[:, :, 0]
        grid, plan, latent = self.known.grid, self.known.plan, flat(self.known.latent)
        kept = torch.zeros(plan.total, dtype=torch.bool)
        kept[plan.kept[plan.kind == 0]] = True
        unknown = kept.reshape(plan.rows, plan.columns).repeat_interleave(grid.patch, 0).repeat_interleave(grid.patch, 1)
        source = ~unknown[: grid.latent_height, : grid.latent_width].to(latent.device)
        self.source = source
        self.low = low_tokens(latent, source, grid, plan)
        self.low_noise = low_tokens(self.noise, torch.ones_like(source), grid, plan, noise=True)

    def call(self, executor: Callable, x: Tensor, t: Tensor, concat: Any, context: Any, control: Any,
             options: dict[str, Any], kwargs: dict[str, Any]) -> Tensor:
        """One model call of the host's `apply_model`: dense or as a strip, as the schedule says."""
        step = step_of(float(t.max()), self.sigmas)
        dense = self.dense_steps[step] if step < len(self.dense_steps) else False
        if not dense:
            try:
                layout = self._layout(x, t, concat, context, control, options, kwargs)
            except DenseRun as refusal:
                dense, self.reason = True, str(refusal)
        mark = self.watch.start()
        if dense:
            out = executor(x, t, concat, context, control, options, **kwargs)
        else:
            out = self._compressed(layout, executor, x, t, concat, context, control, options, kwargs)
        self.watch.stop(mark, dense)
        self.taken[step] = dense
        return self._keep_source(out)

    def _keep_source(self, out: Tensor) -> Tensor:
        """Without a denoise mask the sampler protects nothing, so the source is put back here."""
        if self.known.editable is None:
            return out
        known = self._batch(self.known.latent, out)
        return torch.where(self.known.editable.to(out.device), out, known)

    def _batch(self, value: Tensor, like: Tensor) -> Tensor:
        """Repeat a per-picture value for conds that the host has batched, cond by cond."""
        if like.shape[0] % value.shape[0]:
            raise DenseRun("the batch of this call is not a multiple of the latent's")
        return value.to(like).repeat(like.shape[0] // value.shape[0], *[1] * (value.ndim - 1))

    def _compressed(self, layout: Layout, executor: Callable, x: Tensor, t: Tensor, concat: Any, context: Any,
                    control: Any, options: dict[str, Any], kwargs: dict[str, Any]) -> Tensor:
        grid, plan = self.known.grid, self.known.plan
        sigma = t.reshape(-1, 1, 1, 1, 1).to(torch.float32)
        low = self.model.model_sampling.noise_scaling(sigma, self._batch(self.low_noise, x), self._batch(self.low, x))
        strip = unflat(compress(flat(x), low, grid, plan), x)
        squeezed = {name: self._squeeze(name, value, x) for name, value in kwargs.items()}
        options = {**options, "optimized_attention_override": self._attention(layout, options)} if layout.bias else options
        with replaying(self.positions, list(layout.positions)):
            out = executor(strip, t, self._squeeze("c_concat", concat, x), context, self._control(control), options, **squeezed)
        background = flat(self._batch(self.known.latent, out))
        return unflat(restore(flat(out), background, grid, plan), out)

    def _squeeze(self, name: str, value: Any, x: Tensor) -> Any:
        """The strip of whatever lies on the picture's grid: concat channels, masks, references of its size."""
        if isinstance(value, (list, tuple)):
            return [self._squeeze(name, item, x) for item in value]
        if not on_grid(value, x):
            return value
        everything = torch.ones_like(self.source) if name == "ref_latents" else self.source
        low = low_tokens(flat(value), everything, self.known.grid, self.known.plan)
        return unflat(compress(flat(value), low, self.known.grid, self.known.plan), value)

    def _control(self, control: Any) -> Any:
        """ControlNet residuals (B, N, D) of each block, for the tokens of the strip."""
        if control is None:
            return None
        plan = self.known.plan
        return {
            name: [r if r is None else gather(r[:, : plan.total], plan) for r in residuals]
            for name, residuals in control.items()
        }

    def _attention(self, layout: Layout, options: dict[str, Any]) -> Callable:
        """The host's attention override that adds the bias where the keys are this strip's."""
        from comfy.ldm.modules import attention as host

        previous = options.get("optimized_attention_override")
        takes_mask = {f for f in (getattr(host, "attention_" + n, None) for n in ("basic", "sub_quad", "split", "xformers", "pytorch")) if f}
        plain = {getattr(f, "__wrapped__", f) for f in takes_mask}

        def attend(function: Callable, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Any = None, *args: Any, **kw: Any) -> Tensor:
            keys = k.shape[2] if kw.get("skip_reshape") else k.shape[1]
            bias = layout.bias.get(keys)
            if bias is not None:
                mask = add_bias(mask, bias, q.dtype)
                if function not in plain and function not in takes_mask:  # flash and sage kernels ignore a mask
                    function = getattr(host.attention_pytorch, "__wrapped__", host.attention_pytorch)
            if previous is not None:
                return previous(function, q, k, v, heads, mask, *args, **kw)
            return function(q, k, v, heads, mask, *args, **kw)

        return attend

    def _layout(self, x: Tensor, t: Tensor, concat: Any, context: Any, control: Any,
                options: dict[str, Any], kwargs: dict[str, Any]) -> Layout:
        key = (x.shape, None if context is None else context.shape, *((n, shape_of(v)) for n, v in sorted(kwargs.items())))
        if key not in self.layouts:
            self._refuse(x, context, control, options, kwargs)
            asked = record(self.positions, self.model, (x, t, concat, context), options, kwargs)
            self.layouts[key] = self._make_layout(asked, kwargs, x)
        return self.layouts[key]

    def _refuse(self, x: Tensor, context: Any, control: Any, options: dict[str, Any], kwargs: dict[str, Any]) -> None:
        """Whatever assumes the full grid and is not handled makes the call dense."""
        plan = self.known.plan
        if flat(x).shape[-2:] != (self.known.grid.latent_height, self.known.grid.latent_width):
            raise DenseRun("area conditioning or context windows crop the latent")
        mask = kwargs.get("attention_mask")
        if mask is not None and context is not None and mask.shape[-1] > context.shape[1]:
            raise DenseRun("an attention mask over image tokens (Redux, style model)")
        for residuals in (control or {}).values():
            if any(r is not None and (r.ndim != 3 or r.shape[1] < plan.total) for r in residuals):
                raise DenseRun("a ControlNet gives residuals of another grid")
        for name in ("double_block", "noise_refiner", "post_input"):
            if options.get("patches", {}).get(name):
                raise DenseRun(f"a '{name}' patch of another node works on the full token grid")
        for name in ("ref_latent", "image_cond", "guiding_frame_index", "reference_latent", "time_dim_concat"):
            if kwargs.get(name) is not None:
                raise DenseRun(f"this model's '{name}' input works on the full token grid")
        if kwargs.get("ref_latents") and not self.family.references:
            raise DenseRun(f"reference latents of {self.family.name} are not compressed yet")

    def _make_layout(self, asked: list[Tensor], kwargs: dict[str, Any], x: Tensor) -> Layout:
        """Gather the strip's positions from the dense ones, and lay the bias over the same sequence."""
        plan, model = self.known.plan, self.model.diffusion_model
        pad = self.family.padding(model, plan.total)
        strip_pad = self.family.padding(model, plan.count)
        references = [(on_grid(r, x), token_count(r, self.known.grid.patch)) for r in kwargs.get("ref_latents") or ()]
        image = plan.total + pad + sum(count for _, count in references)
        answers, biases = [], {}
        mass = plan.mass.to(x.device)
        for ids in asked:
            text = ids.shape[1] - image
            if text < 0:  # asked for text alone
                answers.append(ids)
                continue
            first = text if self.family.text_first else 0
            tokens, rest = ids[:1, first:], []
            rest.append(tokens[:, plan.total : plan.total + strip_pad] if strip_pad <= pad else tokens.new_zeros(1, strip_pad, ids.shape[2]))
            start, ref_mass = plan.total + pad, []
            for same, count in references:
                part = tokens[:, start : start + count]
                rest.append(gather(part, plan) if same else part)
                ref_mass.append(mass if same else mass.new_ones(count))
                start += count
            strip = torch.cat([gather(tokens[:, : plan.total], plan), *rest, tokens[:, start:]], dim=1)
            answers.append(torch.cat([ids[:1, :first], strip], dim=1))
            if self.bias and not bool((plan.mass == 1).all()):
                weights = torch.cat([mass, mass.new_ones(strip_pad), *ref_mass])
                after = 0 if self.family.text_first else text
                for before, behind in {(first, after), (0, 0)}:
                    bias = key_bias(weights, before, behind, self.bias)
                    biases[bias.shape[-1]] = bias
        if len(answers) == 0 or all(ids.shape[1] < image for ids in asked):
            raise HiLoError(f"{self.family.name} asked for no image positions. This host version is not supported; please report it.")
        return Layout(tuple(answers), biases)


def flat(latent: Tensor) -> Tensor:
    """Without the frame axis: (B, C, 1, H, W) or (B, C, H, W) -> (B, C, H, W)."""
    return latent[:, :, 0] if latent.ndim == 5 else latent


def unflat(latent: Tensor, like: Tensor) -> Tensor:
    """With a frame axis if `like` has one."""
    return latent[:, :, None] if like.ndim == 5 else latent


def on_grid(value: Any, x: Tensor) -> bool:
    """Whether a conditioning value lies on the pixel grid of the latent."""
    return isinstance(value, Tensor) and value.ndim == x.ndim and value.shape[2:] == x.shape[2:]


def token_count(latent: Tensor, patch: int) -> int:
    """Tokens of a latent."""
    return TokenGrid(latent.shape[-2], latent.shape[-1], patch).count


def shape_of(value: Any) -> Any:
    """A hashable stand-in for a conditioning value: shapes, not contents."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, (list, tuple)):
        return tuple(shape_of(item) for item in value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
