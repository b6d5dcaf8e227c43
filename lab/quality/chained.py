"""Twenty edits in a row on one picture: `python -m lab.quality.chained`.

The ordinary way decodes the whole picture after each edit and encodes it again for the next; *HiLo Masked Decode* puts
each edit into the picture before it. Stored for each number of edits: how far the pixels that no edit has touched are
from the original, how far an earlier edit is from what it was when it was made, and how far the latent of untouched
places is from that of the original. An edit here is another picture's latent inside the mask. The second autoencoder
needs its weights: see `lab.judges.codec`.
"""

from __future__ import annotations

import argparse
import sys
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.judges.codec import Taef2
from lab.quality.colour_match import photo
from lab.speed.vaes import small
from tools import host
from tools.pack import load_pack

EDITS, SIDE, FEATHER = 20, 256, 8
TOLD = (1, 5, 10, 20)  # numbers of edits that are stored


def tiny() -> Any:
    """FLUX.2's tiny autoencoder, with what the nodes ask of a VAE."""
    codec = Taef2.load()
    return SimpleNamespace(
        encode=codec.encode, decode=lambda z: codec.decode(z).clamp(0, 1), first_stage_model=codec,
        spacial_compression_decode=lambda: 8,
    )  # fmt: skip


def masks() -> list[Tensor]:
    """(1, SIDE, SIDE) each: boxes all over the picture, later ones beside and sometimes on earlier ones."""
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(EDITS):
        top, left = (int(torch.randint(0, SIDE - 48, (1,), generator=generator)) for _ in range(2))
        mask = torch.zeros(1, SIDE, SIDE)
        mask[:, top : top + 40, left : left + 40] = 1
        found.append(mask)
    return found


def edited(latent: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """What a sampler with a noise mask gives: `other` inside, the known latent elsewhere."""
    inside = F.max_pool2d(mask[:, None], SIDE // latent.shape[-1])
    return torch.where(inside > 0, other, latent)


def difference(a: Tensor, b: Tensor, where: Tensor) -> dict[str, float]:
    """Mean and largest difference of pixels, in 1/255, and how many changed, of (H, W) bool."""
    gap = 255 * (a - b).abs()[0][where]
    changed = (a != b).any(-1)[0][where]
    return {"mean": round(gap.mean().item(), 3), "largest": round(gap.max().item(), 3),
            "changed": round(changed.float().mean().item(), 4)}  # fmt: skip


def chain(vae: Any, original: Tensor, other: Tensor, masked: bool) -> list[dict[str, Any]]:
    """Rows for each number of edits in `TOLD`."""
    decode = load_pack("nodes.masked_decode").HiLoMaskedDecode.execute
    picture, rows = original, []
    touched = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    kept = torch.zeros(SIDE, SIDE, dtype=torch.bool)  # of the first edit, what no later one touches
    first, content = original, vae.encode(other)
    start = vae.encode(original)
    for number, mask in enumerate(masks(), 1):
        latent = edited(vae.encode(picture), content, mask)
        if masked:
            picture = decode(vae, {"samples": latent}, picture, mask, feather=FEATHER).args[0]
        else:
            picture = vae.decode(latent).reshape(original.shape)
        near = F.max_pool2d(mask, 2 * FEATHER + 1, 1, FEATHER)[0] > 0
        touched |= near
        if number == 1:
            first, kept = picture, mask[0] > 0
        else:
            kept &= ~near
        if number in TOLD:
            cells = ~(F.max_pool2d(touched.float()[None, None], 3 * 8, 8, 8)[0, 0] > 0)
            apart = (vae.encode(picture) - start)[0, :, cells[: start.shape[-2], : start.shape[-1]]]
            rows.append({
                "edits": number, "untouched": difference(picture, original, ~touched),
                "first_edit": difference(picture, first, kept),
                "latent": round((apart.square().mean() / start.square().mean()).sqrt().item(), 5),
            })  # fmt: skip
    return rows


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    host.prepare()
    torch.set_grad_enabled(False)
    rows = []
    for name, vae in (("demo VAE", small()), ("taef2", tiny())):
        pictures = [photo(one)[None] for one in ("demo", "coffee")]
        for way, masked in (("decode and encode", False), ("HiLo Masked Decode", True)):
            for row in chain(vae, *pictures, masked):
                rows.append({"vae": name, "way": way, **row})
                sys.stdout.write(f"{rows[-1]}\n")
    facts = {"command": "python -m lab.quality.chained", "device": host.describe(), "commit": host.commit()}
    facts |= {"unit": "1/255; changed: share of the pixels; latent: root mean square, relative"}
    host.store("chained", {**facts, "side": SIDE, "feather": FEATHER, "rows": rows})


if __name__ == "__main__":
    main()
