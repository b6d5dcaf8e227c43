"""Beside other people's nodes: each works, works with one set of tokens, or makes the run dense with the reason.

The stand-ins are in `neighbours`. On photos with the demo model, since a picture that is wrong inside the mask is
finite and of the right shape too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import comfy.model_management
import comfy.model_patcher
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras import nodes_easycache
from hilo_token.comfy_bridge.call import KEY
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.demo import model as demo_model
from hilo_token.hilo_core.errors import HiLoError
from hilo_token.hilo_core.presets import preset
from hilo_token.hilo_core.schedule import Schedule

from .cases import case, patcher
from .conftest import ALL, BALANCED
from .models import SMALL, flux
from .neighbours import blocks, caches, modules, outputs, photo
from .neighbours.base import Neighbour

WORKS, ONE_SET, DENSE = "works", "works with one set of tokens", "dense, with the reason"
TOKENS, STEPS = 256, 8  # 256 px
NEAR = 3.0  # dB that a neighbour may cost on top of what HiLo costs alone
WHOLE = Patch(ALL, longest=1.0)


class HostNode(Neighbour):
    """A node of the host, by its class and inputs."""

    def __init__(self, node: Any, *inputs: Any) -> None:
        super().__init__()
        self.node, self.inputs = node, inputs

    def put(self, model: Any) -> Any:
        return self.node.execute(model, *self.inputs).args[0]


@dataclass(frozen=True)
class Row:
    """One row of the compatibility table. words: what the reason of a dense run has to name, as an expression."""

    make: Callable[[], Neighbour]
    verdict: str
    words: str = ""
    counts: bool = True  # whether its `calls` are steps; those of an override are attentions
    without_bias: bool = True  # dense also where no bias has to reach the attention


EASY, LAZY = nodes_easycache.EasyCacheNode, nodes_easycache.LazyCacheNode
BLOCK = "double_block|dit|[Bb]lock"
ROWS = {
    "TeaCache, as published": Row(caches.TeaCache, DENSE, "attention|forward|options"),
    "MagCache, as published": Row(caches.MagCache, DENSE, "attention|forward|options"),
    "MagCache whose forward hands options on": Row(caches.MagCacheThatHandsOn, DENSE, "forward"),
    "WaveSpeed FBCache": Row(caches.FirstBlockCache, DENSE, "block"),
    "Spectrum": Row(caches.Spectrum, ONE_SET),
    "CacheDiT": Row(outputs.CacheDit, DENSE, "cache_dit"),
    "a replaced forward": Row(outputs.ForwardReplaced, DENSE, "forward"),
    "a cache around the prediction": Row(outputs.OutputCache, ONE_SET),
    "a cache around the conds": Row(lambda: outputs.OutputCache(WrappersMP.CALC_COND_BATCH), ONE_SET),
    "EasyCache": Row(lambda: HostNode(EASY, 0.2, 0.15, 0.95, False), WORKS),
    "LazyCache": Row(lambda: HostNode(LAZY, 3.0, 0.5, 0.95, False), WORKS),
    "NAG": Row(lambda: blocks.Nag(photo.TEXT), WORKS, counts=False),
    "an adapter in a block": Row(blocks.Adapter, ONE_SET),
    "a region's mask in a block": Row(lambda: blocks.RegionReplacement(photo.TEXT, TOKENS), DENSE, BLOCK),
    "a region's mask in an override": Row(
        lambda: blocks.RegionOverride(photo.TEXT, TOKENS), DENSE, "override", counts=False
    ),
    "weights of tokens in a block": Row(lambda: blocks.TokenWeights(TOKENS), DENSE, BLOCK),
    "weights that are cut to the strip": Row(lambda: blocks.CutWeights(TOKENS), DENSE, BLOCK),
    "an object with weights that are cut": Row(  # the host copies it with the options, so it counts elsewhere
        lambda: blocks.CutWeightsObject(TOKENS), DENSE, BLOCK, counts=False
    ),
    "blocks that keep the options": Row(modules.OptionsKept, DENSE, "block"),
    "one block that keeps the options": Row(lambda: modules.OptionsKept(every=False), DENSE, "block"),
}


@pytest.fixture(scope="module")
def base() -> Any:
    return demo_model.load()


@lru_cache(maxsize=8)
def _dense(base: Any, name: str) -> torch.Tensor:
    return photo.edit(name).sample(base, steps=STEPS)


@lru_cache(maxsize=8)
def _alone(base: Any, name: str) -> float:
    """dB of HiLo alone to dense: of all turns or of one, whichever is worse."""
    edit, dense = photo.edit(name), _dense(base, name)
    one = replace(BALANCED, tokens=replace(BALANCED.tokens, turns=1))
    outs = [edit.sample(patch_model(base, Patch(chosen)), steps=STEPS) for chosen in (BALANCED, one)]
    return min(photo.psnr(out, dense, photo.editable(edit, out)) for out in outs)


@contextlib.contextmanager
def seen_by_blocks(base: Any) -> Iterator[list[tuple[int, int]]]:
    """For each call that the first block has done: how many positions it got, and a number that tells sets apart."""
    found: list[tuple[int, int]] = []

    def look(block: Any, args: Any, kw: dict[str, Any], out: Any) -> None:
        pe = kw["pe"]
        found.append((pe.shape[2], hash(pe[:1].float().cpu().numpy().tobytes())))

    handle = base.model.diffusion_model.double_blocks[0].register_forward_hook(look, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


def outside(edit: Any, out: torch.Tensor) -> torch.Tensor:
    return ~photo.editable(edit, out)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.verdict != DENSE])
def test_beside_a_neighbour_that_works(base, name, run_log):
    """All kept is the neighbour's dense result, it counts what it counts alone, in either order."""
    row, edit = ROWS[name], photo.edit("demo")
    alone, every, beside = row.make(), row.make(), row.make()
    wanted = edit.sample(alone.put(base), steps=STEPS)
    assert torch.equal(edit.sample(patch_model(every.put(base), WHOLE), steps=STEPS), wanted)
    assert not row.counts or every.calls == alone.calls
    with seen_by_blocks(base) as sets:
        out = edit.sample(patch_model(beside.put(base), Patch(BALANCED)), steps=STEPS)
    assert " 0 dense + " in run_log()[-1], run_log()[-1]
    assert not row.counts or len(beside.calls) == len(alone.calls)
    assert torch.equal(out[outside(edit, out)], wanted[outside(edit, out)])
    assert row.verdict != ONE_SET or len(set(sets)) == 1, f"{len(set(sets))} sets of tokens"
    after = row.make().put(patch_model(base, Patch(BALANCED)))
    assert torch.equal(edit.sample(after, steps=STEPS), out), "the order of the nodes matters"


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.verdict != DENSE])
def test_a_strip_costs_beside_a_neighbour_what_it_costs_alone(base, name, picture="coffee"):
    """Inside the mask, to the neighbour's own dense result."""
    edit, make = photo.edit(picture), ROWS[name].make
    wanted = edit.sample(make().put(base), steps=STEPS)
    out = edit.sample(patch_model(make().put(base), Patch(BALANCED)), steps=STEPS)
    near, alone = photo.psnr(out, wanted, photo.editable(edit, out)), _alone(base, picture)
    assert near > alone - NEAR, f"{near:.1f} dB beside it, {alone:.1f} dB alone"


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.verdict == ONE_SET])
def test_one_set_has_no_dense_step_between(base, name, run_log):
    """A preset with dense first and last steps: beside such a neighbour one length from the first step to the last."""
    edit, beside = photo.edit("coffee"), ROWS[name].make()
    mixed = replace(BALANCED, schedule=Schedule(first=2, last=1))
    with seen_by_blocks(base) as sets:
        out = edit.sample(patch_model(beside.put(base), Patch(mixed)), steps=STEPS)
    assert torch.isfinite(out).all()
    assert len(set(sets)) == 1 and " 0 dense + " in run_log()[-1], run_log()[-1]


