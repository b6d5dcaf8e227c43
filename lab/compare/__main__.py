"""`python -m lab.compare`: judge HiLo-Token on your own model, workflow and pictures, through a running ComfyUI."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
from pathlib import Path
from typing import Any

from hilo_token.hilo_core import HiLoError
from hilo_token.hilo_core.presets import PRESETS

from tools import host
from tools.server import ServerError

from .graph import check, models
from .report import measured, write
from .runs import Remote, Runs, pairs


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--masks", type=Path, required=True, help="folder of masks, white where a picture is to change")
    parser.add_argument("--workflow", type=Path, required=True, help="in API form, with HiLo Model Patch in it")
    parser.add_argument("--server", default="http://127.0.0.1:8188", help="a running ComfyUI with HiLo-Token")
    parser.add_argument("--presets", nargs="+", default=["fast", "balanced", "quality"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument(
        "--out", type=Path, default=Path("compare"), help="folder of the report; what is in it is not run again"
    )
    parser.add_argument("--measured", type=Path, help="file for the figures alone, to pass them on")
    for node in ("picture", "mask", "sampler"):
        parser.add_argument(f"--{node}-node", default="", help=f"id of the {node}'s node, where there are several")
    return parser.parse_args()


def facts(server: Remote, prompt: dict[str, Any], command: str) -> dict[str, Any]:
    """What the figures were made with."""
    stats = server.get("/system_stats")
    system = stats["system"]
    return {
        "command": command,
        "models": ", ".join(models(prompt)),
        "host": f"ComfyUI {system.get('comfyui_version', '')}, torch {system.get('pytorch_version', '')}",
        "device": ", ".join(one["name"] for one in stats["devices"]),
        "commit": host.commit(),
    }


def compare(asked: argparse.Namespace) -> dict[str, Any]:
    """Run what is not done yet and write the report."""
    wrong = [name for name in asked.presets if name not in PRESETS or PRESETS[name].off]
    if wrong:
        raise HiLoError(f"'{wrong[0]}' is no preset to compare.")
    prompt, found = check(json.loads(asked.workflow.read_text(encoding="utf-8"))), pairs(asked.pictures, asked.masks)
    nodes = {name: value for name in ("picture", "mask", "sampler") if (value := getattr(asked, f"{name}_node"))}
    server = Remote(asked.server)
    runs = Runs(server, prompt, asked.out, asked.presets, asked.seeds, nodes)
    about = facts(server, prompt, "python -m lab.compare")
    for number, (name, picture, mask) in enumerate(found, 1):
        sys.stdout.write(f"{number} of {len(found)}: {name}\n")
        sys.stdout.flush()
        runs.one_picture(name, picture, mask)
        report = write(runs, about)
    if asked.measured:
        measured(report, asked.measured)
    return report


def main() -> int:
    """1 with one sentence where something is wrong."""
    try:
        compare(options())
    except (HiLoError, ServerError, urllib.error.URLError, json.JSONDecodeError, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
