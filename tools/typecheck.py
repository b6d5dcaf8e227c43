"""mypy over the method and the bridge: `python -m tools.typecheck`.

mypy has to know the pack by a name that is a module's, and a clone's folder may have any: it reads through a link.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import PACK, host

CHECKED = ("hilo_core", "comfy_bridge")


def main() -> int:
    """mypy's own exit status."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / PACK
        link.mkdir()
        for name in CHECKED:
            (link / name).symlink_to(host.ROOT / name, target_is_directory=True)
        (link / "__init__.py").touch()
        options = ["--config-file", str(host.ROOT / "pyproject.toml"), "--cache-dir", str(host.ROOT / ".mypy_cache")]
        names = [str(Path(PACK) / name) for name in CHECKED]
        where = os.environ | {"MYPYPATH": folder}
        return subprocess.run([sys.executable, "-m", "mypy", *options, *names], cwd=folder, env=where).returncode


if __name__ == "__main__":
    sys.exit(main())
