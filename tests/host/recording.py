"""Samples one masked edit with the node, and catches its compressed calls at the host's own `_apply_model`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest.mock import patch as patched_attribute

import comfy.controlnet
import torch
import torch.nn.functional as F
from torch import Tensor

from tools.pack import load_pack

from .cases import Case, case, patcher
from .models import Small
from .tap import Attentions, Rows, decode_rows, periodic, probes, token_rows, zeros


@dataclass(frozen=True)
class Setting:
    """What a comparison is made with. Sizes in tokens."""

    small: Small
    text: tuple[int, int] = (7, 7)  # tokens of the positive and the negative prompt
    batch: int = 1
    cfg: float = 1.0
    size: tuple[int, int] = (8, 10)
    frames: int = 1
    odd: bool = False  # one latent pixel less than `size` in each direction, where the family's patch is 2
    references: tuple[tuple[int, int] | None, ...] = ()  # None: of the target's size
    method: str = ""  # of placing references, where it is not the model's own
    scaled: bool = False  # the first reference is the source, scaled to its size
    control: int = 0  # blocks that get ControlNet residuals
    preset: str = "balanced"
    bias: float = 1.0
    step: int = 1  # the step that is compared


class Call(NamedTuple):
    """The arguments of the host's `apply_model` and `_apply_model`."""

    x: Tensor
    t: Tensor
    concat: Any
    context: Any
    control: Any
    options: dict[str, Any]
    kwargs: dict[str, Any]

    @property
    def latents(self) -> list[Tensor]:
        """Whatever becomes image tokens: the target, then its references."""
        return [self.x, *(self.kwargs.get("ref_latents") or ())]

    def with_latents(self, latents: list[Tensor]) -> Call:
        """Other pictures in their place."""
        kwargs = dict(self.kwargs)
        if kwargs.get("ref_latents"):
            kwargs["ref_latents"] = latents[1:]
        return self._replace(x=latents[0], kwargs=kwargs)

    def run(self, model: Callable[..., Tensor]) -> Tensor:
        """The model's answer."""
        return model(self.x, self.t, self.concat, self.context, self.control, self.options, **self.kwargs)


@dataclass
class Strip:
    """One compressed call, the dense call that it stands for, and what its attentions were given."""

    dense: Call
    strip: Call
    output: Tensor
    masks: list[tuple[int, Tensor | None]] = field(default_factory=list)  # number of keys, attention mask
    inpaint: tuple[Tensor, Tensor] | None = None  # noise and source that the sampler protects the outside with


