"""Random sampling runs through the host: sizes, masks, batches, presets, samplers, and other nodes' patches.

20 cases, always the same; HILO_FUZZ=2000 runs so many random ones and prints the seed. To run the same cases again:
pytest tests/host/test_fuzz.py --hypothesis-seed=SEED.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache

import comfy.sampler_helpers
import comfy.samplers
import pytest
import torch
from comfy_extras import nodes_easycache, nodes_model_advanced, nodes_rope, nodes_slg
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.planning import PlanRequest
from hilo_token.hilo_core.errors import HiLoError
from hilo_token.hilo_core.mask import mask_to_tokens
from hilo_token.hilo_core.plan import make_plan
from hilo_token.hilo_core.presets import PRESETS
from hilo_token.hilo_core.schedule import Schedule
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st

from .cases import case, patcher
from .models import SMALL
from .test_weights import Residuals

CASES = int(os.environ.get("HILO_FUZZ", "20"))
SLOW_SAMPLERS = {"dpm_adaptive", "uni_pc_bh2"}  # its step sizes follow the whole picture; as uni_pc
SAMPLERS = [s for s in comfy.samplers.KSampler.SAMPLERS if s not in SLOW_SAMPLERS]
EXPLAINED = (
    "nothing is painted yet",
    "there is nothing to save",
    "the schedule has no compressed step",
    "the latent is empty",
)
SIDES = [*range(20, 45), 2, 7, 12, 16]
CACHES = {"easycache", "lazycache"}


def _lora(model):
    clone = model.clone()
    weights = clone.model.state_dict()
    keys = [k for k, w in weights.items() if k.endswith(".weight") and w.ndim == 2][:6]
    torch.manual_seed(8)
    clone.add_patches({k: ("diff", (torch.randn_like(weights[k]) * 0.02,)) for k in keys}, 1.0)
    return clone


def _override(model):
    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = lambda f, *a, **kw: f(*a, **kw)
    return clone


PATCHES = {
    "lora": _lora,
    "override": _override,
    "shift": lambda m: nodes_model_advanced.ModelSamplingSD3().patch(m, 5.0)[0],
    "rope": lambda m: nodes_rope.ScaleROPE.execute(m, 1.2, 0.0, 0.8, 2.0, 1.0, 0.0).args[0],
    "differential": lambda m: DifferentialDiffusion.execute(m).args[0],
    "slg": lambda m: nodes_slg.SkipLayerGuidanceDiT.execute(m, 2.0, 0.0, 1.0, "0", "0", 0.0).args[0],
    "easycache": lambda m: nodes_easycache.EasyCacheNode.execute(m, 0.3, 0.0, 1.0, False).args[0],
    "lazycache": lambda m: nodes_easycache.LazyCacheNode.execute(m, 0.3, 0.0, 1.0, False).args[0],
}


@cache
def network(index):
    """One patcher for each small model."""
    return patcher(SMALL[index].build())


@dataclass(frozen=True)
class Drawn:
    """One case."""

    model: int
    height: int
    width: int
    batch: int
    mask: str
    masks: int  # one for all, or one for each picture
    seed: int
    preset: str
    every: bool  # all tokens kept: must equal dense
    first: int
    between: int
    patches: tuple[str, ...]
    before: int  # how many of them come before this pack's
    sampler: str
    scheduler: str
    steps: int
    cfg: float
    denoise: float
    control: bool
    planned: bool  # a plan instead of a mask; the latent is the picture
    bad: str


DRAWN = st.builds(
    Drawn,
    model=st.sampled_from(range(len(SMALL))),
    height=st.sampled_from(SIDES),
    width=st.sampled_from(SIDES),
    batch=st.sampled_from([1, 1, 1, 2, 3]),
    mask=st.sampled_from(
        ["box", "boxes", "grey", "pixel", "noise", "box", "edge", "boxes", "box", "grey", "full", "empty"]
    ),
    masks=st.sampled_from([1, 1, 2]),
    seed=st.integers(0, 2**31),
    preset=st.sampled_from([name for name, one in PRESETS.items() if not one.off]),
    every=st.sampled_from([False, False, True]),
    first=st.sampled_from([0, 0, 0, 1]),
    between=st.sampled_from([0, 0, 2]),
    patches=st.lists(st.sampled_from(list(PATCHES)), max_size=3, unique=True)
    .map(tuple)
    .filter(
        lambda chosen: not set(chosen) >= CACHES  # the host itself fails with both
    ),
    before=st.integers(0, 3),
    sampler=st.sampled_from(SAMPLERS),
    scheduler=st.sampled_from(comfy.samplers.KSampler.SCHEDULERS),
    steps=st.sampled_from([3, 2, 4, 1]),
    cfg=st.sampled_from([1.0, 1.0, 2.5]),
    denoise=st.sampled_from([1.0, 1.0, 0.6, 0.3]),
    control=st.sampled_from([False, False, True]),
    planned=st.sampled_from([False, False, False, True]),
    bad=st.sampled_from([""] * 12 + ["mask", "latent"]),
)


def _mask(drawn, height, width):
    """(masks, 1, H, W)"""
    count = drawn.batch if drawn.masks > 1 else 1
    mask = torch.zeros(count, 1, height, width)
    for one in mask[:, 0]:
        for _ in range({"box": 1, "grey": 1, "boxes": 4}.get(drawn.mask, 0)):
            top, left = int(torch.randint(height, ())), int(torch.randint(width, ()))
            value = float(torch.rand(())) if drawn.mask == "grey" else 1.0
            one[top : top + 1 + height // 4, left : left + 1 + width // 4] = value
        if drawn.mask == "pixel":
            one[int(torch.randint(height, ())), int(torch.randint(width, ()))] = 1
        elif drawn.mask == "noise":
            one[torch.rand(height, width) > 0.95] = 1
        elif drawn.mask == "edge":
            one[0] = 1
        elif drawn.mask == "full":
            one.fill_(1)
    return mask


def _plan(edit, mask, settings_, patch):
    """The request that HiLoTokenSelect would make, over the union of the masks."""
    rows, columns = -(-mask.shape[-2] // patch), -(-mask.shape[-1] // patch)
    tokens = mask_to_tokens(mask.amax(0), rows, columns, patch)
    score = torch.rand(rows, columns)
    return PlanRequest(settings_, tokens, score, make_plan(tokens, score, settings_)) if tokens.any() else None


def _check(drawn):
    small, model = SMALL[drawn.model], network(drawn.model)
    height, width = small.allowed(drawn.height, drawn.width)
    edit = case(small, height, width, drawn.batch, edit=(0, 0, 0, 0))
    torch.manual_seed(drawn.seed)
    edit.mask = _mask(drawn, height, width)
    patch = small.patch
    if drawn.control and small.family == "FLUX.1":
        for cond in edit.positive:
            tokens = -(-height // patch) * -(-width // patch)
            cond[1] |= {"control": Residuals(tokens, 128), "control_apply_to_uncond": True}
    run = {name: getattr(drawn, name) for name in ("steps", "cfg", "sampler", "scheduler", "denoise")}

    def patched(start, patches):
        for name in patches:
            start = PATCHES[name](start)
        return start

    try:
        dense = edit.sample(patched(model, drawn.patches), **run)
    except (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError):
        event("the host's dense run fails")
        assume(False)
    assume(torch.isfinite(dense).all())
    chosen = PRESETS[drawn.preset]
    chosen = replace(chosen, schedule=Schedule(first=drawn.first, every=drawn.between))
    if drawn.every:
        chosen = replace(chosen, tokens=replace(chosen.tokens, dilation=1000.0))
    plan = _plan(edit, edit.mask, chosen.tokens, patch) if drawn.planned else None
    mask = edit.mask
    if plan is not None:
        edit.mask = None
    if drawn.bad:
        broken = getattr(edit, drawn.bad)
        if broken is not None:
            broken[..., 0, 0] = float("nan")
    reports = []
    ours = Patch(chosen, plan, reports.append, longest=1.0 if drawn.every else 0.9)
    whole = patched(patch_model(patched(model, drawn.patches[: drawn.before]), ours), drawn.patches[drawn.before :])
    if drawn.bad and not (drawn.bad == "mask" and edit.mask is None):
        with pytest.raises(HiLoError, match="NaN"):
            edit.sample(whole, **run)
        event("NaN refused")
        return
    out = edit.sample(whole, **run)
    (report,) = reports
    assert torch.isfinite(out).all()
    assert not report.reason or any(words in report.reason for words in EXPLAINED), report.reason
    event(report.reason.split(",")[0][:30] or "compressed")
    if plan is not None and not report.reason:
        tokens = plan.edit.repeat_interleave(patch, 0).repeat_interleave(patch, 1)[:height, :width]
        outside = ~tokens.expand_as(out)
        if float(mask.max()) > 0:
            assert (out - edit.latent)[outside].abs().max().item() == 0.0 if outside.any() else True
        return
    if plan is not None:
        return
    # as the host takes it: to a video model's latent, masks of a batch are masks of frames
    outside = comfy.sampler_helpers.prepare_mask(mask, out.shape, out.device) == 0
    if "differential" in drawn.patches:  # at the last step of some schedules the host's threshold lets all change
        kept = not outside.any() or (dense - edit.latent).abs()[outside].max().item() < 1e-5
        outside = outside & kept
    assert not outside.any() or (out - dense)[outside].abs().max().item() == 0.0
    if (drawn.every or report.reason) and not CACHES & set(drawn.patches):
        assert (out - dense).abs().max().item() == 0.0


@settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize="HILO_FUZZ" not in os.environ,
    print_blob=True,
    phases=[Phase.generate],  # a case is plain enough to read, and shrinking takes minutes
    suppress_health_check=list(HealthCheck),
)
@given(drawn=DRAWN)
def test_random_runs(drawn):
    """Finite, the outside unchanged, dense only with a reason, all kept equals dense, no error but HiLoError."""
    _check(drawn)
