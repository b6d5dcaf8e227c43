"""With everything else in the graph: ControlNet, weights of other types and places, guiders."""

from __future__ import annotations

import comfy.controlnet
import comfy.model_base
import comfy.model_management
import comfy.ops
import comfy.samplers
import comfy.supported_models
import pytest
import torch
from comfy.ldm.flux.controlnet import ControlNetFlux
from comfy_extras import nodes_custom_sampler, nodes_perpneg
from hilo_token.comfy_bridge.patch import Patch, patch_model

import nodes as host_nodes

from .cases import case, patcher
from .conftest import BALANCED, FLUX, SIZE
from .models import SMALL, flux, flux_unet

QWEN = next(s for s in SMALL if s.family == "Qwen-Image")


class Residuals(comfy.controlnet.ControlBase):
    """A ControlNet that answers with fixed residuals (B, N, D), one each for the first blocks."""

    def __init__(self, tokens, width, output=True):
        super().__init__()
        torch.manual_seed(21)
        self.grid = torch.randn(1, tokens, width)
        self.output = output

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        """The host's interface."""
        residual = self.grid.expand(x_noisy.shape[0], -1, -1)
        return self.control_merge(
            {"input": [residual.clone(), None], "output": [None, residual.clone()] if self.output else []}, None, None
        )


