"""With everything else in the graph: what runs compressed. The host's own nodes wherever it has one."""

from __future__ import annotations

from dataclasses import replace

import comfy.hooks
import comfy.samplers
import node_helpers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras import nodes_cfg, nodes_easycache, nodes_lumina2, nodes_model_advanced, nodes_rope, nodes_slg
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from comfy_extras.nodes_flux import FluxGuidance
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.hilo_core.schedule import Schedule

import nodes as host_nodes

from .cases import case, patcher
from .conftest import BALANCED, FLUX, SIZE
from .models import flux


def with_lora(model, strength=1.0):
    """A clone with a weight patch on every linear layer of the blocks."""
    clone = model.clone()
    torch.manual_seed(11)
    keys = [k for k in clone.model.state_dict() if "_blocks." in k and k.endswith(".weight") and "norm" not in k]
    patches = {k: ("diff", (torch.randn_like(clone.model.state_dict()[k]) * 0.05,)) for k in keys}
    assert clone.add_patches(patches, strength)
    return clone


def test_lora(model, holds, run_log):
    holds(with_lora(model), case(FLUX, *SIZE), plain=model)
    assert sum("also on the model: weight patches (LoRA)" in line for line in run_log()) == 2
    holds(with_lora(model), case(FLUX, *SIZE), lambda patch: with_lora(patch_model(model, patch)))


def test_scheduled_lora(model, holds):
    """A hook on one conditioning, as Create Hook LoRA makes it, with a keyframe."""
    key = "diffusion_model.double_blocks.0.img_attn.qkv"
    shape = model.model.state_dict()[f"{key}.weight"].shape
    torch.manual_seed(12)
    lora = {f"{key}.lora_up.weight": torch.randn(shape[0], 4), f"{key}.lora_down.weight": torch.randn(4, shape[1])}
    edit, plain = case(FLUX, *SIZE), case(FLUX, *SIZE)
    hooks = comfy.hooks.create_hook_lora(lora, 1.0, 0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(strength=1.0))
    keyframes.add(comfy.hooks.HookKeyframe(strength=0.3, start_percent=0.5))
    hooks.set_keyframes_on_hooks(keyframes)
    edit.positive = comfy.hooks.set_hooks_for_conditioning(edit.positive, hooks)
    dense, _ = holds(model, edit, cfg=2.0)
    assert not torch.equal(dense, plain.sample(model, steps=2, cfg=2.0))


def test_patches_in_either_order(model, holds):
    """ModelSamplingFlux, a LoRA and differential diffusion, this patch first, last or between."""
    edit = case(FLUX, *SIZE)
    edit.mask[..., 4:10, 6:14] = torch.linspace(0.1, 1, 8)
    shift = nodes_model_advanced.ModelSamplingFlux()

    def shifted(m):
        return shift.patch(m, 1.15, 0.5, 256, 256)[0]

    def differential(m):
        return DifferentialDiffusion.execute(m).args[0]

    whole = differential(with_lora(shifted(model)))
    results = [
        holds(whole, edit, lambda patch: differential(with_lora(shifted(patch_model(model, patch)))))[1],
        holds(whole, edit, lambda patch: differential(patch_model(with_lora(shifted(model)), patch)))[1],
        holds(whole, edit)[1],
    ]
    assert torch.equal(results[0], results[1]) and torch.equal(results[1], results[2])


@pytest.mark.parametrize("channels", [32, 96])
def test_concat_channels(holds, channels):
    """Control LoRA (32 channels) and Fill (96)."""
    edit = case(FLUX, *SIZE)
    for cond in (*edit.positive, *edit.negative):
        cond[1]["concat_latent_image"] = edit.latent.flip(-1)
        cond[1]["concat_mask"] = torch.nn.functional.interpolate(edit.mask, scale_factor=8)
    holds(patcher(flux(in_channels=channels)), edit)


def test_cfg(model, holds):
    edit = case(FLUX, *SIZE)
    edit.negative = [[torch.randn(1, 12, 48), edit.negative[0][1]]]
    holds(model, edit, cfg=3.0)


