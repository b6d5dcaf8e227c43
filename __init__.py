"""HiLo-Token: masked editing on diffusion transformers that costs what the edit costs."""

import logging

NEEDED = (0, 3, 75)
WEB_DIRECTORY = "./web"

try:
    from comfyui_version import __version__ as _host
except ImportError:
    _host = "0"

if tuple(int(part) for part in _host.split(".")[:3] if part.isdigit()) >= NEEDED:
    from .nodes import comfy_entrypoint

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
else:
    __all__ = ["NODE_CLASS_MAPPINGS"]
    NODE_CLASS_MAPPINGS: dict[str, type] = {}
    logging.getLogger("hilo-token").error(
        "HiLo-Token needs ComfyUI %s or newer; this is %s. Update ComfyUI; until then its nodes are missing.",
        ".".join(map(str, NEEDED)),
        _host,
    )
