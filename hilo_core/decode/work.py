"""Whether windows are worth it: the arithmetic of a masked decode beside that of a full one.

Counts multiply-adds of convolutions and of the attention that `window_decoder` shares out, and what each further call
of a decoder costs whatever its size. A prediction: within an eighth of a full
decode's time of what `lab/results/bench_decode_h100.json` holds as `decoding_s`.
"""

from __future__ import annotations

from math import inf

from torch import nn

from .narrow import Narrowing, levels, multiply_adds
from .tiles import SIDE, UnfitDecoder, sample
from .window_decoder import COARSE, global_layers, shared_attentions
from .windows import Canvas, Window

WORTH = 0.8  # of a full decode's work; windows that need more are not worth what they lack in exactness
CALL = 2e11  # multiply-adds that a fast GPU does while a call of a decoder is started, layer by layer


def share(
    decoder: nn.Module, canvas: Canvas, windows: list[Window], margin: int, spare: int | None, call: float = CALL
) -> float:
    """The work of a masked decode over that of a full one; from `WORTH` on a full decode is better.

    decoder: one that `global_layers` knows; margin, spare: as `WindowDecoder` is given them; call: multiply-adds that
    count for a call. Infinite if the picture is too small for the tiles.
    """
    early, norms = global_layers(decoder) or ([], [])
    whole, wanted = Window(0, canvas.rows, 0, canvas.columns), margin * canvas.ratio if spare is None else spare
    stages = levels(decoder, wanted)

    def late(window: Window) -> float:
        return Narrowing(window, margin if spare is not None else 0, canvas, stages).work

    try:
        tiles = sample(canvas.rows, canvas.columns, SIDE).tiles if norms else []
    except UnfitDecoder:
        return inf
    finest = canvas.ratio // 2 ** len(stages)  # features along a side of a latent pixel
    pixels = canvas.rows * canvas.columns * finest**2
    first = pixels * (multiply_adds([decoder]) - sum(stage.work for stage in stages))
    asked = finest**2 * (sum(part.area for part in (*windows, *tiles)) + whole.area / COARSE**2)
    attention = [(2.0 * pixels * a.q.out_channels, min(asked, pixels)) for a in shared_attentions(early)]
    full: float = first + late(whole) + sum(each * pixels for each, _ in attention) + call
    masked: float = first + sum(map(late, windows)) + len(tiles) * SIDE**2 / whole.area * late(whole)
    masked += sum(each * queries for each, queries in attention) + call * (len(windows) + 1 + bool(tiles))
    return masked / full
