"""Loads the pack as the host does: as one package, whatever its folder is called."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from tools import host

NAME = "hilo_token_pack"


def load_pack(module: str = "") -> ModuleType:
    """The pack, or one of its modules, e.g. `nodes.model_patch`."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            NAME, host.ROOT / "__init__.py", submodule_search_locations=[str(host.ROOT)]
        )
        pack = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = pack
        spec.loader.exec_module(pack)
    return importlib.import_module(f"{NAME}.{module}") if module else sys.modules[NAME]
