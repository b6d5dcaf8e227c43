"""The nodes, one file each."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io


class HiLoExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes of the pack, in the order of the menu."""
        from .mask_dilate import HiLoMaskDilate
        from .masked_decode import HiLoMaskedDecode
        from .model_patch import HiLoModelPatch
        from .token_select import HiLoTokenSelect

        return [HiLoModelPatch, HiLoTokenSelect, HiLoMaskDilate, HiLoMaskedDecode]


async def comfy_entrypoint() -> HiLoExtension:
    """Entry point of the V3 API."""
    return HiLoExtension()
