"""`make bench`: speed-up of the default settings on the demo model, whole runs of 8 steps at 1024x1024 px.

Dense and compressed runs alternate, at least seven pairs for each mask ratio, in the processor time of this process, so
that other work on the machine counts little; where the pairs disagree by more than a tenth, no figure is given. The
last line is JSON. Only ratios of one run mean anything on a CPU.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from hilo_token.demo import model as demo_model

from lab.data import masks
from tools import host

RATIOS = (6.38, 15.92, 35.36)  # mean mask ratios of the paper, in percent
SIDE, STEPS = 1024, 8
PAIRS, MOST_PAIRS, SPREAD = 7, 21, 0.1  # pairs at least and at most; spread above which a figure is refused


def mask_of(ratio: float, seed: int, side: int = SIDE) -> torch.Tensor:
    """(1, 1, side, side) nearest to the ratio, in percent, of 40 drawn at a quarter of the size; boxes, strokes and
    objects in turn."""
    kind, small = masks.KINDS[seed % len(masks.KINDS)], side // 4
    drawn = (masks.draw(np.random.default_rng((seed, k)), small, small, ratio / 100, kind) for k in range(40))
    nearest = min(drawn, key=lambda mask: abs(100 * mask.mean() - ratio))
    return torch.from_numpy(nearest.repeat(4, 0).repeat(4, 1))[None, None].float()


def once(model: object, mask: torch.Tensor, latent: torch.Tensor, steps: int = STEPS) -> float:
    """Seconds that the processor worked on one run through the host's sampler, all threads together."""
    import comfy.sample

    conditioning = demo_model.empty_conditioning()
    conditioning[0][1].update(concat_latent_image=latent, concat_mask=mask)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    start = time.process_time()
    comfy.sample.sample(
        model, noise, steps, 1.0, "euler", "simple", conditioning, conditioning, latent,
        noise_mask=mask, seed=0, disable_pbar=True,
    )  # fmt: skip
    return time.process_time() - start


def spread(ratios: list[float]) -> float:
    """How far the middle half of the values lies apart, as a share of their median."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    return (high - low) / middle


def paired(dense: Callable[[], float], compressed: Callable[[], float]) -> tuple[list[float], bool]:
    """(dense / compressed of each pair, whether they agree). Pairs are added until they do, or there are too many."""
    ratios: list[float] = []
    while len(ratios) < PAIRS or (spread(ratios) > SPREAD and len(ratios) < MOST_PAIRS):
        if len(ratios) % 2:
            second = compressed()
            first = dense()
        else:
            first = dense()
            second = compressed()
        ratios.append(first / second)
    return ratios, spread(ratios) <= SPREAD


def planning(side: int) -> float:
    """Median seconds of planning a picture, one thread: scores from pixels, tokens, cells."""
    from hilo_token.hilo_core.frequency import detail, luma
    from hilo_token.hilo_core.mask import mask_to_tokens
    from hilo_token.hilo_core.plan import make_plan
    from hilo_token.hilo_core.presets import preset

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    picture, mask, tokens = torch.rand(1, side, side, 3), mask_of(6.38, 0, side)[0], side // 16
    times = []
    for _ in range(5):
        start = time.perf_counter()
        found = detail(luma(picture), tokens, tokens)
        make_plan(mask_to_tokens(mask, tokens, tokens, 16), found, preset("balanced").tokens)
        times.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return statistics.median(times)


def preview(side: int) -> float:
    """The slowest of the live map's answers for a picture that it knows, over several settings: seconds, each the
    median of five."""
    from hilo_token.hilo_core.mask import mask_to_tokens

    from tools.pack import load_pack

    sources, route = load_pack("nodes.preview.sources"), load_pack("nodes.preview.route")
    schema = load_pack("nodes.token_select").HiLoTokenSelect.define_schema()
    tokens, slowest = side // 16, 0.0
    settings = [{"preset": name} for name in ("balanced", "quality", "fast", "paper")]
    settings += [{"preset": "balanced", "budget": 4000}, {"preset": "balanced", "speedup": 4.0}]
    for ratio in RATIOS:
        edit = mask_to_tokens(mask_of(ratio, 0, side)[0], tokens, tokens, 16)
        key = sources.remember(torch.rand(1, side, side, 3), edit, sources.ModelShape())
        for values in settings:
            times = []
            for _ in range(6):  # the first one scores the picture
                start = time.perf_counter()
                route.preview({"key": key, "values": values}, schema)
                times.append(time.perf_counter() - start)
            slowest = max(slowest, statistics.median(times[1:]))
    return slowest


def main() -> None:
    """Measure, print, store."""
    host.prepare()
    logging.getLogger().setLevel(logging.WARNING)
    torch.set_grad_enabled(False)
    from hilo_token.comfy_bridge.patch import Patch, patch_model
    from hilo_token.hilo_core.presets import preset

    model = demo_model.load()
    patched = patch_model(model, Patch(preset("balanced")))
    latent = torch.randn(1, 16, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(1))
    once(model, mask_of(RATIOS[0], 0), latent, steps=1)
    found, spreads, refused = dict[str, float](), dict[str, float](), list[str]()
    for ratio in RATIOS:
        mask = mask_of(ratio, 0)
        pairs, agree = paired(partial(once, model, mask, latent), partial(once, patched, mask, latent))
        line = f"{ratio} %: {len(pairs)} pairs, spread {100 * spread(pairs):.1f} %"
        if agree:
            found[str(ratio)], spreads[str(ratio)] = round(statistics.median(pairs), 2), round(spread(pairs), 3)
            line += f", {found[str(ratio)]:.2f}x"
        else:
            refused.append(str(ratio))
            line += f": more than {100 * SPREAD:.0f} %, so no figure; try again when the machine has less to do"
        sys.stdout.write(line + "\n")
    plan_ms = {str(side): round(1000 * planning(side), 1) for side in (1024, 2048, 4096)}
    map_ms = {str(side): round(1000 * preview(side), 1) for side in (1024, 2048, 4096)}
    sys.stdout.write(f"planning, ms on one core: {json.dumps(plan_ms)}; slowest live map, ms: {json.dumps(map_ms)}\n")
    facts = {
        "command": "make bench",
        "device": host.describe(),
        "commit": host.commit(),
        "steps": STEPS,
        "preset": "balanced",
        "speedup": {str(SIDE): found},
        "spread": {str(SIDE): spreads},
        "planning_ms": plan_ms,
        "preview_ms": map_ms,
    }
    if refused:
        sys.stdout.write("Nothing is stored.\n")
    else:
        host.store("bench_cpu", facts)
    sys.stdout.write(json.dumps({str(SIDE): found}) + "\n")


if __name__ == "__main__":
    main()
