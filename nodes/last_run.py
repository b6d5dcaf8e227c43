"""What the last run of each patched model did, for HiLo Report, and the seconds that a day's runs have saved."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from comfy.patcher_extension import WrappersMP

from ..comfy_bridge.call import KEY
from ..comfy_bridge.run_report import RunReport


@dataclass
class LastRun:
    """The report of the last run of one patched model."""

    report: RunReport | None = None


class Saved:
    """Seconds that the runs since the server started have saved today; a new day starts at nothing."""

    def __init__(self) -> None:
        self._lock, self._day, self._seconds = Lock(), "", 0.0

    def add(self, report: RunReport) -> float:
        """Seconds of today with this run's, whose own are none where it was dense."""
        day = time.strftime("%Y-%m-%d")
        with self._lock:
            if day != self._day:
                self._day, self._seconds = day, 0.0
            if report.seconds is not None and report.instead_of is not None:
                self._seconds += max(report.instead_of - report.seconds, 0.0)
            return self._seconds


saved_today = Saved()
_runs: WeakKeyDictionary[Any, LastRun] = WeakKeyDictionary()  # by the patch's wrapper, which clones of the model share


def keep_report(model: Any, run: LastRun) -> None:
    """Note where the runs of a patched model are reported."""
    for wrapper in model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY):
        _runs[wrapper] = run


def last_report(model: Any) -> RunReport | None:
    """The report of the last run of a model, or of a clone of it."""
    runs = [_runs[w] for w in model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY) if w in _runs]
    return runs[-1].report if runs else None
