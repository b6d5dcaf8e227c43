"""Training and evaluation pictures: photos from Debian's wallpaper packages, cached as JPEG.

Nothing of them is in the repository; `PICTURES.md` lists the packages and their licences. The one photo that is
(`photos/demo.jpg`, CC0) and every fifth other one are held out from training.
"""

from __future__ import annotations

import hashlib
import logging
import re
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGES = (
    "plasma-workspace-wallpapers", "gnome-backgrounds", "mate-backgrounds", "ukui-wallpapers",
    "lomiri-wallpapers", "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "sway-backgrounds",
)  # fmt: skip
SHORT_SIDE = 1088
DEMO = "seeding_by_Clements_Engelhardt"
VARIANT = re.compile(r"(_\d+x\d+|-l|-(Cold|Radioactive|Warm)-no-logo)$")  # one version of a picture is enough
_log = logging.getLogger("lab.data.pictures")


def prepare(cache: Path) -> list[Path]:
    """Download, unpack and shrink the photos; quick when that was done before. Needs apt-get and dpkg-deb."""
    photos = cache / "photos"
    if not (photos / "done").exists():
        photos.mkdir(parents=True, exist_ok=True)
        debs = cache / "deb"
        debs.mkdir(exist_ok=True)
        for package in PACKAGES:
            if not list(debs.glob(f"{package}_*.deb")):
                subprocess.run(["apt-get", "download", "-q", package], cwd=debs, check=True, stdout=subprocess.DEVNULL)
        for deb in sorted(debs.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", deb.name, "x"], cwd=debs, check=True)
        _shrink_all(debs / "x", photos)
        (photos / "done").touch()
    return sorted(photos.glob("*.jpg"))


def _shrink_all(source: Path, target: Path) -> None:
    files = [f for f in source.rglob("*") if f.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") and f.is_file()]
    largest: dict[str, Path] = {}
    for file in sorted(files, key=lambda f: f.stat().st_size):
        # KDE keeps one picture in many sizes in a folder of its own, under the name of the size
        name = file.parents[2].name if file.stem[:1].isdigit() and "x" in file.stem else file.stem
        largest["sway" if name.startswith("Sway") else name] = file
    seen: set[bytes] = set()
    for name, file in largest.items():
        with Image.open(file) as picture:
            if min(picture.size) < 900 or VARIANT.search(name):
                continue
            picture = picture.convert("RGB")
            tiny = np.asarray(picture.resize((32, 32)))
            if tiny.std() < 1 or tiny.tobytes() in seen:  # one colour only, or the same picture under two names
                continue
            seen.add(tiny.tobytes())
            scale = SHORT_SIDE / min(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            picture.resize(size, Image.Resampling.LANCZOS).save(target / f"{name}.jpg", quality=93)
    _log.info("%d photos", len(seen))


def held_out(path: Path) -> bool:
    """Whether a photo is kept from training: the demo's, and every fifth by the hash of its name."""
    return path.stem == DEMO or hashlib.sha256(path.stem.encode()).digest()[0] % 5 == 0


def load(paths: list[Path]) -> list[np.ndarray]:
    """(H, W, 3) uint8 for each path."""
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]