@lru_cache(maxsize=32)
def _whole(base: Any, name: str) -> tuple[torch.Tensor, list[tuple[int, bool]]]:
    """A neighbour's own result, and its calls."""
    alone = ROWS[name].make()
    return photo.edit("coffee").sample(alone.put(base), steps=STEPS), alone.calls


PAIRS = [(name, "balanced") for name, row in ROWS.items() if row.verdict == DENSE]
PAIRS += [(name, "paper") for name, _ in PAIRS if ROWS[name].without_bias]


@pytest.mark.parametrize("name, chosen", PAIRS)
def test_beside_a_neighbour_that_needs_the_whole(base, name, chosen, run_log):
    """The neighbour's own result to the bit, from as many calls, and a reason that names its part."""
    row, beside, (wanted, calls) = ROWS[name], ROWS[name].make(), _whole(base, name)
    out = photo.edit("coffee").sample(patch_model(beside.put(base), Patch(preset(chosen))), steps=STEPS)
    assert torch.equal(out, wanted)
    assert re.search(rf"dense run: .*({row.words})", run_log()[-1].split("; also on")[0]), run_log()[-1]
    dense = [call for call in beside.calls if call[0] >= TOKENS]  # a first strip may have failed
    assert not row.counts or dense == calls


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.verdict == DENSE])
def test_all_kept_beside_a_neighbour_that_needs_the_whole(base, name):
    """A strip of all tokens is the whole: right, whether it is tried or not."""
    beside, (wanted, calls) = ROWS[name].make(), _whole(base, name)
    out = photo.edit("coffee").sample(patch_model(beside.put(base), WHOLE), steps=STEPS)
    assert torch.equal(out, wanted)
    assert not ROWS[name].counts or beside.calls == calls