class Residuals(comfy.controlnet.ControlBase):  # type: ignore[misc]  # the host has no types
    """A ControlNet that answers with fixed residuals (B, N, D) for the first blocks."""

    def __init__(self, tokens: int, width: int, blocks: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.residuals = [torch.randn(1, tokens, width, generator=generator) for _ in range(blocks)]

    def get_control(self, x_noisy: Tensor, t: Any, cond: Any, batched_number: int, *_: Any) -> dict[str, Any]:
        """As the host asks for it."""
        answer = [r.to(x_noisy).expand(x_noisy.shape[0], -1, -1) for r in self.residuals]
        return {"input": answer, "middle": [], "output": list(answer)}

    def copy(self) -> Residuals:
        """Itself: it keeps no state."""
        return self

    def get_models(self) -> list[Any]:
        """None to load."""
        return []


@functools.cache
def networks(build: Callable[[], Any]) -> tuple[Any, Any]:
    """A model for the node, and its twin with the same weights that the reference alone uses."""
    return patcher(build()), patcher(build())


def edit_of(setting: Setting) -> Case:
    """The masked edit of a setting."""
    small, p = setting.small, setting.small.patch
    less = int(setting.odd and p > 1 and not small.even)
    rows, columns = setting.size
    box = (rows // 4 * p, rows // 2 * p, columns // 3 * p, columns * 3 // 5 * p)
    edit = case(small, rows * p - less, columns * p - less, setting.batch, box, setting.frames)
    if setting.scaled:  # a picture has neighbours that are alike
        coarse = F.avg_pool2d(edit.latent.flatten(1, edit.latent.ndim - 3), 4)
        edit.latent = F.interpolate(coarse, size=edit.latent.shape[-2:], mode="bicubic").reshape(edit.latent.shape)
    for conds, length in ((edit.positive, setting.text[0]), (edit.negative, setting.text[1])):
        torch.manual_seed(length)
        text, extras = small.cond(length)
        conds[0] = [text, dict(extras) | small.inputs(edit.latent)]
        if setting.references:
            conds[0][1]["reference_latents"] = _references(setting, edit.latent)
            if method := setting.method or small.method:
                conds[0][1]["reference_latents_method"] = method
        if setting.control:
            control = Residuals(rows * columns, small.width, setting.control)
            conds[0][1] |= {"control": control, "control_apply_to_uncond": True}
    return edit


def _references(setting: Setting, latent: Tensor) -> list[Tensor]:
    """The source first, as an edit model gets it, then other pictures."""
    found, p = [], setting.small.patch
    for index, size in enumerate(setting.references):
        height, width = latent.shape[-2:] if size is None else (size[0] * p, size[1] * p)
        other = torch.randn(1, *latent.shape[1:-2], height, width)
        if setting.scaled and not index:
            flat = latent[:1].flatten(1, latent.ndim - 3)
            other = F.interpolate(flat, size=(height, width), mode="bilinear").reshape(other.shape)
        found.append(latent[:1].clone() if size is None and not index else other)
    return found


class _Enough(Exception):
    """Leaves a run once the calls of its first step are seen."""


def record(setting: Setting, rows: bool = True) -> tuple[list[Strip], list[list[Rows]]]:
    """The compressed calls of the step, and for each where image tokens lie among the keys of its attentions."""
    model, edit = networks(setting.small.build)[0], edit_of(setting)
    node = load_pack("nodes.model_patch").HiLoModelPatch
    out = node.execute(model, setting.preset, mass_bias=f"{setting.bias:g}", dense_steps="none")
    patched = (out.args if hasattr(out, "args") else out)[0]
    calls: list[Strip] = []
    inpaint: list[tuple[Tensor, Tensor]] = []
    scale = model.model.scale_latent_inpaint

    def note_source(**given: Any) -> Tensor:
        if given["noise"].shape == edit.noise.shape:
            inpaint.append((given["noise"], given["latent_image"]))
        answer: Tensor = scale(**given)
        return answer

    def keep(dense: Call, strip: Call, plain: Callable[..., Tensor]) -> Tensor:
        masks: list[tuple[int, Tensor | None]] = []

        def note(_: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, options: Any) -> None:
            masks.append((k.shape[2], None if mask is None else mask.detach().clone()))

        with Attentions(note):
            output = strip.run(plain)
        calls.append(Strip(dense, strip, output, masks, inpaint[-1] if inpaint else None))
        return output

    with (
        caught(model.model, setting.small.patch, keep),
        patched_attribute.object(model.model, "scale_latent_inpaint", note_source),
    ):
        edit.sample(patched, steps=setting.step + 2, cfg=setting.cfg)
    sigmas = sorted({float(c.strip.t.max()) for c in calls}, reverse=True)
    step = [c for c in calls if float(c.strip.t.max()) == sigmas[min(setting.step, len(sigmas) - 1)]]
    return step, (_strip_rows(setting, model, patched, edit, len(step)) if rows and step else [])


@contextlib.contextmanager
def caught(base: Any, patch: int, hook: Callable[[Call, Call, Callable[..., Tensor]], Tensor]) -> Iterator[None]:
    """While open, each compressed call of the host's model goes to `hook(dense, strip, model)`."""
    plain, entry = base._apply_model, base.apply_model
    outer: list[Call] = []

    def enter(x: Any, t: Any, c_concat: Any = None, c_crossattn: Any = None, control: Any = None,
              transformer_options: Any = None, **kw: Any) -> Tensor:  # fmt: skip
        outer.append(Call(x, t, c_concat, c_crossattn, control, dict(transformer_options or {}), kw))
        out: Tensor = entry(x, t, c_concat, c_crossattn, control, transformer_options or {}, **kw)
        return out

    def inner(x: Any, t: Any, c_concat: Any = None, c_crossattn: Any = None, control: Any = None,
              transformer_options: Any = None, **kw: Any) -> Tensor:  # fmt: skip
        if kw.get("ref_latents"):
            kw = {**kw, "ref_latents": [periodic(z, patch) for z in kw["ref_latents"]]}
        call = Call(x, t, c_concat, c_crossattn, control, transformer_options or {}, kw)
        out: Tensor = hook(outer[-1], call, plain) if x.shape != outer[-1].x.shape else call.run(plain)
        return out

    with patched_attribute.object(base, "apply_model", enter), patched_attribute.object(base, "_apply_model", inner):
        yield


def _strip_rows(setting: Setting, model: Any, patched: Any, edit: Case, calls: int) -> list[list[Rows]]:
    """Rows of each compressed call of the first step, looked for in a run of their own: only within a call does the
    pack say where the tokens of a strip lie."""
    found: list[list[Rows]] = []

    def look(dense: Call, strip: Call, plain: Callable[..., Tensor]) -> Tensor:
        found.append(_rows(strip, strip.options, plain, setting.small.patch))
        if len(found) == calls:
            raise _Enough
        return torch.zeros_like(strip.x)

    with caught(model.model, setting.small.patch, look), contextlib.suppress(_Enough):
        edit.sample(patched, steps=setting.step + 2, cfg=setting.cfg)
    return found


def dense_rows(model: Callable[..., Tensor], call: Call, patch: int) -> list[Rows]:
    """Where image tokens lie among the keys of each attention of a dense call."""
    return _rows(call, {k: v for k, v in call.options.items() if "sigmas" in k}, model, patch)


def _rows(call: Call, options: dict[str, Any], model: Callable[..., Tensor], patch: int) -> list[Rows]:
    """The same of any call: its first picture and all probes of it as one batch, with attentions that answer zero."""
    x, t, concat, context, _, _, kwargs = (each(value, lambda v: v[:1]) for value in call)
    one = Call(x, t, concat, context, None, {}, kwargs)
    copies = [one.latents, *probes(one.latents, patch)]
    count = len(copies)
    widened = one._replace(
        t=t.expand(count),
        concat=each(concat, lambda v: _widen(v, count)),
        context=each(context, lambda v: _widen(v, count)),
        options={**options, "cond_or_uncond": [0] * count},
        kwargs=each(kwargs, lambda v: _widen(v, count)),
    ).with_latents([torch.cat(parts) for parts in zip(*copies, strict=True)])
    found: list[Rows] = []
    total = sum(token_rows(z, patch).shape[1] for z in one.latents)

    def hide(_: int, q: Tensor, k: Tensor, v: Tensor, mask: Any, options: Any) -> Tensor:
        found.append(decode_rows(k[0], list(k[1:]), total) if k.shape[0] == count else None)
        return zeros(q, v)

    with Attentions(hide):
        widened.run(model)
    return found


def _widen(value: Tensor, count: int) -> Tensor:
    return value.expand(count, *[-1] * (value.ndim - 1)) if value.shape[0] == 1 else value


def each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A conditioning value with every tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value) if value.ndim else value
    if isinstance(value, dict):
        return {key: each(item, change) for key, item in value.items()}
    return [each(item, change) for item in value] if isinstance(value, (list, tuple)) else value
