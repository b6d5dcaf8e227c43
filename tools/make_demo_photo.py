"""Writes `web/demo/hilo_demo.webp`, the photo of the demo template: `python -m tools.make_demo_photo`.

It is `lab/photos/demo.jpg`, brighter and sharper, with the demo's mask in its own alpha, as the host's mask editor
saves a painted picture, so that painting on it is what counts.
"""

from __future__ import annotations

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from tools import host

PHOTO = host.ROOT / "web" / "demo" / "hilo_demo.webp"
SIDE, GAMMA = 1024, 0.62


def photo() -> Image.Image:
    """RGBA, transparent where the picture is to change."""
    source = Image.open(host.ROOT / "lab" / "photos" / "demo.jpg").convert("RGB")
    lifted = source.point([round(255 * (value / 255) ** GAMMA) for value in range(256)] * 3)
    lifted = ImageEnhance.Color(ImageOps.autocontrast(lifted, cutoff=0.5)).enhance(1.15)
    picture = lifted.filter(ImageFilter.UnsharpMask(radius=3, percent=90, threshold=2))
    mask = Image.open(host.ROOT / "lab" / "photos" / "demo_mask.png").convert("L")
    picture.putalpha(ImageOps.invert(mask))
    return picture


def main() -> None:
    """Write the file; colours under the mask are kept."""
    PHOTO.parent.mkdir(parents=True, exist_ok=True)
    photo().save(PHOTO, quality=88, alpha_quality=100, exact=True, method=6)


if __name__ == "__main__":
    main()
