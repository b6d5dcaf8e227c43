"""What a run gained, in seconds: against dense calls of the same model and size, timed in it or in a run before.

Where none was, the cost model says about how long they would have taken, and the report says that it does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from ..hilo_core.cost import ModelShape, run_speedup
from .known import note_gain
from .run import Run
from .run_report import RunReport, Stopwatch

LEAST_CALLS = 3  # compressed ones of a run that tell how long one takes
MOST_SHAPES = 64  # of calls, whose dense time is remembered for each model


class DenseTimes:
    """Seconds of a dense model call, by model and shapes, since the host started. Models are held weakly, and of each
    the last `MOST_SHAPES` shapes are kept. The first call of a shape is cold and does not count."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: WeakKeyDictionary[Any, OrderedDict[Any, float | None]] = WeakKeyDictionary()

    def learn(self, model: Any, shapes: Any, seconds: list[float]) -> None:
        """Note the dense calls of one run, in their order."""
        with self._lock:
            known = self._known.setdefault(model, OrderedDict())
            warm = seconds if shapes in known else seconds[1:]
            known[shapes] = median(warm) if warm else known.get(shapes)
            known.move_to_end(shapes)
            while len(known) > MOST_SHAPES:
                known.popitem(last=False)

    def find(self, model: Any, shapes: Any) -> float | None:
        """Seconds of one dense call; None if none was warm."""
        with self._lock:
            return self._known.get(model, OrderedDict()).get(shapes)


@dataclass(frozen=True)
class Gain:
    """The times of one run, with those of dense calls that were learned in this run or before."""

    dense_seconds: float | None
    compressed_seconds: float | None
    seconds: float
    instead_of: float
    predicted: bool

    @classmethod
    def of(cls, watch: Stopwatch, known: Callable[[Any], float | None], step: float) -> Gain:
        """known: seconds of a dense call of some shapes. step: predicted speed-up of a compressed call."""
        dense, compressed = watch.by_shapes(dense=True), watch.by_shapes(dense=False)
        found = {shapes: known(shapes) for shapes in {*dense, *compressed}}
        seconds, instead_of = watch.beside_seconds(), 0.0
        predicted = any(found[shapes] is None for shapes in compressed)
        for shapes, spans in compressed.items():
            now, before = median(spans), found[shapes]
            seconds += len(spans) * now
            instead_of += len(spans) * (now * step if predicted or before is None else before)
        for shapes, spans in dense.items():
            one = found[shapes]
            seconds += len(spans) * (median(spans) if one is None else one)
            instead_of += len(spans) * (median(spans) if one is None else one)
        each = [one for shapes in compressed if (one := found[shapes]) is not None]
        return cls(
            None if predicted or not each else float(median(each)),
            watch.seconds(dense=False),
            seconds,
            instead_of,
            predicted,
        )


_dense = DenseTimes()


def learn(model: Any, watch: Stopwatch, beside: tuple[str, ...]) -> None:
    """Remember the dense calls of a run. model: the host's BaseModel. beside: what else was on it, which costs time."""
    for shapes, seconds in watch.by_shapes(dense=True).items():
        _dense.learn(model, (shapes, beside), seconds)


def report_of(run: Run, model: Any, beside: tuple[str, ...]) -> RunReport:
    """The report of a run that has ended; see `learn`."""
    plan, taken = run.plan, run.taken() if run.seen else []
    learn(model, run.watch, beside)
    if run.watch.seconds(dense=False) is None:
        reason = run.reason or "the schedule has no compressed step"
        return RunReport(reason=reason, dense_steps=len(taken), others=beside)
    step = ModelShape(run.hidden).speedup(plan.count, plan.total)
    gain = Gain.of(run.watch, lambda shapes: _dense.find(model, (shapes, beside)), step)
    if gain.dense_seconds and gain.compressed_seconds and taken.count(False) >= LEAST_CALLS:
        note_gain(model, plan.count, plan.total, gain.dense_seconds / gain.compressed_seconds)
    return RunReport(
        dense_steps=sum(taken),
        compressed_steps=len(taken) - sum(taken),
        counts=plan.counts(),
        kept=plan.count,
        total=plan.total,
        dense_seconds=gain.dense_seconds,
        compressed_seconds=gain.compressed_seconds,
        seconds=gain.seconds,
        instead_of=gain.instead_of,
        speedup=gain.instead_of / gain.seconds if gain.seconds > 0 else None,
        predicted=gain.predicted,
        model_speedup=run_speedup(taken, step),
        notes=tuple(text for text in (run.decided.why, plan.note, *run.notes, run.graphs.line(), run.reason) if text),
        others=beside,
        setting=run.decided.setting,
        agreement=None if run.spot_check is None else run.spot_check.agreement,
        shared_error=None if run.spot_check is None else run.spot_check.shared,
    )
