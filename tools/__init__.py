"""Scripts around the pack, and the one name by which they, the tests and the lab import it: `hilo_token`.

ComfyUI imports the pack by whatever its folder is called; here the folder may have any name as well.
"""

import sys
from pathlib import Path
from types import ModuleType

PACK = "hilo_token"

if PACK not in sys.modules:
    _package = ModuleType(PACK, "The pack without what its `__init__.py` does for ComfyUI.")
    _package.__path__ = [str(Path(__file__).resolve().parent.parent)]
    sys.modules[PACK] = _package
