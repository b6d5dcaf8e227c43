"""The state of one sampling run, and one model call as a strip.

Takes every model call of the run; gives the whole latent, from a strip or from the dense call, as the schedule says and
the call allows. It is made when sampling starts and gone when it ends; nothing of it is left in the model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..hilo_core.grid import TokenGrid
from ..hilo_core.plan import TokenPlan
from ..hilo_core.schedule import step_of
from ..hilo_core.words import Said
from .attention import biased_attention, checked_attention
from .auto import Decided
from .call import OVERRIDE, Call, shape_of
from .codec import Codec
from .family import Family
from .features import FEATURES
from .graph_rules import read, unread
from .graph_store import GraphUse
from .layout import Layout, make_layout
from .masked import overriding
from .memory import make_room
from .neighbours import changes_blocks, foreign, reset_easycache, uncompiled
from .overrides import Overrides
from .positions import eagerly, recording, replaying
from .probe import Form, find_layout, quiet
from .reasons import FOREIGN_FAILURES, DenseRun, out_of_memory
from .refuse import refuse
from .run_report import Stopwatch
from .source import Source
from .spot_check import SpotCheck

SCALED = "the encoder scaled the picture by a few pixels, so what it shows lies that much beside the original"


class Inputs(NamedTuple):
    """All that differs between two calls of one shape."""

    strip: Call
    options: dict[str, Any]  # what of transformer_options the model itself may read
    positions: Sequence[Tensor]
    bias: dict[int, Tensor]


@dataclass
class Run:
    """Lives from the start of a sampling run to its end, in the run's own model options.

    Model calls may come from several threads, each with a device and a model of its own; only this run is shared.
    """

    family: Family
    form: Form
    source: Source
    plan: TokenPlan
    grid: TokenGrid
    downsampled: dict[int, Tensor]  # latents of the downsampled picture, by factor
    noise: Tensor
    sigmas: list[float]
    dense_steps: list[bool]
    decided: Decided  # on the preset, and why
    coarse_references: int  # cell size for references of another size than the target; 0: whole
    watch: Stopwatch
    whole_references: bool = False  # none may follow the plan
    stateful: str = ""  # what may keep features between steps; then all steps take one set of tokens
    hidden: int = 3072  # width of the transformer, for the predicted gain
    spot_check: SpotCheck | None = None  # one step that is computed both ways
    on_reason: Callable[[str], None] | None = None  # told at once, and once, why a call had to be dense
    evaluation: int = -1  # of the guider, so far; all its model calls take the same turn
    seen: list[tuple[Tensor, bool]] = field(default_factory=list)  # (sigmas, ran dense) of each call
    reason: str = ""  # why a call had to be dense
    given_up: bool = False  # for the rest of the run
    notes: dict[str, None] = field(default_factory=dict)  # what else the user should know, in order
    layouts: dict[Any, list[Layout] | str] = field(default_factory=dict)  # one for each turn, or why there is none
    last: Any = "none yet"  # the lengths of the sequences of the call before this one; None: dense
    codecs: dict[torch.device, Codec] = field(default_factory=dict)
    spared: bool = False  # the host keeps memory for strips only
    graphs: GraphUse = field(default_factory=GraphUse)
    lock: Any = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        if self.stateful:
            self.dense_steps = [False] * len(self.dense_steps)
            self.say(Said(FEATURES["stateful"].text, self.stateful))
        self.overrides = Overrides(bool(self.family.attention))
        self.settled = None if any(self.dense_steps) else False  # whether all further calls are dense, once known

    def say(self, text: str) -> None:
        """Something that the report is to tell, once."""
        if text:
            self.notes[text] = None

    @property
    def may_be_dense(self) -> bool:
        """Whether a dense call is planned."""
        return any(self.dense_steps) or (self.spot_check is not None and not self.stateful)

    def __deepcopy__(self, memo: Any) -> Run:
        """Options are copied by some nodes within a run; it is still this run."""
        return self

    @property
    def turn_count(self) -> int:
        """How many sets of tokens take turns."""
        return 1 + len(self.plan.later_turns)

    def call(self, executor: Callable[..., Tensor], call: Call) -> Tensor:
        """One model call: dense or as a strip, as the schedule says."""
        model, turn = getattr(executor, "class_obj", None) or executor.__self__, self._next_turn(call.options)  # type: ignore[attr-defined]
        layout = None if self._wants_dense(call.t) else self._layout_or_reason(model, call, turn)
        self._tell_caches(layout, call.options)
        mark = self.watch.start()
        out = None if layout is None else self._strip_or_reason(layout, executor, model, call)
        if layout is not None and out is None:
            mark = self.watch.start()
        strips: list[Tensor] = []
        if layout is not None and out is not None and self._is_due(call):
            strips, out = [out, *self._other_strip(executor, model, call, turn)], None
            self.watch.beside(mark)
            mark = self.watch.start()
        dense = out is None
        if out is None:
            if self.spared:
                make_room(model, call.x)
            out = call.execute(executor)
        if strips and self.spot_check is not None:
            self._check(self.spot_check, call, strips, out)
        self.watch.stop(mark, dense, call.shapes)
        self.seen.append((call.t, dense))
        if self.reason and self.on_reason is not None:
            tell, self.on_reason = self.on_reason, None
            tell(self.reason)
        return out

    def _is_due(self, call: Call) -> bool:
        """Whether this call, which was a strip's, is computed densely as well. Never where features may be kept."""
        keeps = self.stateful or "easycache" in call.options
        return self.spot_check is not None and not keeps and self.spot_check.due(call.t, self.sigmas)

    def _other_strip(self, executor: Callable[..., Tensor], model: Any, call: Call, turn: int) -> list[Tensor]:
        """The answer of the next turn's tokens, where there is another turn."""
        other = (turn + 1) % self.turn_count
        if other == turn:
            return []
        out = self._strip_or_reason(self._layouts(model, call)[other], executor, model, call)
        return [] if out is None else [out]

    def _check(self, check: SpotCheck, call: Call, strips: list[Tensor], dense: Tensor) -> None:
        """Compare the answers; the rest of the run is dense where strips do not stand for this picture."""
        if check.note(call.x, strips, dense, self.codec(call.x.device).edited):
            self.say(check.words())
        else:
            self.reason, self.given_up = Said("only {}, so the rest of this run is dense", check.words()), True

    def _next_turn(self, options: dict[str, Any]) -> int:
        """Which of the plan's turns a call takes: the next with each evaluation of the guider. Where features may be
        kept between steps, and beside EasyCache, which compares a call's input with that of the step before, always
        the first."""
        if self.stateful or "easycache" in options:
            return 0
        return max(self.evaluation, 0) % self.turn_count

    def _tell_caches(self, layout: Layout | None, options: dict[str, Any]) -> None:
        lengths = None if layout is None else [p.shape for p in layout.positions]
        if lengths != self.last and self.last != "none yet":
            reset_easycache(options)
        self.last = lengths

    def taken(self) -> list[bool]:
        """For each step that was made, whether a call of it ran dense. Waits for the GPU, so ask at the end."""
        steps: dict[int, bool] = {}
        for sigmas, dense in self.seen:
            step = step_of(float(sigmas.max()), self.sigmas)
            steps[step] = steps.get(step, False) or dense
        return list(steps.values())

    def _wants_dense(self, sigma: Tensor) -> bool:
        """Whether the schedule has a dense step here. Reading sigma makes the GPU wait, so only while it matters."""
        if self.given_up:
            return True
        if self.settled is not None:
            return self.settled
        step = step_of(float(sigma.max()), self.sigmas)
        if len(set(self.dense_steps[step:])) == 1:
            self.settled = self.dense_steps[step]
        return self.dense_steps[step]

    def codec(self, device: torch.device) -> Codec:
        """The run's tensors on a device."""
        with self.lock:
            if device not in self.codecs:
                self.codecs[device] = Codec(
                    self.source, self.plan, self.grid, self.noise, self.downsampled, self.coarse_references, device
                )
            return self.codecs[device]

    def _strip_or_reason(
        self, layout: Layout, executor: Callable[..., Tensor], model: Any, call: Call
    ) -> Tensor | None:
        """The model call as a strip; None, with the reason noted, where only the call tells that it cannot be."""
        try:
            return self._compressed(layout, executor, model, call)
        except DenseRun as refusal:
            self.reason, self.given_up = refusal.reason, True
        except FOREIGN_FAILURES as error:
            others = foreign(call.options)
            if out_of_memory(error) or not others or any(not dense for _, dense in self.seen):
                raise
            self.reason, self.given_up = Said(FEATURES["fails_on_strip"].text, others[0][0]), True
        return None

    def _compressed(self, layout: Layout, executor: Callable[..., Tensor], model: Any, call: Call) -> Tensor:
        codec, turn = self.codec(call.x.device), layout.turn
        strip = call._replace(
            x=codec.compress(call, model, turn),
            concat=codec.squeeze(call.concat, call.x, turn),
            control=codec.control(call.control, turn),
            options={},
            kwargs={name: self._squeeze_input(name, value, call.x, layout) for name, value in call.kwargs.items()},
        )
        inputs = Inputs(strip, read(call.options), layout.positions, layout.bias_on(call.x.device))

        def execute(inputs: Inputs, captured: bool) -> Tensor:
            return self._execute(inputs, layout, executor, model, unread() if captured else call.options)

        return codec.restore(self.graphs(executor, model, call, inputs, execute), turn)

    def _execute(
        self, inputs: Inputs, layout: Layout, executor: Callable[..., Tensor], model: Any, options: dict[str, Any]
    ) -> Tensor:
        """The model on a strip. options: the host's transformer_options, where those of `inputs` are not all."""
        previous, seen, attend = self.overrides.previous(options), list[int](), None
        options = {**options, **inputs.options}
        if inputs.bias:
            attend = biased_attention(inputs.bias, previous, self.overrides.around(previous))
            attend = options[OVERRIDE] = checked_attention(attend, layout.lengths, layout.least, seen)
        with replaying(inputs.positions) as left, overriding(attend):
            out = inputs.strip._replace(options=options).execute(executor)
        short = inputs.bias and not left and sum(keys in inputs.bias for keys in seen) < layout.seeing
        if short and not changes_blocks(model, options):
            raise DenseRun(FEATURES["foreign_attention"].text)
        return out

    def _squeeze_input(self, name: str, value: Any, x: Tensor, layout: Layout) -> Any:
        codec, turn = self.codec(x.device), layout.turn
        if name == "ref_latents" and value:
            return codec.references(value, x, turn, layout.source)
        if name == "denoise_mask":
            return codec.level_mask(value, x, turn)
        return codec.squeeze(value, x, turn)

    def _layout_or_reason(self, model: Any, call: Call, turn: int) -> Layout | None:
        """The layout of a compressed call; None, with the reason noted, when it has to be dense."""
        try:
            refuse(call, uncompiled(model.diffusion_model), self.family, self.grid, self.source.latent.shape[0])
            layout = self._layouts(model, call)[turn]
            self.say(self.overrides.check(layout, call.options))
        except DenseRun as refusal:
            self.reason = refusal.reason
            return None
        return layout

    def _layouts(self, model: Any, call: Call) -> list[Layout]:
        """Of all turns at once, so that no later step has to wait for it. DenseRun where there is none, which is found
        out once."""
        shapes = tuple((name, shape_of(value)) for name, value in sorted(call.kwargs.items()))
        key = (tuple(call.options.get("uuids") or ()), call.x.shape, shape_of(call.context), shapes)
        with self.lock:
            if key not in self.layouts:
                try:
                    self.layouts[key] = self._make_layouts(model, call)
                except DenseRun as refusal:
                    self.layouts[key] = refusal.reason
            found = self.layouts[key]
        if isinstance(found, str):
            raise DenseRun(found)
        return found

    def _make_layouts(self, model: Any, call: Call) -> list[Layout]:
        probe = find_layout(model, self.form, call)
        with recording(len(probe.asks)) as asked, eagerly():
            call._replace(control=None, options=quiet(call.options)).execute(model._apply_model)
        codec, latents = self.codec(call.x.device), call.kwargs.get("ref_latents") or ()
        source = None if self.whole_references else codec.find_source(latents, call.x)
        if source is not None and latents[source].shape[-2:] != call.x.shape[-2:]:
            self.say(SCALED)
        pictures = [codec.pictures(latents, call.x, turn, source, self.form.pads) for turn in range(self.turn_count)]
        bias = self.decided.preset.mass_bias
        return [make_layout(probe, asked, p, bias, source, turn) for turn, p in enumerate(pictures)]