GUIDANCE = {
    "CFGNorm": lambda m: nodes_cfg.CFGNorm.execute(m, 1.0).args[0],
    "CFGZeroStar": lambda m: nodes_cfg.CFGZeroStar.execute(m).args[0],
    "RenormCFG": lambda m: nodes_lumina2.RenormCFG.execute(m, 100, 1.0).args[0],
    "RescaleCFG": lambda m: nodes_model_advanced.RescaleCFG().patch(m, 0.7)[0],
}


@pytest.mark.parametrize("name", GUIDANCE)
def test_guidance_nodes(model, holds, name):
    holds(GUIDANCE[name](model), case(FLUX, *SIZE), plain=model, cfg=3.0)


@pytest.mark.parametrize("name", ["flux", "aura", "sd3"])
def test_model_sampling_nodes(model, holds, name):
    shifted = {
        "flux": lambda: nodes_model_advanced.ModelSamplingFlux().patch(model, 2.5, 0.5, 1024, 1024)[0],
        "aura": lambda: nodes_model_advanced.ModelSamplingAuraFlow().patch_aura(model, 1.73)[0],
        "sd3": lambda: nodes_model_advanced.ModelSamplingSD3().patch(model, 5.0)[0],
    }[name]()
    holds(shifted, case(FLUX, *SIZE), plain=model)


def test_flux_guidance(model, holds):
    edit, plain = case(FLUX, *SIZE), case(FLUX, *SIZE)
    edit.positive = FluxGuidance.execute(edit.positive, 30.0).args[0]
    dense, out = holds(model, edit)
    assert not torch.equal(dense, plain.sample(model, steps=2))
    assert not torch.equal(out, plain.sample(patch_model(model, Patch(BALANCED)), steps=2))


def test_skip_layer_guidance(model, holds):
    slg = nodes_slg.SkipLayerGuidanceDiT.execute(model, 3.0, 0.0, 1.0, "0", "1", 0.5).args[0]
    simple = nodes_slg.SkipLayerGuidanceDiTSimple.execute(model, 0.0, 1.0, "0", "1").args[0]
    # its rescaling takes the deviation of the whole picture; the outside is the mask's business and stays
    edit = case(FLUX, *SIZE)
    holds(slg, edit, plain=model, cfg=2.0)
    holds(simple, edit, plain=model, cfg=2.0)


def test_post_cfg_model_call(model, holds):
    """PAG's node, and a guidance that calls the model with attention replaced by an override."""
    holds(PerturbedAttentionGuidance.execute(model, 3.0).args[0], case(FLUX, *SIZE), cfg=2.0)

    def perturbed(args):
        def values(function, q, k, v, heads, *a, **kw):
            return function(q, k, v * 0.5, heads, *a, **kw)

        options = dict(args["model_options"])
        options["transformer_options"] = {**options["transformer_options"], "optimized_attention_override": values}
        (other,) = comfy.samplers.calc_cond_batch(args["model"], [args["cond"]], args["input"], args["sigma"], options)
        return args["denoised"] + (args["cond_denoised"] - other) * 2

    clone = model.clone()
    clone.set_model_sampler_post_cfg_function(perturbed)
    holds(clone, case(FLUX, *SIZE), plain=model)


@pytest.mark.parametrize("threshold", [0.0, 3.0])
def test_easycache(model, holds, threshold):
    """Never skipping, and skipping whatever may be skipped."""
    cached = nodes_easycache.EasyCacheNode.execute(model, threshold, 0.0, 1.0, False).args[0]
    plain = model if threshold else None
    edit = case(FLUX, *SIZE)
    holds(cached, edit, plain=plain, steps=6)
    holds(cached, edit, lambda p: nodes_easycache.EasyCacheNode.execute(patch_model(model, p), threshold, 0.0, 1.0,
                                                                        False).args[0], steps=6)  # fmt: skip
    mixed = patch_model(cached, Patch(replace(BALANCED, schedule=Schedule(first=1, last=1, every=2))))
    assert torch.isfinite(edit.sample(mixed, steps=6)).all()


