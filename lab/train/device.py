"""Where a script of the lab runs."""

from __future__ import annotations

import argparse

import torch


def add_argument(parser: argparse.ArgumentParser) -> None:
    """The --device option."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def pick(name: str) -> torch.device:
    """The device of this name; 'auto' is a GPU if there is one."""
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(automatic if name == "auto" else name)