@pytest.mark.parametrize("small", [FLUX, QWEN], ids=lambda s: s.family)
def test_controlnet(small, holds):
    model = patcher(small.build())
    edit, plain = case(small, *SIZE), case(small, *SIZE)
    control = Residuals(SIZE[0] * SIZE[1] // 4, 128, output=small is FLUX)
    for cond in edit.positive:
        cond[1] |= {"control": control, "control_apply_to_uncond": True}
    dense, out = holds(model, edit, cfg=2.0)
    assert not torch.equal(dense, plain.sample(model, steps=2, cfg=2.0))
    without = plain.sample(patch_model(model, Patch(BALANCED)), steps=2, cfg=2.0)
    assert (out - dense).abs().mean() < (without - dense).abs().mean()


def test_flux_controlnet(model, holds):
    """The host's own ControlNet class for FLUX, with random weights, through Apply ControlNet."""
    network = ControlNetFlux(
        **flux_unet(depth_single_blocks=0), operations=comfy.ops.disable_weight_init, dtype=torch.float32, device="cpu"
    )
    torch.manual_seed(22)
    for name, parameter in network.named_parameters():
        parameter.data.normal_(1.0 if "norm" in name and parameter.ndim == 1 else 0.0, 0.05)
    network.requires_grad_(False)
    control = comfy.controlnet.ControlNet(network, load_device=model.load_device, extra_conds=["y", "guidance"])
    edit, plain = case(FLUX, *SIZE), case(FLUX, *SIZE)
    hint = torch.rand(1, SIZE[0] * 8, SIZE[1] * 8, 3)
    edit.positive, edit.negative = host_nodes.ControlNetApplyAdvanced().apply_controlnet(
        edit.positive, edit.negative, control, hint, 2.0, 0.0, 1.0
    )
    dense, out = holds(model, edit, cfg=2.0)
    without = plain.sample(patch_model(model, Patch(BALANCED)), steps=2, cfg=2.0)
    assert 0 < (out - dense).abs().mean() < (without - dense).abs().mean()


def test_residuals_follow_the_tokens():
    """Kept tokens have their own residual, coarse ones the mean of their cell."""
    from hilo_token.hilo_core.plan import TokenPlan
    from hilo_token.hilo_core.strip import gather

    plan = TokenPlan.of_cells(4, 4, 2)
    grid = torch.arange(16.0).reshape(1, 16, 1)
    assert gather(grid, plan).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_fp8_weights(holds):
    """Weights in float8 that the host casts for each layer."""
    config = comfy.supported_models.Flux(flux_unet())
    config.set_inference_dtype(torch.float32, torch.float32)
    config.custom_operations = comfy.ops.manual_cast
    torch.manual_seed(1)
    model = comfy.model_base.Flux(config).eval().requires_grad_(False)
    source = flux().state_dict()
    for name, parameter in model.named_parameters():
        narrow = torch.float8_e4m3fn if parameter.ndim == 2 else torch.bfloat16
        parameter.data = source[name].to(narrow)
    model.manual_cast_dtype = torch.float32
    dense, _ = holds(patcher(model), case(FLUX, *SIZE))
    assert torch.isfinite(dense).all() and dense.std() > 0.1


class Packed(comfy.ops.manual_cast):
    """Weights in blocks of int8 values with one scale each, as GGUF's Q8_0 has them, unpacked in the layer's forward.

    Blocks of 16, not 32, as the small model has layers of 48 inputs.
    """

    class Linear(comfy.ops.manual_cast.Linear):
        def pack(self, weight):
            """Replace the weight. weight: (out, in), `in` a multiple of 16."""
            blocks = weight.reshape(weight.shape[0], -1, 16)
            self.scale = torch.nn.Parameter(blocks.abs().amax(-1, keepdim=True).half() / 127, requires_grad=False)
            packed = (blocks / self.scale.float().clamp_min(1e-8)).round().clamp(-127, 127).to(torch.int8)
            self.weight = torch.nn.Parameter(packed, requires_grad=False)

        def forward(self, x):
            """Unpack, multiply."""
            weight = (self.weight.to(x) * self.scale.to(x)).flatten(1)
            return torch.nn.functional.linear(x, weight, None if self.bias is None else self.bias.to(x))


def test_packed_weights(holds):
    """The ops of GGUF packs: quantised tensors of another shape, unpacked for each layer."""
    config = comfy.supported_models.Flux(flux_unet())
    config.set_inference_dtype(torch.float32, torch.float32)
    config.custom_operations = Packed
    torch.manual_seed(1)
    model = comfy.model_base.Flux(config).eval().requires_grad_(False)
    source = flux().state_dict()
    model.load_state_dict(source, strict=False)
    packed = 0
    for name, layer in model.named_modules():
        if isinstance(layer, Packed.Linear):
            layer.pack(source[f"{name}.weight"])
            packed += layer.weight.dtype == torch.int8
    assert packed > 20
    edit = case(FLUX, *SIZE)
    dense, out = holds(patcher(model), edit)
    whole = patcher(flux())
    near = edit.sample(whole, steps=2)
    assert 0 < (dense - near).abs().mean() < 0.1 * near.abs().mean()
    near = edit.sample(patch_model(whole, Patch(BALANCED)), steps=2)
    assert 0 < (out - near).abs().mean() < 0.1 * near.abs().mean()


def test_offloaded_weights(holds, monkeypatch):
    """All weights stay offloaded and come one layer at a time (the host's NO_VRAM state)."""
    management = comfy.model_management
    model = patcher(flux())
    edit = case(FLUX, *SIZE)
    resident = edit.sample(patch_model(model, Patch(BALANCED)), steps=2)
    management.unload_all_models()
    monkeypatch.setattr(management, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NO_VRAM)
    _, out = holds(model, edit)
    offloaded = getattr(model.model, "model_lowvram", None)
    management.unload_all_models()
    assert offloaded and torch.equal(out, resident)


@pytest.mark.parametrize("guider", ["dual", "perp"])
def test_guiders(model, run_log, guider):
    """Three conditionings, through the custom sampler's guiders."""
    edit, empty = case(FLUX, *SIZE), [[torch.randn(1, 9, 48), {"pooled_output": torch.randn(1, 32)}]]

    def run(m):
        if guider == "dual":
            guide = nodes_custom_sampler.Guider_DualCFG(m)
            guide.set_cfg(2.0, 1.5)
            guide.set_conds(edit.positive, empty, edit.negative)
        else:
            guide = nodes_perpneg.Guider_PerpNeg(m)
            guide.set_conds(edit.positive, edit.negative, empty)
            guide.set_cfg(2.0, 0.5)
        sigmas = comfy.samplers.calculate_sigmas(m.get_model_object("model_sampling"), "simple", 2)
        sampler = comfy.samplers.sampler_object("euler")
        return guide.sample(edit.noise, edit.latent, sampler, sigmas, denoise_mask=edit.mask, disable_pbar=True, seed=3)

    dense = run(model)
    out = run(patch_model(model, Patch(BALANCED)))
    assert "2 compressed steps" in run_log()[-1]
    assert (out - dense)[(edit.mask == 0).expand_as(out)].abs().max().item() == 0.0
    assert (out - dense).abs().max().item() > 0