def of_others(model):
    """A model's wrappers without this pack's, of which `off` keeps those that time."""
    found = {kind: {k: w for k, w in keys.items() if k != KEY} for kind, keys in model.wrappers.items()}
    return {kind: keys for kind, keys in found.items() if keys}


@pytest.mark.parametrize("name", ROWS)
def test_off_is_the_model_without_the_node(base, name):
    row, edit = ROWS[name], photo.edit("demo")
    alone, beside = row.make(), row.make()
    wanted = edit.sample(alone.put(base), steps=2)
    model = beside.put(base)
    patched = patch_model(model, Patch(preset("off")))
    assert torch.equal(edit.sample(patched, steps=2), wanted)
    assert not row.counts or beside.calls == alone.calls
    assert patched.object_patches == model.object_patches and of_others(patched) == of_others(model)


def test_out_of_memory_of_a_neighbour_is_not_swallowed(base):
    """It is an error of shapes that makes a run dense, and nothing is left behind by the one that ends it."""
    edit, dense = photo.edit("demo"), _dense(base, "demo")
    model = patch_model(blocks.OutOfMemory(TOKENS).put(base), Patch(BALANCED))
    with pytest.raises(comfy.model_management.OOM_EXCEPTION, match="stand-in"):
        edit.sample(model, steps=2)
    assert torch.equal(edit.sample(base, steps=STEPS), dense)


@pytest.mark.parametrize("first", ["compile", "hilo"])
def test_compiled_by_an_object_patch(base, first, run_log):
    """Both orders, and a second prompt while the compiled model is loaded, which also `off` and a new node get."""
    edit = case(SMALL[0], 24, 32)
    model, compiled = patcher(flux()), modules.Compiled()
    dense, strip = edit.sample(model, steps=2), edit.sample(patch_model(model, Patch(BALANCED)), steps=2)

    def both(patch: Patch) -> Any:
        return (
            patch_model(compiled.put(model), patch) if first == "compile" else compiled.put(patch_model(model, patch))
        )

    torch._dynamo.reset()
    for _ in range(2):
        assert torch.equal(edit.sample(both(WHOLE), steps=2), dense)
        assert torch.allclose(edit.sample(both(Patch(BALANCED)), steps=2), strip, atol=1e-5)
        assert " 0 dense + " in run_log()[-1], run_log()[-1]
        assert torch.equal(edit.sample(both(Patch(preset("off"))), steps=2), dense)
        patch_model(model, Patch(BALANCED))  # as the next prompt does, while the other is loaded
    torch._dynamo.reset()


def _reason(make: Callable[[], Any], edit: Any, run_log: Callable[[], list[str]]) -> str:
    """Why a model is not compressed: the node's error, or the log line of its dense run."""
    try:
        edit.sample(make(), steps=2)
    except HiLoError as error:
        return str(error)
    return run_log()[-1]


@pytest.mark.parametrize("what", ["wrapper", "subclass"])
def test_model_that_is_not_of_its_own_class(what, run_log):
    """The reason names the class; `off` passes it on."""
    edit, model = case(SMALL[0], 24, 32), patcher(flux())
    if what == "wrapper":
        model = modules.Wrapped().put(model)
    else:
        modules.subclassed(model.model.diffusion_model)
    dense = edit.sample(model, steps=2)
    assert re.search("Around|TunedFlux", _reason(lambda: patch_model(model, Patch(BALANCED)), edit, run_log))
    assert torch.equal(edit.sample(patch_model(model, Patch(preset("off"))), steps=2), dense)


def test_off_passes_a_model_that_nobody_knows():
    """Not even its class is asked for; with any other preset it is named."""
    inner = torch.nn.Module()
    inner.diffusion_model = torch.nn.Linear(1, 1)
    model = comfy.model_patcher.ModelPatcher(inner, torch.device("cpu"), torch.device("cpu"))
    patched = patch_model(model, Patch(preset("off")))
    assert patched is not model and not patched.object_patches and of_others(patched) == of_others(model)
    with pytest.raises(HiLoError, match="Linear"):
        patch_model(model, Patch(BALANCED))
