"""Each family on the host's real class: exact when everything is kept, the outside untouched when not."""

from __future__ import annotations

from dataclasses import replace

import comfy.ldm.modules.diffusionmodules.openaimodel
import comfyui_version
import pytest
import torch
from hilo_token.comfy_bridge.families import FAMILIES, find_family
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.hilo_core.errors import HiLoError
from hilo_token.hilo_core.presets import preset
from hilo_token.hilo_core.schedule import Schedule
from packaging.version import Version

from lab.checks.classes import classes, verdicts
from lab.checks.families import TOLERANCE
from lab.tables import result
from tools import host

from .cases import case, patcher
from .models import SMALL, radiance

BALANCED = replace(preset("balanced"), schedule=Schedule())
ALL = replace(BALANCED, tokens=replace(BALANCED.tokens, dilation=1000.0))
IDS = [f"{s.family}-{s.build.__name__}" for s in SMALL]


@pytest.fixture(scope="module", params=SMALL, ids=IDS)
def small(request):
    return request.param


@pytest.fixture(scope="module")
def model(small):
    return patcher(small.build())


def test_recognised(small, model):
    assert find_family(model.model.diffusion_model).name == small.family


@pytest.mark.parametrize(("height", "width", "batch", "cfg"), [(20, 28, 1, 1.0), (21, 27, 2, 3.0)])
def test_all_kept_is_dense(small, model, height, width, batch, cfg):
    height, width = small.allowed(height, width)
    edit = case(small, height, width, batch)
    dense = edit.sample(model, cfg=cfg)
    assert torch.isfinite(dense).all()
    kept = edit.sample(patch_model(model, Patch(ALL, longest=1.0)), cfg=cfg)
    assert (kept - dense).abs().max().item() == 0.0
    assert (edit.sample(model, cfg=cfg) - dense).abs().max().item() == 0.0, "the patch leaked into the model"


@pytest.mark.parametrize(("height", "width", "batch", "cfg"), [(32, 40, 1, 1.0), (33, 37, 2, 3.0)])
def test_compressed_leaves_outside(small, model, run_log, height, width, batch, cfg):
    height, width = small.allowed(height, width)
    edit = case(small, height, width, batch)
    dense = edit.sample(model, cfg=cfg)
    out = edit.sample(patch_model(model, Patch(BALANCED)), cfg=cfg)
    outside = (edit.mask == 0).reshape(1, 1, *[1] * (out.ndim - 4), height, width).expand_as(out)
    assert torch.isfinite(out).all()
    assert (out - dense)[outside].abs().max().item() == 0.0
    assert (out - dense)[~outside].abs().max().item() > 0.0
    assert "4 compressed steps" in run_log()[-1], run_log()


def test_bias_changes_only_compressed_runs(small, model):
    edit = case(small, *small.allowed(32, 40))
    without = edit.sample(patch_model(model, Patch(replace(BALANCED, mass_bias=0.0))))
    with_bias = edit.sample(patch_model(model, Patch(BALANCED)))
    assert (without - with_bias).abs().max().item() > 0.0


def test_every_row_is_tested():
    """But for the rows of newer hosts."""
    here = Version(comfyui_version.__version__)
    assert {f.name for f in FAMILIES if Version(f.since) <= here} == {s.family for s in SMALL}


def test_every_row_is_proved():
    """On the hosts that have it, and that were at hand; `python -m lab.checks.families` stores it."""
    hosts = result("families")["hosts"]
    for family in FAMILIES:
        found = [h["families"][family.name] for h in hosts.values() if family.name in h["families"]]
        assert found and all(row["cases"] and row["difference"] <= TOLERANCE for row in found), family.name
    here = {small.family: set() for small in SMALL}
    for small in SMALL:
        here[small.family].add(small.build.__name__)
    stored = hosts.get(comfyui_version.__version__, {"families": {}})["families"]
    assert all(here[name] == set(row["models"]) for name, row in stored.items()), "run it again on this host"


def test_shape_is_read_from_the_model(small, model):
    family, network = find_family(model.model.diffusion_model), model.model.diffusion_model
    assert family.patch_size(network) == small.patch
    assert family.hidden(network) in (128, 256)
    assert family.token_pixels(model.model) == small.pixels


def test_unknown_class_says_its_name_and_where_to_report_it():
    with pytest.raises(HiLoError, match=r"does not know this model \(Linear\).*github.com.*issues"):
        find_family(torch.nn.Linear(2, 2))


def test_unet_is_refused():
    unet = comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel
    with pytest.raises(HiLoError, match="UNetModel is a UNet, which has no tokens"):
        find_family(unet.__new__(unet))


def test_every_class_of_the_host_is_known():
    """A new family is noticed at once: `python -m lab.checks.classes` prints the list."""
    said = verdicts(classes(host.folder()))
    assert len(said) > 20 and not [path for path, verdict in said.items() if not verdict]
    assert said["comfy.ldm.flux.model:Flux"] == "FLUX.1, FLUX.2"


def test_class_that_is_not_compressed_runs_dense(run_log):
    """And is named, with the reason, instead of refused."""
    model, edit = patcher(radiance("conv")), case(next(s for s in SMALL if s.build is radiance), 24, 32)
    dense = edit.sample(model, steps=2)
    assert torch.equal(edit.sample(patch_model(model, Patch(BALANCED)), steps=2), dense)
    assert "ChromaRadiance is not compressed: the head" in run_log()[-1]
