"""Random prompts through the real server and its executor: sizes, masks, batches, presets, samplers, conditionings,
other nodes before and after the patch.

24 prompts, always the same; HILO_FUZZ=2000 runs so many, from the seed that it prints; HILO_SEED=N runs those of N.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter

import pytest
from hilo_token.hilo_core.presets import PRESETS

from tools.server import ServerError

from .graphs import Box, graph, latent, lines, pictures, with_defaults

CASES = int(os.environ.get("HILO_FUZZ", "24"))
SEED = int(os.environ.get("HILO_SEED", random.randrange(10**6) if "HILO_FUZZ" in os.environ else 1))
OTHERS = (
    "DifferentialDiffusion", "RescaleCFG", "CFGZeroStar", "CFGNorm", "RenormCFG", "TCFG", "APG", "Mahiro",
    "FreSca", "ModelSamplingFlux", "ModelSamplingSD3", "ModelSamplingAuraFlow", "ScaleROPE",
    "EasyCache", "LazyCache", "SkipLayerGuidanceDiT", "PerturbedAttentionGuidance",
)  # fmt: skip
SAMPLERS = (
    "euler", "euler_ancestral", "heun", "dpm_2_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "res_multistep",
    "res_multistep_ancestral", "gradient_estimation", "er_sde", "sa_solver", "seeds_2", "uni_pc", "lcm", "ddim", "deis",
)  # fmt: skip
SCHEDULERS = ("simple", "normal", "beta", "sgm_uniform", "karras", "kl_optimal", "linear_quadratic")
EXPLAINED = {
    "nothing is painted yet": lambda chosen: True,
    "there is nothing to save": lambda chosen: True,
    "the schedule has no compressed step": lambda chosen: chosen["preset"] != "fast" or chosen["hilo"],
    "area conditioning crops the latent": lambda chosen: chosen["conds"] == "area",
}  # each reason, and when it may be given


def drawn(number):
    """The settings of one random prompt."""
    dice = random.Random(SEED * 100003 + number)
    width, height = (8 * round(12 * 3.5 ** dice.random()) for _ in range(2))  # 96 to 336 px
    boxes = []
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        left, top = dice.randrange(width), dice.randrange(height)
        across, down = dice.randrange(4, width // 4), dice.randrange(4, height // 4)
        boxes.append(Box(left, top, min(across, width - left), min(down, height - top), dice.choice([1.0, 1.0, 0.5])))
    others = dice.sample(OTHERS, dice.choice([0, 1, 1, 2, 3]))
    if {"EasyCache", "LazyCache"} <= set(others):  # the host itself fails with both
        others.remove("LazyCache")
    cut = dice.randrange(len(others) + 1)
    return {
        "folder": f"fuzz/{number}",
        "width": width,
        "height": height,
        "boxes": tuple(boxes),
        "preset": dice.choice([*PRESETS, "balanced", "fast"] if number % 8 < 7 else ["off"]),
        "before": tuple(others[:cut]),
        "after": tuple(others[cut:]),
        "planned": dice.random() < 0.3,
        "dilated": dice.choice([0, 0, 0, 1, 3]),
        "batch": dice.choice([1, 1, 1, 2]),
        "conds": dice.choice(["plain"] * 5 + ["guidance", "guidance", "mask", "mask", "area"]),
        "custom": dice.random() < 0.3,
        "decoded": dice.random() < 0.3,
        "feather": dice.choice([0, 8, 20]),
        "hilo": dice.choice([{}, {}, {"dense_steps": "first and last"}, {"mass_bias": "0"}, {"speedup": 2.0}]),
        "seed": dice.randrange(2**40),
        "steps": dice.choice([2, 2, 3, 4]),
        "cfg": dice.choice([1.0, 1.0, 2.5]),
        "sampler_name": dice.choice(SAMPLERS),
        "scheduler": dice.choice(SCHEDULERS),
        "denoise": dice.choice([1.0, 1.0, 0.7]),
    }


def far_from(boxes, like, reach, unit):
    """A mask (H, W) of what lies farther than reach (px) from every box; like: (..., H, W) in units of so many px."""
    far = like.new_ones(like.shape[-2:], dtype=bool)
    for box in boxes:
        far[box.grown(reach, unit)] = False
    return far


def without_hilo(server, chosen):
    """What the host makes of the same graph on its own: its latent, or the message of its failure."""
    prompt = with_defaults(graph(**{**chosen, "preset": "off", "decoded": False}), server.object_info())
    try:
        return latent(server, server.queue(prompt), "out")
    except ServerError as failure:
        return str(failure)


def check(server, chosen, info):
    """Run one prompt; a word for what it was. AssertionError for what must not be."""
    before = len(lines(server))
    try:
        result = server.queue(with_defaults(graph(**chosen), info))
    except ServerError as failure:
        alone = without_hilo(server, chosen)
        assert alone == str(failure), f"fails with HiLo-Token only: {failure}"
        return "the host fails on its own"
    out, source = latent(server, result, "out"), latent(server, result, "in")
    said = lines(server)[before:]
    assert len(said) == (chosen["preset"] != "off"), said
    dense = bool(said) and "dense run" in said[0]
    if dense:
        assert any(words in said[0] and may(chosen) for words, may in EXPLAINED.items()), said
    reach = 16 * (chosen["dilated"] + 1) if chosen["dilated"] else 0
    far = far_from(chosen["boxes"], out, reach, 8)
    assert out.shape == source.shape
    if not out.isfinite().all() or (far.any() and (out - source)[..., far].abs().max() > 1e-4):
        alone = without_hilo(server, chosen)
        assert not isinstance(alone, str), alone
        same = (alone - out)[..., far].nan_to_num(7.0, 7.0, 7.0).abs().max() == 0
        # the threshold of the host's differential diffusion lets all change at the last step of some schedules
        free = "DifferentialDiffusion" in (*chosen["before"], *chosen["after"])
        free = free and (alone - source)[..., far].abs().max() > 1e-4
        assert same or free, "the outside has changed"
        assert out.isfinite().all(), "NaN"
        return "the host changes the outside on its own"
    if chosen["decoded"]:
        picture, original = pictures(server, result, "picture"), pictures(server, result, "original")
        far = far_from(chosen["boxes"], picture[..., 0], reach + chosen["feather"] + 1, 1)
        assert (picture != original)[:, far].sum() == 0, "a decoded pixel outside has changed"
    return "off" if not said else "dense, explained" if dense else "compressed"


def test_random_prompts(server):
    """Each one runs, says in one line what it did, and leaves the picture outside the edit alone."""
    counts, info = Counter(), server.object_info()
    for number in range(CASES):
        chosen = drawn(number)
        try:
            counts[check(server, chosen, info)] += 1
        except AssertionError as wrong:
            pytest.fail(f"HILO_SEED={SEED} case {number}: {wrong}\n{chosen}", pytrace=False)
        finally:
            shutil.rmtree(server.output("", chosen["folder"]), ignore_errors=True)
    assert counts["compressed"] > CASES // 3 and counts["off"] and counts["dense, explained"], (SEED, counts)
    assert sum(n for word, n in counts.items() if word.startswith("the host")) < CASES // 10 + 1, (SEED, counts)
