"""What other nodes do within a model call, found out by looking at the model and its options.

It tells what may keep state between steps, what was made for the whole grid, what takes the place of the model's own
code, and what else is on the model. It decides nothing: `refuse` and `run` do. Another node's patch is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .call import OVERRIDE
from .masked import MaskedAttention
from .positions import AnyPositions

# patches of one sequence of tokens each: right on any sequence; or of UNets only, so never called here
TOKEN_PATCHES = {"attn1_patch", "attn1_output_patch", "attn2_patch", "attn2_output_patch"}
UNET_PATCHES = {
    "input_block_patch",
    "input_block_patch_after_skip",
    "output_block_patch",
    "middle_patch",
    "middle_block_after_patch",
    "emb_patch",
    "forward_timestep_embed_patch",
}
STRIP_WRAPPERS = {"easycache", "torch.compile"}  # wrappers inside a model call that are right on a strip
WRAPPERS = {"easycache", "lazycache", "torch.compile", "context_windows"}  # the host's own, anywhere
_HOST = ("comfy", "comfy_extras", "comfy_api")
_LAYERS = (torch.nn.Linear, torch.nn.Embedding, torch.nn.LayerNorm, torch.nn.modules.conv._ConvNd)
_OURS = AnyPositions | MaskedAttention
_AROUND = ("predict_noise", "calc_cond_batch", "apply_model")


def root(thing: Any) -> str:
    """The top package that a function or an object's class comes from."""
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return str(module).split(".")[0]


def keeps_state(model_options: dict[str, Any], mine: str) -> str:
    """The first thing on a model, by a name that its user may know, that may keep token features between steps; or ''.

    Host nodes' own are known not to. mine: the key of this pack's wrappers.
    """
    options = model_options.get("transformer_options", {})
    if (wrapper := model_options.get("model_function_wrapper")) is not None and root(wrapper) not in _HOST:
        return f"a model function wrapper ({_name(wrapper)})"
    for kind in _AROUND:
        for key, wrappers in options.get("wrappers", {}).get(kind, {}).items():
            if wrappers and key not in {*WRAPPERS, mine} and any(root(w) not in _HOST for w in wrappers):
                return f"the wrapper '{key}'" if key else f"a wrapper ({_name(wrappers[0])})"
    for _, function in _replacements(options):
        if root(function) not in _HOST:
            return f"a block replacement ({_name(function)})"
    return ""


def _replacements(options: dict[str, Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """(kind, function) of each block replacement on a model call."""
    for kind, blocks in options.get("patches_replace", {}).items():
        yield from ((kind, function) for function in blocks.values())


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__)).split(".<locals>")[0]


def foreign(options: dict[str, Any]) -> list[tuple[str, Any]]:
    """(name, function) of whatever of other nodes runs among the model's blocks, or in its attention."""
    found = [(f"a block replacement ({_name(f)})", f) for _, f in _replacements(options)]
    if (override := options.get(OVERRIDE)) is not None:
        found.append((f"an attention override ({_name(override)})", override))
    for kind, functions in options.get("patches", {}).items():
        found += [(f"a '{kind}' patch ({_name(f)})", f) for f in functions]
    return [(name, f) for name, f in found if root(f) not in _HOST]


def made_for_grid(options: dict[str, Any], lengths: set[int], width: int) -> str:
    """The first foreign function among the blocks that holds a tensor of the whole grid's length; or ''.

    lengths: numbers of tokens that only the whole picture has. Such a mask or weight would fail on a strip or, worse,
    be cut to it in silence. width: of the model, whose multiples are the sides of weights, a matrix each, whatever the
    picture.
    """
    for name, function in foreign(options):
        for tensor in _held(function):
            if any(n in lengths and (n % width or tensor.ndim > 2) for n in tensor.shape):
                return name
    return ""


def _held(function: Any, depth: int = 3) -> Iterator[Tensor]:
    """Tensors that a function, or an object, has in its closure, defaults or attributes."""
    if isinstance(function, Tensor):
        yield function
    elif isinstance(function, (list, tuple)) and depth:
        for item in function[:64]:
            yield from _held(item, depth - 1)
    elif isinstance(function, dict) and depth:
        for item in list(function.values())[:64]:
            yield from _held(item, depth - 1)
    elif depth and not isinstance(function, (torch.nn.Module, type, str)) and root(function) not in (*_HOST, "torch"):
        cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if _filled(cell)]
        inside = [*cells, getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)]
        inside += [
            getattr(function, "__self__", None),
            getattr(function, "func", None),
            getattr(function, "args", None),
        ]
        own = getattr(function, "__dict__", None)
        for item in [*inside, own if isinstance(own, dict) else None]:
            if item is not None:
                yield from _held(item, depth - 1)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # not yet assigned
        return False


