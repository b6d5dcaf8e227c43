"""Every compressed step is the dense step with fewer keys, in every family, whatever lies beside the picture's tokens.

The families that are used most meet each value of each factor, the others the few cases that hold most of them; and
each pair of values meets in some family. `HILO_REFERENCE=full` runs the whole product instead.
"""

from __future__ import annotations

import itertools
import os
import random
from typing import Any

import pytest

from .models import SMALL
from .reference import compare, kept_tokens

SIZES = {"quality": (12, 16)}  # tokens; its wide margin leaves nothing to drop in a picture of 8 x 10
FACTORS: dict[str, tuple[Any, ...]] = {
    "text": ("7 7", "23 23", "7 14", "7 23", "as the strip", "as the picture", "longer"),
    "guided": ((1, 1.0), (3, 1.0), (1, 3.0), (3, 3.0)),  # batch, cfg
    "odd": (False, True),
    "references": ((), (None,), (None, None), ((6, 7),), (None, (6, 7))),
    "control": (0, 1),
    "preset": ("balanced", "quality", "fast"),
    "bias": (1.0, 0.75),
}
NAMES = {small.build.__name__: small for small in SMALL}
THOROUGH = {"flux", "qwen", "z_image", "sd3", "boogu", "joy", "qwen21"}  # each lays out its tokens in a way of its own
FEW = 3  # cases of other models


def factors(name: str) -> dict[str, tuple[Any, ...]]:
    """The values that a family takes."""
    small = NAMES[name]
    return FACTORS | {
        "references": FACTORS["references"] if small.references else ((),),
        "control": FACTORS["control"] if small.control else (0,),
    }


def covering() -> list[tuple[str, dict[str, Any]]]:
    """Few cases that hold each value for each family, chosen so that new pairs of values meet in each."""
    drawn, chosen, met = random.Random(1), [], set()
    for name in NAMES:
        left = {(factor, value) for factor, values in factors(name).items() for value in values}
        while left and sum(n == name for n, _ in chosen) < (100 if name in THOROUGH else FEW):
            drafts = [{f: drawn.choice(values) for f, values in factors(name).items()} for _ in range(30)]
            best = max(drafts, key=lambda d: (len(left & set(d.items())), len(_pairs(d) - met)))
            left -= set(best.items())
            met |= _pairs(best)
            chosen.append((name, best))
    return chosen


def _pairs(case: dict[str, Any]) -> set[Any]:
    return set(itertools.combinations(case.items(), 2))


def everything() -> list[tuple[str, dict[str, Any]]]:
    """The whole product."""
    return [
        (name, dict(zip(factors(name), values, strict=True)))
        for name in NAMES
        for values in itertools.product(*factors(name).values())
    ]


CASES = everything() if os.environ.get("HILO_REFERENCE") == "full" else covering()


def text_lengths(kind: str, name: str, preset: str, size: tuple[int, int]) -> tuple[int, int]:
    """Tokens of the two prompts."""
    if kind == "as the strip":
        return (kept_tokens(NAMES[name], preset=preset, size=size),) * 2
    total = size[0] * size[1]
    lengths = {"as the picture": (total, total), "longer": (total + 21, total + 21)}
    first, second = lengths.get(kind) or map(int, kind.split())
    return first, second


def describe(name: str, case: dict[str, Any]) -> str:
    """The case in a test's name."""
    return "-".join([name, *(f"{factor} {value}" for factor, value in case.items())])


@pytest.mark.parametrize(("name", "case"), CASES, ids=[describe(*c) for c in CASES])
def test_strip_is_the_dense_step_with_fewer_keys(name, case):
    setting = dict(case)
    batch, cfg = setting.pop("guided")
    setting["size"] = SIZES.get(setting["preset"], (8, 10))
    setting["text"] = text_lengths(setting.pop("text"), name, setting["preset"], setting["size"])
    result = compare(NAMES[name], batch=batch, cfg=cfg, **setting)
    assert not result.faults(), f"{'; '.join(result.faults())} ({result})"


ROTATIONS = {"anima", "predict2", "joy"} & NAMES.keys()  # their positions come as rotations, of tokens only
AVERAGED = [(name, 1, 1.0) for name in NAMES.keys() - ROTATIONS] + [("flux", 3, 0.0), ("qwen", 3, 0.75)]


@pytest.mark.parametrize(("name", "batch", "bias"), sorted(AVERAGED))
def test_averages_stand_at_the_centre_of_their_cell(name, batch, bias):
    """Averaged tokens are the average of their cell, in value and position, and weigh as much as they stand for."""
    result = compare(NAMES[name], preset="paper", size=(12, 16), batch=batch, bias=bias)
    assert not result.faults(), f"{'; '.join(result.faults())} ({result})"


@pytest.mark.parametrize("name", sorted(ROTATIONS))
def test_no_average_without_a_position(name, run_log):
    """Where a model tells no position between two tokens, averaged tokens have none, and the run is dense."""
    assert compare(NAMES[name], preset="paper", size=(12, 16)).faults() == ["no call was compressed"]
    assert "gives no position between two tokens" in run_log()[-1]


@pytest.mark.parametrize("method", ["index", "offset", "uxo"])
def test_ways_to_place_references(method):
    """Where the host puts references is its own business, in each way that it knows."""
    result = compare(NAMES["flux2"], references=(None, (6, 7)), method=method, text=(23, 23))
    assert not result.faults(), f"{'; '.join(result.faults())} ({result})"


@pytest.mark.parametrize("size", [(12, 17), (13, 16), (11, 15)])
def test_source_that_its_encoder_scaled(size, run_log):
    """Qwen-Image-Edit's encoder scales the picture by a few pixels; its tokens still follow the plan, by place."""
    result = compare(NAMES["qwen"], size=(12, 16), references=(size, (6, 7)), scaled=True, text=(23, 23))
    assert not result.faults(), f"{'; '.join(result.faults())} ({result})"
    assert result.kept[1] < 0.8 * result.totals[1] and result.kept[2] == result.totals[2]
    assert "scaled the picture by a few pixels" in run_log()[-1]


def test_another_picture_of_almost_its_size_stays_whole():
    result = compare(NAMES["qwen"], size=(12, 16), references=((12, 17),), text=(23, 23))
    assert not result.faults() and result.kept[1] == result.totals[1]


def test_ten_references():
    """As many as FLUX.2 takes."""
    result = compare(NAMES["flux2"], references=(None, *[(4, 5 + i) for i in range(9)]), text=(7, 7))
    assert not result.faults(), f"{'; '.join(result.faults())} ({result})"


def test_every_value_meets_every_family():
    """The choice above is not thinner than it says."""
    for name in THOROUGH & NAMES.keys():
        for factor, values in factors(name).items():
            assert {case[factor] for n, case in CASES if n == name} == set(values), (name, factor)
