"""HiLo-Token: masked editing on diffusion transformers that costs what the edit costs."""

import logging
import re

NEEDED = (0, 3, 75)
NEEDED_TORCH = (2, 4)
WEB_DIRECTORY = "./web"


def _version(text: str) -> tuple[int, ...]:
    """The numbers at the start of a version, of "2.4.1+cu121" 2, 4, 1."""
    return tuple(int(part) for part in re.match(r"[\d.]*", text)[0].split(".") if part)  # type: ignore[index]


try:
    from comfyui_version import __version__ as _host
except ImportError:
    _host = "0"
try:
    from torch import __version__ as _torch
except ImportError:
    _torch = "0"

_lacking = [
    f"{name} {'.'.join(map(str, needed))} or newer; this is {given}. Update {name}"
    for name, needed, given in (("ComfyUI", NEEDED, _host), ("PyTorch", NEEDED_TORCH, str(_torch)))
    if _version(given) < needed
]
if not _lacking:
    from .nodes import comfy_entrypoint

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
else:
    __all__ = ["NODE_CLASS_MAPPINGS"]
    NODE_CLASS_MAPPINGS: dict[str, type] = {}
    logging.getLogger("hilo-token").error("HiLo-Token needs %s; until then its nodes are missing.", _lacking[0])
