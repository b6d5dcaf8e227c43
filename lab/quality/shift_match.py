"""How well a pixel shift is found and undone: `python -m lab.quality.shift_match`.

Edited photos go through the small VAE, and get a shift of a known size, with and without a drift of the colours. The
measurement sees what *HiLo Masked Decode* sees: the decode, the original, the mask. Beside it stands phase correlation
of the windows, with the edit's place left out of both. Scored: the error of the measured shift, what was taken for a
shift and what was missed, and the difference inside the edit from the decode without a shift, before and after.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

import numpy as np
import torch
from hilo_token.hilo_core.decode.composite import composite
from scipy import ndimage
from torch import Tensor

from lab.quality.colour_match import DRIFTS, SIDE, photo, ring_of
from lab.speed.cpu import RATIOS, mask_of
from lab.speed.vaes import small
from tools import host

PHOTOS = ("demo", "coffee", "brick")
SHIFTS = ((0.0, 0.0), (0.1, 0.0), (0.25, -0.25), (0.5, 0.3), (1.0, 1.0), (-1.6, 0.7), (3.0, -2.4), (6.5, 5.0))
COLOURS = ("none", "gain and offset")
FOUND = 0.1  # pixels: an answer within this is right


def moved(picture: Tensor, shift: tuple[float, float]) -> Tensor:
    """(H, W, 3) moved down and to the right, by splines: another way than the product's."""
    out = ndimage.shift(picture.numpy(), (*shift, 0), order=5, mode="nearest")
    return torch.from_numpy(out).clamp(0, 1)


def phase_correlation(decoded: Tensor, original: Tensor, mask: Tensor) -> tuple[float, float]:
    """(down, right) from the peak of the phase correlation of the ring's pixels, refined by a parabola."""
    ring = ring_of(mask)
    soft = ndimage.gaussian_filter(ring.float().numpy(), 4)
    planes = []
    for picture in (decoded, original):
        grey = picture.mean(-1).numpy()
        planes.append(np.fft.fft2((grey - grey[ring.numpy()].mean()) * soft))
    cross = planes[0] * planes[1].conj()
    peak = np.fft.ifft2(cross / np.maximum(np.abs(cross), 1e-9)).real
    y, x = np.unravel_index(peak.argmax(), peak.shape)
    answer = []
    for at, axis in ((y, 0), (x, 1)):
        line = np.roll(peak[:, x] if axis == 0 else peak[y], 1 - at)[:3]
        bend = line[0] - 2 * line[1] + line[2]
        rest = 0.5 * (line[0] - line[2]) / bend if bend else 0.0
        answer.append((at + rest + SIDE / 2) % SIDE - SIDE / 2)
    return answer[0], answer[1]


def measured(vae: Any) -> list[dict[str, Any]]:
    """A row for each photo, mask, shift and drift of the colours."""
    rows = []
    for number, name in enumerate(PHOTOS):
        original, other = photo(name), photo(PHOTOS[(number + 1) % len(PHOTOS)])
        for shape, ratio in enumerate(RATIOS):
            mask = mask_of(ratio, shape + number, SIDE)[0, 0] > 0
            decoded = vae.decode(vae.encode(torch.where(mask[..., None], other, original)[None]))[0].clamp(0, 1)
            for colours in COLOURS:
                for shift in SHIFTS:
                    drifted = moved(DRIFTS[colours](decoded).clamp(0, 1), shift)
                    given = original[None], drifted[None], torch.ones(SIDE, SIDE), mask[None].float()
                    whole = [(slice(0, SIDE), slice(0, SIDE))]
                    results = [composite(*given, whole, 0, colours != "none", undo) for undo in (False, True)]
                    gaps = [255 * (out[0] - decoded).abs()[mask].mean().item() for out, _ in results]
                    found = results[0][1].moved
                    phase = phase_correlation(drifted, original, mask)
                    rows.append({
                        "photo": name, "ratio": ratio, "colours": colours, "shift": shift,
                        "found": None if found is None else (round(found.down, 3), round(found.right, 3)),
                        "phase": tuple(round(float(v), 3) for v in phase),
                        "before": round(gaps[0], 3), "after": round(gaps[1], 3),
                    })  # fmt: skip
    return rows


def error(row: dict[str, Any], key: str) -> float:
    """Pixels between a row's shift and the answer; no answer is no shift."""
    answer = row[key] or (0.0, 0.0)
    return max(abs(a - b) for a, b in zip(answer, row["shift"], strict=True))


def main() -> None:
    """Measure, print, store."""
    host.prepare()
    torch.set_grad_enabled(False)
    rows, summary = measured(small()), []
    for colours in COLOURS:
        for shift in SHIFTS:
            of = [r for r in rows if r["shift"] == shift and r["colours"] == colours]
            errors = [error(r, "found") for r in of]
            summary.append({
                "colours": colours, "shift": shift, "answers": sum(r["found"] is not None for r in of), "of": len(of),
                "right": sum(e <= FOUND for e in errors), "median_error": round(statistics.median(errors), 3),
                "worst_error": round(max(errors), 3),
                "phase_median_error": round(statistics.median(error(r, "phase") for r in of), 3),
                "phase_right": sum(error(r, "phase") <= FOUND for r in of),
                "before": round(statistics.mean(r["before"] for r in of), 2),
                "after": round(statistics.mean(r["after"] for r in of), 2),
            })  # fmt: skip
            sys.stdout.write(f"{summary[-1]}\n")
    facts = {"command": "python -m lab.quality.shift_match", "device": host.describe(), "commit": host.commit()}
    facts |= {"unit": "pixels; before and after: mean difference inside the edit, 1/255", "side": SIDE}
    host.store("shift", {**facts, "right_within": FOUND, "summary": summary, "rows": rows})


if __name__ == "__main__":
    main()
