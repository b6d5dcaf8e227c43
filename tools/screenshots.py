"""Copies the browser tests' screenshots that README and help pages show: `python -m tools.screenshots`."""

from __future__ import annotations

import sys

from PIL import Image

from tools import host

SHOTS, DOCS = host.CACHE / "screenshots", host.ROOT / "web" / "docs"
PICTURES = {  # file: screenshot, box (left, top, right, bottom) in its pixels, width
    "canvas.jpg": ("after_run", (69, 125, 1205, 985), 900),
    "blueprint.jpg": ("blueprint", (200, 285, 1400, 715), 800),
}  # fmt: skip
HELP_PAGES = ("HiLoModelPatch", "HiLoTokenSelect", "HiLoMaskDilate", "HiLoMaskedDecode", "HiLoReport", "HiLoFit")
MORE_HELP = ("HiLoCompare",)  # of other workflows than the demo


def main() -> None:
    """Cut, shrink, save."""
    for name, (shot, box, width) in PICTURES.items():
        cut = Image.open(SHOTS / f"{shot}.png").convert("RGB").crop(box)
        small = cut.resize((width, round(cut.height * width / cut.width)), Image.Resampling.LANCZOS)
        small.save(DOCS / name, quality=66, optimize=True)
        sys.stdout.write(f"{name} {(DOCS / name).stat().st_size // 1024} KB\n")
    for name in (*HELP_PAGES, *MORE_HELP):
        page = Image.open(SHOTS / f"help_{name}.png").convert("RGB")
        page.thumbnail((800, 800), Image.Resampling.LANCZOS)
        page.save(DOCS / f"{name}.jpg", quality=80, optimize=True)


if __name__ == "__main__":
    main()
