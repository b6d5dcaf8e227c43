"""What a run did: counted and measured, never assumed.

Takes the times of model calls without making a GPU wait, gives one summary at the end of a run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class RunReport:
    """The summary of one sampling run."""

    reason: str = ""  # why the run was dense; empty when it was compressed
    dense_steps: int = 0
    compressed_steps: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # tokens by kind
    kept: int = 0  # tokens of the strip
    total: int = 0  # tokens of the dense grid
    dense_seconds: float | None = None  # median of one dense model call
    compressed_seconds: float | None = None
    speedup: float | None = None  # of the run's model time
    predicted: bool = False  # no dense call was there to compare with: the cost model's figure
    note: str = ""
    others: tuple[str, ...] = ()  # what else was on the model

    def line(self) -> str:
        """One line for the log and the node."""
        beside = [f"also on the model: {', '.join(self.others)}"] if self.others else []
        if self.reason:
            return "; ".join([f"dense run: {self.reason}", *beside])
        kinds = ", ".join(f"{name} {number}" for name, number in self.counts.items())
        parts = [f"{self.dense_steps} dense + {self.compressed_steps} compressed steps"]
        parts.append(f"{self.kept} of {self.total} tokens ({kinds})")
        if self.dense_seconds is not None:
            parts.append(f"{self.dense_seconds:.3f} s per dense step")
        if self.compressed_seconds is not None:
            parts.append(f"{self.compressed_seconds:.3f} s per compressed step")
        if self.speedup is not None:
            parts.append(f"{'predicted ' if self.predicted else ''}{self.speedup:.2f}x for the run")
        return "; ".join(parts + ([self.note] if self.note else []) + beside)


class Stopwatch:
    """Times model calls without making the GPU wait: CUDA events there, the clock elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._spans: dict[bool, list[tuple[Any, Any]]] = {True: [], False: []}

    def start(self) -> Any:
        """The mark that `stop` wants."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            return event
        return time.perf_counter()

    def stop(self, mark: Any, dense: bool) -> None:
        """Note the time since `mark` as that of one dense or compressed call."""
        self._spans[dense].append((mark, self.start()))

    def seconds(self, dense: bool) -> float | None:
        """Median time of one call; waits for the GPU, so ask at the end of the run."""
        spans = self._spans[dense]
        if not spans:
            return None
        if self._cuda:
            for _, stop in spans:  # on each device that computed
                stop.synchronize()
            return float(median(start.elapsed_time(stop) for start, stop in spans)) / 1000
        return float(median(stop - start for start, stop in spans))
