"""Photos and masks with their token maps: `python -m lab.quality.plan_gallery` writes `.cache/gallery/index.html`."""

from __future__ import annotations

import html
import logging
from pathlib import Path

import numpy as np
import torch
from hilo_token.hilo_core.cost import ModelShape
from hilo_token.hilo_core.frequency import detail, luma
from hilo_token.hilo_core.mask import mask_to_tokens
from hilo_token.hilo_core.plan import make_plan
from hilo_token.hilo_core.presets import preset
from hilo_token.hilo_core.render import COLOURS, describe, token_map
from PIL import Image

from lab.data import masks, pictures, scenes
from tools import host

TARGET = host.CACHE / "gallery"
PRESETS = ("balanced", "fast", "quality", "paper")
_log = logging.getLogger("lab.gallery")


def sources() -> list[tuple[str, np.ndarray]]:
    """Photos of the repository, held-out photos if they have been fetched, and drawn scenes."""
    files = sorted((Path(__file__).parents[1] / "photos").glob("*.jpg"))
    cached = sorted((host.CACHE / "train" / "photos").glob("*.jpg"))
    files += [f for f in cached if pictures.held_out(f) and f.stem != pictures.DEMO]
    found = [(f.stem, np.asarray(Image.open(f).convert("RGB"))) for f in files[:12]]
    return found + [(kind, scenes.draw(5000 + i, 768, kind)) for i, kind in enumerate(scenes.KINDS)]


def main() -> None:
    """One row for each picture: ratio and shape of the mask vary, the preset turns."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    TARGET.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), []
    for number, (name, array) in enumerate(sources()):
        height, width = array.shape[:2]
        mask = masks.draw(rng, height, width, (0.0638, 0.1592, 0.3536)[number % 3])
        down, across = -(-height // 16), -(-width // 16)
        image = torch.from_numpy(array.astype(np.float32) / 255)
        edit = mask_to_tokens(torch.from_numpy(mask)[None].float(), down, across, 16)
        chosen = PRESETS[number // 3 % len(PRESETS)]
        settings = preset(chosen).tokens
        plan = make_plan(edit, detail(luma(image[None]), down, across, settings.score), settings)
        shown = torch.where(torch.from_numpy(mask)[..., None], 0.5 + 0.5 * image, image)
        both = torch.cat([shown, token_map(image, plan)], dim=1)
        picture = Image.fromarray((both * 255).byte().numpy())
        picture.thumbnail((1100, 1100))
        picture.save(TARGET / f"{number:02d}.jpg", quality=85)
        text = html.escape(
            f"{name}, {width}x{height}, mask {100 * mask.mean():.1f} %, {chosen}\n{describe(plan, ModelShape())}"
        )
        rows.append(f'<figure><img src="{number:02d}.jpg"><figcaption><pre>{text}</pre></figcaption></figure>')
    legend = " ".join(
        f'<b style="background:rgb{rgb};color:#888">&nbsp;{name}&nbsp;</b>' for name, rgb in COLOURS.items()
    )
    head = "<!doctype html><meta charset=utf-8><title>Token plans</title><h1>Token plans</h1>"
    page = f"{head}<p>{legend}</p>{''.join(rows)}"
    (TARGET / "index.html").write_text(page, encoding="utf-8")
    _log.info("%d plans in %s", len(rows), TARGET / "index.html")


if __name__ == "__main__":
    main()
