"""What a run did: counted and measured, never assumed.

Takes the times of model calls without making a GPU wait, gives one summary at the end of a run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from ..hilo_core.auto import Setting


@dataclass(frozen=True)
class RunReport:
    """The summary of one sampling run. One figure says what it gained: `seconds` instead of `instead_of`."""

    reason: str = ""  # why the run was dense; empty when it was compressed
    dense_steps: int = 0
    compressed_steps: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # tokens by kind
    kept: int = 0  # tokens of the strip
    total: int = 0  # tokens of the dense grid
    dense_seconds: float | None = None  # of one dense model call, warm: of this run or of one before; None: not known
    compressed_seconds: float | None = None  # median of one compressed model call
    seconds: float | None = None  # of the run's model calls
    instead_of: float | None = None  # of the same calls, all dense
    speedup: float | None = None  # of the run's model calls: instead_of / seconds
    predicted: bool = False  # no dense call is known to compare with: `instead_of` comes from the cost model
    model_speedup: float | None = None  # what the cost model alone says
    notes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()  # what else was on the model
    setting: Setting | None = None  # what the run was, where it was compressed
    agreement: float | None = None  # of the strip's answer with the dense one at the step that was checked, 0 to 1
    shared_error: float | None = None  # there, of two strips' mean over their difference (`spot_check`)

    def gain(self) -> str:
        """The figure in words; empty where there is none."""
        if self.seconds is None or self.instead_of is None or self.speedup is None:
            return ""
        about, known = ("about ", " (predicted)") if self.predicted else ("", "")
        before = f"{about}{in_words(self.instead_of)}"
        return f"{in_words(self.seconds)} instead of {before}, {about}{times(self.speedup)} faster{known}"

    def share(self) -> float:
        """What part of the picture's tokens is computed, 0 to 1."""
        return self.kept / self.total if self.total else 1.0

    def line(self) -> str:
        """One line for the log and the node."""
        beside = [f"also on the model: {', '.join(self.others)}"] if self.others else []
        if self.reason:
            return "; ".join([f"dense run: {self.reason}", *beside])
        kinds = ", ".join(f"{name} {number}" for name, number in self.counts.items())
        parts = [self.gain()] if self.gain() else []
        parts.append(f"{self.dense_steps} dense + {self.compressed_steps} compressed steps")
        parts.append(f"{self.share():.0%} of the picture computed: {self.kept} of {self.total} tokens ({kinds})")
        if self.dense_seconds is not None:
            parts.append(f"{self.dense_seconds:.3f} s per dense step")
        if self.compressed_seconds is not None:
            parts.append(f"{self.compressed_seconds:.3f} s per compressed step")
        return "; ".join([*parts, *self.notes, *beside])


def in_words(seconds: float) -> str:
    """A time as one says it: 0.04 s, 1.3 s, 15 s, 4 min."""
    if seconds >= 180:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds:.2f} s"


def times(speedup: float) -> str:
    """A speed-up as one says it: 1.8x, 11x."""
    return f"{speedup:.0f}x" if speedup >= 9.95 else f"{speedup:.1f}x"


class Stopwatch:
    """Times model calls without making the GPU wait: CUDA events there, the clock elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._spans: dict[bool, list[tuple[Any, Any, Any]]] = {True: [], False: []}
        self._beside: list[tuple[Any, Any]] = []

    def start(self) -> Any:
        """The mark that `stop` wants."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            return event
        return time.perf_counter()

    def stop(self, mark: Any, dense: bool, shapes: Any = ()) -> None:
        """Note the time since `mark` as that of one dense or compressed call. shapes: of what the call was given."""
        self._spans[dense].append((shapes, mark, self.start()))

    def beside(self, mark: Any) -> None:
        """Note the time since `mark` as spent on a check, for which a run without it has no counterpart."""
        self._beside.append((mark, self.start()))

    def beside_seconds(self) -> float:
        """Seconds of all checks; waits for the GPU, so ask at the end of the run."""
        return sum(self._length(start, stop) for start, stop in self._beside)

    def _length(self, start: Any, stop: Any) -> float:
        if not self._cuda:
            return float(stop - start)
        stop.synchronize()  # on each device that computed
        return float(start.elapsed_time(stop)) / 1000

    def by_shapes(self, dense: bool) -> dict[Any, list[float]]:
        """Seconds of each call, in their order; waits for the GPU, so ask at the end of the run."""
        found: dict[Any, list[float]] = {}
        for shapes, start, stop in self._spans[dense]:
            found.setdefault(shapes, []).append(self._length(start, stop))
        return found

    def seconds(self, dense: bool) -> float | None:
        """Median time of one call; waits for the GPU, so ask at the end of the run."""
        spans = [seconds for one in self.by_shapes(dense).values() for seconds in one]
        return float(median(spans)) if spans else None