@pytest.mark.parametrize("threshold", [0.0, 3.0])
def test_lazycache(model, holds, threshold):
    cached = nodes_easycache.LazyCacheNode.execute(model, threshold, 0.0, 1.0, False).args[0]
    holds(cached, case(FLUX, *SIZE), plain=model if threshold else None, steps=6)


def test_scaled_positions(model, holds):
    holds(nodes_rope.ScaleROPE.execute(model, 1.5, 3.0, 0.7, 0.0, 1.0, 0.0).args[0], case(FLUX, *SIZE), plain=model)


def test_block_replacement(model, holds):
    def louder(args, extra):
        out = extra["original_block"](args)
        return {**out, "img": out["img"] * 1.5}

    clone = model.clone()
    clone.set_model_patch_replace(louder, "dit", "double_block", 0)
    holds(clone, case(FLUX, *SIZE), plain=model)


def test_attention_patch(model, holds, run_log):
    """Hosts before attention patches in DiTs do not call it; the run is compressed either way."""
    clone = model.clone()
    clone.set_model_attn1_patch(lambda q, k, v, *a, **kw: {"q": q * 0.5, "k": k, "v": v, **kw})
    edit = case(FLUX, *SIZE)
    try:
        edit.sample(clone, steps=1)
    except TypeError:
        pytest.skip("this host hands the patch other arguments")
    holds(clone, edit)
    assert "attn1_patch" in run_log()[-1]


def test_model_function_wrapper(model, holds):
    seen = []

    def wrapper(apply_model, args):
        seen.append(args["input"].shape)
        return apply_model(args["input"], args["timestep"], **args["c"]) * 0.9

    clone = model.clone()
    clone.set_model_unet_function_wrapper(wrapper)
    holds(clone, case(FLUX, *SIZE), plain=model)
    assert {shape[-2:] for shape in seen} == {SIZE}


def test_wrapper_around_model_call(model, holds):
    """Before or after this patch in the graph: it sees the whole picture."""
    seen = []

    def wrapper(executor, x, *args, **kwargs):
        seen.append(tuple(x.shape[-2:]))
        return executor(x, *args, **kwargs) * 0.9

    def wrapped(m):
        clone = m.clone()
        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "other", wrapper)
        return clone

    edit = case(FLUX, *SIZE)
    holds(wrapped(model), edit, plain=model)
    holds(wrapped(model), edit, lambda patch: wrapped(patch_model(model, patch)))
    assert set(seen) == {SIZE}


def test_masked_conditioning(model, holds):
    """Two prompts, each with its own mask (Conditioning Set Mask)."""
    edit = case(FLUX, *SIZE)
    half = torch.zeros(1, *SIZE)
    half[:, :, : SIZE[1] // 2] = 1
    second = [[torch.randn(1, 7, 48), edit.positive[0][1]]]
    parts = [(edit.positive, half), (second, 1 - half)]
    edit.positive = [
        c for cond, mask in parts for c in node_helpers.conditioning_set_values(
            cond, {"mask": mask, "set_area_to_bounds": False, "mask_strength": 1.0}
        )
    ]  # fmt: skip
    holds(model, edit)


def test_second_sampler_of_another_size(model, run_log):
    """Sample, upscale the latent, sample again with the same MODEL."""
    edit, patched = case(FLUX, *SIZE), patch_model(model, Patch(BALANCED))
    (bigger,) = host_nodes.LatentUpscale().upscale({"samples": edit.sample(patched, steps=2)}, "bilinear", 384, 288, "disabled")  # fmt: skip # noqa: E501
    second = case(FLUX, 36, 48)
    second.latent = bigger["samples"]
    dense = second.sample(model, steps=2, denoise=0.5)
    out = second.sample(patched, steps=2, denoise=0.5)
    assert (out - dense)[(second.mask == 0).expand_as(out)].abs().max().item() == 0.0
    assert ["of 192 tokens" in run_log()[-2], "of 432 tokens" in run_log()[-1]] == [True, True], run_log()
