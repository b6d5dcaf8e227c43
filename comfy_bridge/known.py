"""What is known of a model on this machine: its comparisons with dense, in one small file of the host's user folder.

Figures only: no picture, no prompt, no name of a file. Whatever is wrong with the file, it counts as empty, and the log
says so once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

import folder_paths
from torch import Tensor

from ..hilo_core.auto import Choice, Setting, Trial, choose
from .families import class_path
from .neighbours import uncompiled

FILE = "hilo_token_comparisons.json"
MOST_MODELS, MOST_TRIALS, MOST_BYTES = 64, 96, 4_000_000
SAMPLES = 8  # weights that tell a model from another of its shape ...
VALUES = 64  # ... by so many of their values
Known = dict[str, list[Trial]]  # by the model's identity, the one compared last at the end

_log = logging.getLogger("hilo-token")


def identity(patcher: Any) -> str:
    """The same for the same weights in every session, and another for any others; of LoRAs layers and strengths count.

    patcher: the host's ModelPatcher. Weights of one dimension are looked at, which hosts neither quantise nor, without
    a LoRA on them, change in place.
    """
    network, changed = uncompiled(patcher.get_model_object("diffusion_model")), patcher.patches
    digest, small = hashlib.sha256(class_path(network).encode()), []
    for name, value in network.named_parameters():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        if value.ndim == 1 and f"diffusion_model.{name}" not in changed and not value.is_meta:
            small.append(value)
    for value in small[:: max(1, len(small) // SAMPLES)]:
        digest.update(value.detach()[:VALUES].float().cpu().numpy().tobytes())
    for name in sorted(changed):
        digest.update(f"{name}{[round(float(one[0]), 4) for one in changed[name]]}".encode())
    return digest.hexdigest()[:16]


def fingerprint(*tensors: Tensor) -> str:
    """Tells pictures apart, and nothing of them."""
    digest = hashlib.sha256()
    for one in tensors:
        digest.update(one.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


class Comparisons:
    """The file, read when it has changed and replaced as a whole."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._stamp: Any = "not read yet"
        self._known: Known = {}

    @property
    def path(self) -> Path:
        """Where the host keeps what is its user's."""
        return Path(folder_paths.get_user_directory()) / FILE

    def stamp(self) -> tuple[str, int, int] | None:
        """Another one after each change of the file; None where there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return str(self.path), found.st_mtime_ns, found.st_size

    def decide(self, model: str, setting: Setting) -> Choice:
        """What a run of that model takes. model: its `identity`; empty where it is not known."""
        with self._lock:
            return choose(self._read().get(model, []), setting)

    def remember(self, model: str, trials: Sequence[Trial]) -> None:
        """Add comparisons; of one preset on one picture in one setting the last counts."""
        with self._lock:
            known = dict(self._read())
            new = {(one.preset, one.picture, one.setting) for one in trials}
            kept = [one for one in known.pop(model, []) if (one.preset, one.picture, one.setting) not in new]
            known[model] = [*kept, *trials][-MOST_TRIALS:]
            text = json.dumps({name: [asdict(one) for one in known[name]] for name in list(known)[-MOST_MODELS:]})
            new_file = self.path.with_suffix(".new")
            try:
                new_file.write_text(text, encoding="utf-8")
                os.replace(new_file, self.path)
            except OSError as error:
                _log.warning("HiLo-Token: the comparison could not be kept for auto: %s", error)

    def _read(self) -> Known:
        stamp = self.stamp()
        if stamp != self._stamp:
            self._stamp, self._known = stamp, {}
            try:
                if stamp is not None:
                    self._known = _parsed(self.path, stamp[-1])
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                _log.warning("HiLo-Token: %s cannot be read (%s); auto starts anew.", FILE, error)
        return self._known


comparisons = Comparisons()
_gains: WeakKeyDictionary[Any, dict[tuple[int, int], float]] = WeakKeyDictionary()


def note_gain(model: Any, count: int, total: int, times: float) -> None:
    """A step of so many of all tokens was so many times as fast as a dense one. model: the host's BaseModel."""
    _gains.setdefault(model, {})[count, total] = times


def gain_of(model: Any, count: int, total: int) -> float | None:
    """How many times as fast such a step was when it was last measured since the host started; None: it was not."""
    return _gains.get(model, {}).get((count, total))


def _parsed(path: Path, size: int) -> Known:
    if size > MOST_BYTES:
        raise ValueError(f"it has {size} bytes")
    found = json.loads(path.read_text(encoding="utf-8"))
    return {name: [_trial(one) for one in trials] for name, trials in found.items()}


def _trial(one: dict[str, Any]) -> Trial:
    where, speedup = one["setting"], one["speedup"]
    setting = Setting(float(where["share"]), int(where["total"]), int(where["steps"]), str(where["sampler"]))
    psnr, speedup = float(one["psnr"]), None if speedup is None else float(speedup)
    return Trial(str(one["preset"]), str(one["picture"]), setting, psnr, str(one["fault"]), speedup)
