"""A long life of one server: random prompts, cancels and requests for memory, and after each a probe that must equal,
bit by bit, what the server gave when it was fresh. `python -m lab.checks.soak --rounds 200`; the same seed draws the
same prompts.

The prompts are those of `tests/workflows/test_random_prompts.py` (HILO_SEED), with host nodes before and after the
patch. Ends with 1 when a probe differs, with the round; a prompt that fails with the patch only ends it at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import threading
import urllib.request
from typing import Any

import torch
from torch import Tensor

from tools.server import ComfyServer, ServerError

PROBES = {"off": {}, "balanced": {}, "paper": {}, "balanced, planned": {"planned": True}}
_log = logging.getLogger(__name__)


def post(server: ComfyServer, path: str, **body: Any) -> None:
    """POST without an answer of interest."""
    wanted = urllib.request.Request(
        f"{server.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(wanted, timeout=60).close()


def probe(server: ComfyServer, name: str, number: int) -> Tensor:
    """The latent of one fixed prompt; number: a folder of its own, so that nothing comes from the output cache."""
    from tests.workflows.graphs import Box, graph, latent, with_defaults

    chosen = {**PROBES[name], "preset": name.split(",")[0], "steps": 2, "seed": 11, "folder": f"soak/{number}"}
    prompt = graph(192, 160, (Box(48, 48, 64, 48),), **chosen)
    found: Tensor = latent(server, server.queue(with_defaults(prompt, server.object_info())), "out")
    return found


def disturb(server: ComfyServer, number: int, dice: random.Random) -> str:
    """One random prompt, perhaps cancelled on its way, perhaps with the host's memory asked back; a word for it."""
    from tests.workflows.graphs import graph, with_defaults
    from tests.workflows.test_random_prompts import drawn, without_hilo

    chosen, what = drawn(number), "ran"
    timer = threading.Timer(dice.uniform(0.05, 0.6), post, (server, "/interrupt"))
    if dice.random() < 0.2:
        what = "cancelled"
        timer.start()
    try:
        server.queue(with_defaults(graph(**chosen), server.object_info()))
    except ServerError as failure:
        if without_hilo(server, chosen) != str(failure):
            raise
        what = "failed as the host alone"
    finally:
        timer.join() if what == "cancelled" else timer.cancel()
    if dice.random() < 0.1:
        post(server, "/free", unload_models=True, free_memory=True)
        what += ", freed"
    return what


def main() -> int:
    """Soak; 0 when every probe is as it was on the fresh server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    dice, counts = random.Random(options.seed), dict[str, int]()
    with ComfyServer() as server:
        wanted = {name: probe(server, name, 0) for name in PROBES}
        for number in range(1, options.rounds + 1):
            what, name = disturb(server, number, dice), dice.choice(list(PROBES))
            counts[what] = counts.get(what, 0) + 1
            if not torch.equal(probe(server, name, number), wanted[name]):
                _log.error("round %d (%s): the probe '%s' differs from the fresh server's", number, what, name)
                return 1
    _log.info("%d rounds, every probe as at first: %s", options.rounds, counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
