"""Loads the pack as the host does: as one package, whatever its folder is called."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from tools import PACK, host


def load_pack(module: str = "") -> ModuleType:
    """The pack with its `__init__.py` run, or one of its modules, e.g. `nodes.model_patch`."""
    if module:
        return importlib.import_module(f"{PACK}.{module}")
    if not hasattr(sys.modules[PACK], "WEB_DIRECTORY"):
        spec = importlib.util.spec_from_file_location(
            PACK, host.ROOT / "__init__.py", submodule_search_locations=[str(host.ROOT)]
        )
        pack = importlib.util.module_from_spec(spec)
        sys.modules[PACK] = pack
        spec.loader.exec_module(pack)
    return sys.modules[PACK]
