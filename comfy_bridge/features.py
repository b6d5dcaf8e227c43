"""What else can be on a model or in a graph, and what HiLo-Token does about it, as one table: the reasons that users
see for a dense run, and the rows of the compatibility page. It knows nothing of a model; `neighbours` looks at one."""

from __future__ import annotations

from dataclasses import dataclass

WORKS, DENSE, REFUSED = "works", "falls back to dense, and says why", "refused"


@dataclass(frozen=True)
class Feature:
    """One row of the compatibility table. For dense ones `text` is the reason that the user sees."""

    name: str
    test: str  # the test that holds it, by name
    verdict: str = WORKS
    text: str = ""


FEATURES: dict[str, Feature] = {
    "lora": Feature("LoRA", "test_lora"),
    "scheduled_lora": Feature("Hooks, scheduled LoRA", "test_scheduled_lora"),
    "order": Feature("Several MODEL patches, in either order", "test_patches_in_either_order"),
    "differential": Feature("Differential Diffusion", "test_differential_diffusion"),
    "controlnet": Feature("ControlNet for DiTs", "test_controlnet", text="residuals follow the tokens"),
    "control_lora": Feature("Control LoRA, Fill: concatenated channels", "test_concat_channels"),
    "cfg": Feature("CFG, two conditionings of other lengths", "test_cfg"),
    "cfg_patches": Feature("CFGNorm, RenormCFG, CFGZeroStar, RescaleCFG", "test_guidance_nodes"),
    "sampling_patches": Feature("ModelSamplingFlux, ModelSamplingAuraFlow, SD3 shift", "test_model_sampling_nodes"),
    "flux_guidance": Feature("FluxGuidance", "test_flux_guidance"),
    "slg": Feature("Skip layer guidance (SLG)", "test_skip_layer_guidance"),
    "pag": Feature("Perturbed attention guidance, and other post-CFG model calls", "test_post_cfg_model_call"),
    "guiders": Feature("Dual CFG, Perp-Neg and other guiders", "test_guiders"),
    "easycache": Feature("EasyCache", "test_easycache", text="skips steps by the strip's change"),
    "lazycache": Feature("LazyCache", "test_lazycache"),
    "rope": Feature("ScaleROPE", "test_scaled_positions"),
    "block_replace": Feature(
        "Block replacements ('dit')", "test_block_replacement", text="receive the compressed sequence"
    ),
    "token_patch": Feature(
        "Attention patches (attn1, attn2), NAG", "test_attention_patch", text="receive the compressed sequence"
    ),
    "override": Feature("Attention overrides", "test_attention_override", text="called with the biased mask"),
    "override_kernel": Feature(
        "Attention overrides that drop the mask: SageAttention nodes",
        "test_override_that_is_a_kernel_without_masks",
        text="another node's attention takes no mask, so compressed steps use PyTorch attention",
    ),
    "override_no_mask": Feature(
        "Attention overrides that change attention and drop the mask",
        "test_override_that_drops_the_mask",
        DENSE,
        "another node's attention override drops the mask, which HiLo-Token needs",
    ),
    "foreign_attention": Feature(
        "Attention replaced by code that no override reaches",
        "test_attention_that_no_override_reaches",
        DENSE,
        "this model's attention was replaced by code that takes no override, which HiLo-Token needs",
    ),
    "backends": Feature("Attention: PyTorch, split, sub-quadratic, basic", "test_attention_backends"),
    "fp8": Feature("fp8 and other weights with manual cast", "test_fp8_weights"),
    "gguf": Feature("GGUF and other weights unpacked in the layer", "test_packed_weights"),
    "compile": Feature("torch.compile", "test_torch_compile"),
    "inductor": Feature("TorchCompileModel (inductor)", "test_inductor", text="compiled once for each strip length"),
    "offload": Feature("Low-VRAM offloading", "test_offloaded_weights"),
    "preview": Feature("Previews", "test_preview_sees_the_picture"),
    "taesd": Feature("TAESD previews", "test_preview_through_a_small_decoder"),
    "interrupt": Feature("Interrupt", "test_interrupt_leaves_nothing"),
    "second_sampler": Feature("Upscale and a second sampler of another size", "test_second_sampler_of_another_size"),
    "samplers": Feature("Every sampler of the host", "test_every_sampler"),
    "schedulers": Feature("Every scheduler of the host", "test_every_scheduler"),
    "model_wrapper": Feature("Model function wrappers", "test_model_function_wrapper"),
    "apply_wrapper": Feature("Wrappers around a model call", "test_wrapper_around_model_call"),
    "mask_cond": Feature("Masked conditioning", "test_masked_conditioning"),
    "area": Feature("Area conditioning", "test_area_conditioning", DENSE, "area conditioning crops the latent"),
    "tiles": Feature("Tiling inside the sampler", "test_tiled_model_calls", DENSE, "a model call sees a tile only"),
    "context_windows": Feature(
        "Context windows", "test_context_windows", DENSE, "context windows take the latent apart"
    ),
    "batch": Feature(
        "Train LoRA, and other nodes that call the model one image at a time",
        "test_part_of_the_batch_with_a_plan_alone",
        DENSE,
        "a model call has a part of the batch only",
    ),
    "redux": Feature(
        "Redux, style model with a strength", "test_redux", DENSE, "an attention mask over image tokens (Redux)"
    ),
    "grid_patch": Feature(
        "DiffSynth, Z-Image Fun and other full-grid patches",
        "test_full_grid_patch",
        DENSE,
        "a '{}' patch of another node works on the full token grid",
    ),
    "grid_input": Feature(
        "Inputs on the full grid (reference frames of video models)",
        "test_full_grid_input",
        DENSE,
        "this model's '{}' input works on the full token grid",
    ),
    "unknown_wrapper": Feature(
        "Unknown wrappers inside the model call",
        "test_unknown_wrapper",
        DENSE,
        "the wrapper '{}' of another node is not known to work on a part of the tokens",
    ),
    "control_grid": Feature(
        "ControlNet on another token grid", "test_controlnet_of_another_grid", DENSE,
        "a ControlNet gives residuals of another grid",
    ),
    "clips": Feature("Clips of Wan and HunyuanVideo, with a mask for each frame", "test_outside_is_the_source"),
    "frames": Feature(
        "Clips of other models", "test_several_frames", DENSE,
        "the latent has more than one frame, and clips of this model are not compressed",
    ),
    "unet": Feature("UNets (SD 1.5, SDXL)", "test_unknown_model_is_refused", REFUSED),
    "stateful": Feature(
        "Whatever may keep features between steps: block replacements, model function wrappers, unknown wrappers",
        "test_one_set_has_no_dense_step_between",
        text="all steps take one set of tokens, since {} may keep features between steps",
    ),
    "whole_grid": Feature(
        "Regional prompts, and other masks or weights made for the whole grid",
        "test_beside_a_neighbour_that_needs_the_whole",
        DENSE,
        "{} was made for the whole grid",
    ),
    "fails_on_strip": Feature(
        "Foreign code that fails on a part of the tokens",
        "test_beside_a_neighbour_that_needs_the_whole",
        DENSE,
        "{} fails on a part of the tokens",
    ),
    "replaced_code": Feature(
        "TeaCache, CacheDiT, WaveSpeed and others that put their own forward or blocks into a model",
        "test_beside_a_neighbour_that_needs_the_whole",
        DENSE,
        "{} by another node",
    ),
    "class": Feature(
        "A model inside another node's module, or of a class made from a known one",
        "test_model_that_is_not_of_its_own_class",
        DENSE,
        "the model's class {} is not known",
    ),
    "nan": Feature("A latent or mask with NaN", "test_nan_is_an_error", REFUSED),
}  # fmt: skip


def table() -> list[tuple[str, str, str, str]]:
    """The table of the README: name, verdict, remark, test."""
    return [(f.name, f.verdict, f.text.format("..."), f"`{f.test}`") for f in FEATURES.values()]
