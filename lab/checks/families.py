"""Each family of the table against the reference of the tests, on the host at hand: `python -m lab.checks.families`.

A small random model of each, in a few cases: compressed steps are the dense steps with fewer keys. The largest
difference is stored under the host's version in `lab/results/families.json`, from which the README's table says where
each row was run. `--alone` stores it as the proof of classes that were laid into another host.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from tools import host

host.prepare()
_log = logging.getLogger(__name__)
CASES: tuple[dict[str, Any], ...] = ({"cfg": 3.0, "text": (7, 14)}, {"batch": 2, "odd": True, "text": (23, 23)})
WITH_REFERENCES: dict[str, Any] = {"references": (None, (6, 7)), "text": (23, 23)}
TOLERANCE = 1e-5  # of the output's size


def check(small: Any, cases: Sequence[dict[str, Any]]) -> tuple[int, float, list[str]]:
    """Cases, largest difference and faults of one small model."""
    from tests.host.reference import compare

    results = [compare(small, **case) for case in cases]
    return len(cases), max(result.difference for result in results), [f for r in results for f in r.faults(TOLERANCE)]


def rows_of(smalls: Iterable[Any], cases: Callable[[Any], Sequence[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """What is stored of small models, by family. cases: of one model. Ends the program where one has a fault."""
    rows: dict[str, dict[str, Any]] = {}
    for small in smalls:
        count, difference, faults = check(small, cases(small))
        _log.info("%-22s %-16s %.1e %s", small.family, small.build.__name__, difference, "; ".join(faults))
        if faults:
            raise SystemExit(1)
        row = rows.setdefault(small.family, {"models": [], "cases": 0, "difference": 0.0})
        row["models"].append(small.build.__name__)
        row |= {"cases": row["cases"] + count, "difference": max(row["difference"], float(f"{difference:.1e}"))}
    return rows


def keep(name: str, version: str, facts: dict[str, Any]) -> None:
    """Store what was found on a host of this version in `lab/results/<name>.json`, beside that of others."""
    path = host.ROOT / "lab" / "results" / f"{name}.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"hosts": {}}
    stored["hosts"][version] = {**facts, "device": host.describe(), "commit": host.commit()}
    host.store(name, stored)


def main() -> None:
    """Runs and stores all."""
    import comfyui_version

    from tests.host.models import SMALL

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alone", default="", help="the version of the host that the class comes from")
    parser.add_argument("--only", nargs="*", default=[], help="names of families")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    _log.setLevel(logging.INFO)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    smalls = [small for small in SMALL if not chosen.only or small.family in chosen.only]
    rows = rows_of(smalls, lambda small: (*CASES, *([WITH_REFERENCES] if small.references else [])))
    version = chosen.alone or comfyui_version.__version__
    command = " ".join(["python -m lab.checks.families", *(["--alone", version] if chosen.alone else [])])
    proof = "class alone" if chosen.alone else "whole host"
    keep("families", version, {"proof": proof, "command": command, "families": rows})


if __name__ == "__main__":
    main()
