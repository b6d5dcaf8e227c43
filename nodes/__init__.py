"""The nodes, one file each."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io


class HiLoExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes of the pack, in the order of the menu."""
        from .compare import HiLoCompare
        from .compare_guider import HiLoCompareAdvanced
        from .demo_model import HiLoDemoModel
        from .fit import HiLoFit
        from .mask_dilate import HiLoMaskDilate
        from .masked_decode import HiLoMaskedDecode
        from .model_patch import HiLoModelPatch
        from .report import HiLoReport
        from .token_select import HiLoTokenSelect

        return [
            HiLoModelPatch,
            HiLoTokenSelect,
            HiLoMaskDilate,
            HiLoMaskedDecode,
            HiLoReport,
            HiLoFit,
            HiLoCompare,
            HiLoCompareAdvanced,
            HiLoDemoModel,
        ]


async def comfy_entrypoint() -> HiLoExtension:
    """Entry point of the V3 API."""
    from .common import host_server

    if (server := host_server()) is not None:  # a script that imports the nodes has none
        from .preview.route import add_route
        from .token_select import HiLoTokenSelect

        add_route(server.routes, HiLoTokenSelect.define_schema())
    return HiLoExtension()
