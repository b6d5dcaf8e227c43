"""The archive that the registry would take: `python -m tools.archive` writes `.cache/hilo-token-VERSION.zip`.

It holds the tracked files that `.comfyignore` does not name, as they are in the working tree, and nothing else.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

from tools import host


def shipped() -> list[str]:
    """Tracked files that `.comfyignore` does not name, relative to the repository."""
    ignored = tuple((host.ROOT / ".comfyignore").read_text(encoding="utf-8").split())
    asked = subprocess.run(["git", "ls-files", "-z"], cwd=host.ROOT, capture_output=True, text=True, check=True)
    names = [name for name in asked.stdout.split("\0") if name and not name.startswith(ignored)]
    return [name for name in names if (host.ROOT / name).is_file()]


def version() -> str:
    """Of pyproject.toml."""
    text = (host.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'^version = "([^"]+)"', text, re.MULTILINE)[0]


def write(path: Path) -> Path:
    """The archive, at that path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in shipped():
            archive.write(host.ROOT / name, name)
    return path


def main() -> None:
    """Write it, and say how large it is."""
    path = write(host.CACHE / f"hilo-token-{version()}.zip")
    sys.stdout.write(f"{path.relative_to(host.ROOT)} {path.stat().st_size / 2**20:.1f} MiB, {len(shipped())} files\n")


if __name__ == "__main__":
    main()
