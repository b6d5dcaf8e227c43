"""The pictures of the judges J2 and J3: `python -m lab.judges.data --cache DIR`.

Other pictures than the demo model's: photographs, paintings and painted textures out of Debian packages, chosen by
rule (see `_usable`), shrunk and kept as JPEG in the cache. None of them is in the repository; `PACKAGES` names where
each comes from, and the package's own copyright file says under which terms. Wallpapers that the demo model learnt
from (`lab.data.pictures`) are never trained on here, so that one set of held-out pictures serves all judges.

`--canvases` draws the training canvases from them: crops, scales, mirrored and recoloured, and drawn scenes, each with
two masks, as arrays on disk that both trainings map.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import logging
import multiprocessing
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from lab.data import masks, scenes
from lab.data import pictures as demo_pictures

PACKAGES = (
    "opencv-doc", "stellarium-data", "redeclipse-data", "torcs-data", "freeorion-data", "supertuxkart-data",
    "debian-edu-artwork-emerald", "unknown-horizons", "gcompris-qt-data", "tuxpaint-stamps-default",
)  # fmt: skip
NOT_PICTURES = ("norm", "bump", "gloss", "spec", "_n.", "_local", "height", "mask", "_s.", "matte", "trimap", "depth")
EACH, PER_FOLDER, LARGE = (
    {"gcompris-qt-data": 300},
    10,
    45,
)  # pictures of a package (else 75), of a folder; how many large
SHORT, SHORT_LARGE = 576, 1056  # px
EDGES = {512: 3200, 1024: 480}  # canvases of each size, in px
MASKS_EACH = 2
_log = logging.getLogger("lab.judges.data")


def _carved(file: Path) -> list[bytes]:
    """WebP files inside a container such as Qt's .rcc."""
    raw, found, at = file.read_bytes(), [], 0
    while (at := raw.find(b"RIFF", at)) >= 0:
        size = 8 + int.from_bytes(raw[at + 4 : at + 8], "little")
        if raw[at + 8 : at + 12] == b"WEBP":
            found.append(raw[at : at + size])
        at += 4
    return found


