"""Clips of each model whose clips are compressed, on the host at hand: `python -m lab.checks.clips`.

As `lab.checks.families` does it for pictures, with a mask that appears, moves and vanishes; the largest difference is
stored under the host's version in `lab/results/clips.json`.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from .families import keep, rows_of

CASES: tuple[dict[str, Any], ...] = (
    {"frames": 5, "cfg": 3.0, "text": (7, 14)},
    {"frames": 6, "batch": 2, "odd": True, "text": (23, 23), "size": (12, 16)},
)


def main() -> None:
    """Runs and stores all."""
    import comfyui_version

    from tests.host.models import CLIPS

    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    logging.getLogger(rows_of.__module__).setLevel(logging.INFO)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    rows = rows_of(CLIPS, lambda small: CASES)
    keep("clips", comfyui_version.__version__, {"command": "python -m lab.checks.clips", "families": rows})


if __name__ == "__main__":
    main()
