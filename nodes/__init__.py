"""The nodes, one file each."""

from __future__ import annotations

import sys

from comfy_api.latest import ComfyExtension, io


class HiLoExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes of the pack, in the order of the menu."""
        from .fit import HiLoFit
        from .mask_dilate import HiLoMaskDilate
        from .masked_decode import HiLoMaskedDecode
        from .model_patch import HiLoModelPatch
        from .report import HiLoReport
        from .token_select import HiLoTokenSelect

        return [HiLoModelPatch, HiLoTokenSelect, HiLoMaskDilate, HiLoMaskedDecode, HiLoReport, HiLoFit]


async def comfy_entrypoint() -> HiLoExtension:
    """Entry point of the V3 API."""
    _add_route()
    return HiLoExtension()


def _add_route() -> None:
    """The route of the live preview; without a server (a script that imports the nodes) there is none."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is not None:
        from .preview_route import add_route

        add_route(server.routes)