def _usable(picture: Image.Image) -> bool:
    """Large enough, opaque, in colour or grey but not a map of normals, with detail that is no noise."""
    if min(picture.size) < 440 or max(picture.size) > 6 * min(picture.size):
        return False
    if picture.mode in ("RGBA", "LA", "PA") and np.asarray(picture.getchannel("A").resize((32, 32))).min() < 250:
        return False
    small = np.asarray(picture.convert("RGB").resize((64, 64), Image.Resampling.BOX)).astype(np.float32)
    red, green, blue = small.reshape(-1, 3).mean(0)
    common = np.unique((small // 8).astype(np.uint8).reshape(-1, 3), axis=0, return_counts=True)[1].max()
    if common > 0.3 * 64 * 64:  # a thing on an empty ground
        return False
    if small.std() < 14 or (blue > 190 and abs(red - 128) < 25 and abs(green - 128) < 25):
        return False
    out = io.BytesIO()
    picture.convert("RGB").resize((256, 256), Image.Resampling.LANCZOS).save(out, "JPEG", quality=75)
    return 0.12 < len(out.getvalue()) / 65536 < 0.62  # bytes a pixel


def _candidates(package: Path) -> list[tuple[str, bytes | Path]]:
    files = sorted(f for f in package.rglob("*") if f.is_file() and not f.is_symlink())
    found: list[tuple[str, bytes | Path]] = []
    for file in files:
        suffix, low = file.suffix.lower(), file.name.lower()
        if suffix in (".jpg", ".jpeg", ".png", ".webp") and not any(word in low for word in NOT_PICTURES):
            found.append((str(file.relative_to(package).parent), file))
        elif suffix == ".rcc":
            found += [(file.stem, raw) for raw in _carved(file)]
    return sorted(found, key=lambda f: hashlib.sha256(f[1] if isinstance(f[1], bytes) else f[1].name.encode()).digest())


def _choose(package: Path, target: Path, seen: set[bytes], large: int) -> int:
    """Save the usable pictures of one package; returns how many of them are large."""
    count, folders, kept_large = 0, Counter[str](), 0
    for folder, source in _candidates(package):
        if count >= EACH.get(package.name, 75) or folders[folder] >= PER_FOLDER * (
            9 if isinstance(source, bytes) else 1
        ):
            continue
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
                if not _usable(picture):
                    continue
                picture = picture.convert("RGB")
        except (OSError, ValueError, SyntaxError):
            continue
        tiny = (np.asarray(picture.convert("L").resize((6, 6), Image.Resampling.BOX)) // 24).tobytes()
        if tiny in seen:
            continue
        seen.add(tiny)
        short = SHORT_LARGE if min(picture.size) >= SHORT_LARGE and kept_large < large else SHORT
        kept_large += short == SHORT_LARGE
        scale = min(1.0, short / min(picture.size))
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
        longest = 3 * min(picture.size) // 2
        left, top = (max(n - longest, 0) // 2 for n in picture.size)
        box = (left, top, min(left + longest, picture.width), min(top + longest, picture.height))
        picture.crop(box).save(target / f"{package.name}-{count:03}.jpg", quality=78)
        folders[folder] += 1
        count += 1
    _log.info("%s: %d pictures, %d large", package.name, count, kept_large)
    return kept_large


def prepare(cache: Path) -> list[Path]:
    """Download, unpack, choose and shrink; quick when that was done before. Needs apt-get and dpkg-deb."""
    photos = cache / "pictures"
    if not (photos / "done").exists():
        photos.mkdir(parents=True, exist_ok=True)
        debs = cache / "deb"
        (debs / "x").mkdir(parents=True, exist_ok=True)
        seen: set[bytes] = set()
        large = 0
        for package in PACKAGES:
            if not list(debs.glob(f"{package}_*.deb")):
                subprocess.run(["apt-get", "download", "-q", package], cwd=debs, check=True, stdout=subprocess.DEVNULL)
            unpacked = debs / "x" / package
            if not unpacked.exists():
                deb = next(debs.glob(f"{package}_*.deb"))
                subprocess.run(["dpkg-deb", "-x", deb.name, f"x/{package}"], cwd=debs, check=True)
            large += _choose(unpacked, photos, seen, min(25, LARGE - large))
        (photos / "done").touch()
    return sorted(photos.glob("*.jpg"))


def held_out(path: Path) -> bool:
    """Whether a picture is kept from training: every eighth by the hash of its name."""
    return hashlib.sha256(path.stem.encode()).digest()[0] % 8 == 0


def _recoloured(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrored, turned, channels swapped, brighter or darker: so that few pictures teach more than themselves."""
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.15:
        pixels = np.rot90(pixels, int(rng.integers(1, 4)))
    if rng.random() < 0.35:
        pixels = pixels[..., rng.permutation(3)]
    if rng.random() < 0.4:
        curve = (np.arange(256) / 255) ** rng.uniform(0.6, 1.6) * 255
        pixels = curve.astype(np.uint8)[pixels]
    return pixels


def crop(picture: Image.Image, edge: int, rng: np.random.Generator) -> np.ndarray:
    """(edge, edge, 3) uint8: a random square of the picture, from all of it down to its own pixels."""
    short = min(picture.size)
    least = min(edge, short) if edge <= 512 else int(0.75 * min(edge, short))
    size = int(rng.integers(least, short + 1)) if rng.random() < 0.8 else least
    left, top = (int(rng.integers(n - size + 1)) for n in picture.size)
    square = picture.crop((left, top, left + size, top + size)).resize((edge, edge), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(_recoloured(np.asarray(square), rng))


def draw_mask(rng: np.random.Generator, edge: int) -> np.ndarray:
    """(edge, edge) bool: strokes, boxes and shapes of 2 to 50 %, and sometimes a whole side, as in outpainting."""
    if rng.random() < 0.08:
        mask = np.zeros((edge, edge), dtype=bool)
        mask[:, int(edge * rng.uniform(0.5, 0.9)) :] = True
        return np.ascontiguousarray(np.rot90(mask, int(rng.integers(4))))
    quarter = masks.draw(rng, edge // 4, edge // 4, rng.uniform(0.02, 0.5))
    return quarter.repeat(4, 0).repeat(4, 1)


def _canvas(job: tuple[Path, int, int, list[Path]]) -> None:
    folder, edge, number, files = job
    rng = np.random.default_rng((number, edge))
    pixels = np.lib.format.open_memmap(folder / f"pixels{edge}.npy", mode="r+")
    drawn = np.lib.format.open_memmap(folder / f"masks{edge}.npy", mode="r+")
    if number % 6 == 0 or not files:
        pixels[number] = scenes.draw(20000 + number, edge)
    else:
        with Image.open(files[int(rng.integers(len(files)))]) as picture:
            pixels[number] = crop(picture.convert("RGB"), edge, rng)
    for k in range(MASKS_EACH):
        drawn[number, k] = draw_mask(rng, edge)


def draw_canvases(pictures: list[Path], folder: Path, jobs: int, share: float = 1.0) -> None:
    """pixelsE.npy (n, E, E, 3) uint8 and masksE.npy (n, 2, E, E) bool for each size E."""
    folder.mkdir(parents=True, exist_ok=True)
    files, work = [p for p in pictures if not held_out(p)], []
    large = [p for p in files if min(Image.open(p).size) > SHORT + 100] or files
    for edge, full in EDGES.items():
        count = max(int(full * share), 8)
        np.lib.format.open_memmap(folder / f"pixels{edge}.npy", "w+", np.uint8, (count, edge, edge, 3)).flush()
        np.lib.format.open_memmap(folder / f"masks{edge}.npy", "w+", bool, (count, MASKS_EACH, edge, edge)).flush()
        work += [(folder, edge, n, files if edge == 512 else large) for n in range(count)]
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for _ in pool.imap_unordered(_canvas, work, chunksize=8):
            pass


def write_sets(own: list[Path], wallpapers: Path, into: Path) -> None:
    """Folders `choice` and `final` of pictures that no judge was trained on: of this module's,
    of `lab.data.pictures`, and the photographs in the repository, dealt out in turn by the hash of their names."""
    photos = sorted((Path(__file__).parent.parent / "photos").glob("*.jpg"))
    walls = [p for p in sorted(wallpapers.glob("*.jpg")) if demo_pictures.held_out(p) and p.stem != demo_pictures.DEMO]
    mine = [p for p in own if held_out(p)]
    for group, most in ((photos, 4), (walls, 20), (mine, 24)):
        order = sorted(group, key=lambda p: hashlib.sha256(b"set" + p.stem.encode()).digest())
        for number, file in enumerate(order[:most]):
            target = into / ("choice", "final")[number % 2] / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(file) as picture:
                short = min(picture.size)
                left, top = ((n - short) // 2 for n in picture.size)
                square = picture.convert("RGB").crop((left, top, left + short, top + short))
                square.resize((min(short, 1024),) * 2, Image.Resampling.LANCZOS).save(target, quality=88)


def main() -> None:
    """Prepare the pictures, and draw the canvases if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="where pictures are kept; none: no other than --wallpapers")
    parser.add_argument("--canvases", type=Path, help="folder for the training canvases, about 7 GB")
    parser.add_argument("--sets", type=Path, help="write the held-out pictures, in two sets, here")
    parser.add_argument("--wallpapers", type=Path, help="photos of lab.data.pictures, for --sets")
    parser.add_argument("--share", type=float, default=1.0, help="of the canvases, for a trial")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = prepare(options.cache) if options.cache else []
    if options.sets and options.wallpapers:
        write_sets(found, options.wallpapers, options.sets)
    if options.canvases:
        draw_canvases(found, options.canvases, options.jobs, options.share)


if __name__ == "__main__":
    main()