def uncompiled(network: Any) -> Any:
    """A diffusion model without the module that compiles it."""
    return getattr(network, "_orig_mod", network)


def replaced_code(network: Any) -> str:
    """What of a diffusion model is not its own class's code, at this moment; or ''."""
    for name, value in vars(network).items():
        own = getattr(type(network), name, None)
        if getattr(value, "__func__", value) is own:
            continue  # a method of its own, which the host put back
        if callable(value) and callable(own) and not isinstance(value, _OURS):
            return f"'{name}' of the model was replaced"
    for name, child in network.named_children():
        if not isinstance(child, torch.nn.ModuleList):
            continue
        if type(child) is not torch.nn.ModuleList:
            return f"'{name}' of the model was replaced"
        for block in child:
            own = root(type(block)) in (*_HOST, "torch") or isinstance(block, _LAYERS)
            if not own or "forward" in vars(block):
                return f"a block of the model in '{name}' was replaced ({type(block).__name__})"
    return ""


def changes_blocks(model: Any, options: dict[str, Any]) -> bool:
    """Whether a model call may rightly have fewer attentions than the model, or some that cannot be counted: blocks
    that are skipped or compiled."""
    network = uncompiled(model.diffusion_model)
    parts = [network, *network.children(), *(b for c in network.children() for b in c.children())]
    compiled = network is not model.diffusion_model or any(
        hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) for part in parts
    )
    wrapped = options.get("wrappers", {})
    return compiled or any(_replacements(options)) or any("torch.compile" in kind for kind in wrapped.values())


def grid_patch(options: dict[str, Any]) -> str:
    """The first kind of patch, of those on a model call, that is not known to work on a strip; or ''.

    options: transformer_options.
    """
    known = TOKEN_PATCHES | UNET_PATCHES
    patches = {kind: [f for f in found if not _of_kv_cache(f)] for kind, found in options.get("patches", {}).items()}
    return next((kind for kind, found in patches.items() if found and kind not in known), "")


def keeps_references(options: dict[str, Any]) -> bool:
    """Whether keys and values of the references are kept from the first step on (FluxKVCache), so that each step has to
    see the same tokens of them. options: transformer_options."""
    return any(_of_kv_cache(f) for f in options.get("patches", {}).get("post_input", ()))


def _of_kv_cache(function: Any) -> bool:
    """Whether a patch is the host's FluxKVCache, which takes the references, the last tokens, away by their number."""
    return root(function) == "comfy_extras" and _name(function).startswith("FluxKVCache.")


def unknown_wrapper(options: dict[str, Any]) -> str:
    """The key of the first wrapper inside the model call that is not known to work on a strip; or ''."""
    inside = options.get("wrappers", {}).get("diffusion_model", {})
    return next((str(key) for key, found in inside.items() if found and key not in STRIP_WRAPPERS), "")


def reset_easycache(options: dict[str, Any]) -> None:
    """The sequence of tokens has changed: EasyCache's state, in tensors of the old one, starts afresh.

    Its own reset leaves a rate of 0, after which it would skip every step. options: transformer_options.
    """
    cache: Any = options.get("easycache")
    if hasattr(cache, "uuid_cache_diffs"):  # LazyCache, under the same name, has none and sees the picture
        skipped = cache.total_steps_skipped
        cache.reset()
        cache.total_steps_skipped, cache.relative_transformation_rate = skipped, None


def also_on(patcher: Any, model_options: dict[str, Any], mine: str) -> tuple[str, ...]:
    """What else is on a model, for the report, sorted. mine: the key of this pack's own wrappers."""
    options = model_options.get("transformer_options", {})
    found = {
        str(key) for kinds in options.get("wrappers", {}).values() for key, w in kinds.items() if w and key != mine
    }
    found |= {kind for kind, patches in options.get("patches", {}).items() if patches}
    found |= {f"{kind} replaced" for kind, blocks in options.get("patches_replace", {}).items() if blocks}
    found |= {name for name in ("rope_options", OVERRIDE) if options.get(name)}
    found |= {name for name in ("context_handler",) if model_options.get(name)}
    found |= {name for name, value in model_options.items() if value and callable(value)}
    found |= {name for name, value in model_options.items() if isinstance(value, list) and value}
    if patcher.patches:
        found.add("weight patches (LoRA)")
    embedder = {name for name, value in patcher.object_patches.items() if not isinstance(value, _OURS)}
    return tuple(sorted(found | embedder))
