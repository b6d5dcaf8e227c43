"""A full VAE decode against HiLo Masked Decode: `python -m lab.speed.masked_decode`.

On a CPU: `--models "small trained VAE" --ratios 6.38 --name bench_decode_cpu`.

Time: medians of alternated runs; `full_s` is the host's decode alone, `masked_s` the whole node with composite and
preview, `decoding_s` what of it the host's decode takes, `bound` what the arithmetic alone would give. Memory: on a
GPU the peak that PyTorch allocated; on a CPU the host's own estimate of the largest decode. Differences from the full
decode inside the edit are in 1/255.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lab.speed.cpu import RATIOS, mask_of
from lab.speed.vaes import VAES, photo, small
from tools import host
from tools.pack import load_pack

FEATHER = 8  # pixels, the node's default


class Watched:
    """A VAE that notes the host's estimate of the largest decode asked of it, in GiB, and the time of all decodes."""

    def __init__(self, vae: Any) -> None:
        self._vae, self.largest, self.seconds, self.calls = vae, 0.0, 0.0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vae, name)

    def decode(self, latent: Tensor) -> Tensor:
        """The host's decode."""
        need = self._vae.memory_used_decode(latent.shape, self._vae.vae_dtype) / 2**30
        self.largest, self.calls = max(self.largest, need), self.calls + 1
        start = time.perf_counter()
        try:
            picture: Tensor = self._vae.decode(latent)  # ends early where only the decoder's first layers are wanted
        finally:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - start
        return picture


class Run(NamedTuple):
    """What was measured of one run."""

    seconds: float
    decoding: float  # seconds of those within the host's decode
    calls: int  # of it
    gib: float  # at the peak
    result: Any


def measured(vae: Any, work: Callable[[Any], Any]) -> Run:
    """One run."""
    cuda, watched = torch.cuda.is_available(), Watched(vae)
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    result = work(watched)
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else watched.largest
    return Run(seconds, watched.seconds, watched.calls, peak, result)


def bench(name: str, vae: Any, side: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one VAE at one size: mask ratio and shape."""
    node = load_pack("nodes.masked_decode").HiLoMaskedDecode
    original, rows = photo(side), []
    latent = latent_of(vae, original, options.encoder)
    settings = {"margin": options.margin} if options.margin >= 0 else {}
    for ratio in options.ratios:
        for shape in range(options.shapes):
            mask = mask_of(ratio, shape, side)[0].reshape(1, side, side)
            full, ours = [], []
            for _ in range(options.runs + 1):  # the first pair warms up
                full.append(measured(vae, lambda v: v.decode(latent)))
                ours.append(
                    measured(vae, lambda v: node.execute(v, {"samples": latent}, original, mask, **settings).args)  # noqa: B023
                )
            image, text = ours[-1].result
            difference = 255 * (image - full[-1].result.to(original).reshape(original.shape)).abs()[mask > 0].flatten()
            full_s, ours_s = (statistics.median(run.seconds for run in runs[1:]) for runs in (full, ours))
            row = {
                "vae": name, "side": side, "ratio": ratio, "shape": shape, "mask": round(100 * mask.mean().item(), 2),
                "full_s": round(full_s, 4), "masked_s": round(ours_s, 4), "speedup": round(full_s / ours_s, 2),
                "decoding_s": round(statistics.median(run.decoding for run in ours[1:]), 4), "calls": ours[-1].calls,
                "at_once": "100% of" in text, "bound": bound(vae, mask, latent, side),
                "full_gib": round(max(r.gib for r in full), 3), "masked_gib": round(max(r.gib for r in ours), 3),
                "decoded": int(text.split("; ")[-1].split("%")[0]) / 100, "mean": round(difference.mean().item(), 3),
                "p999": round(difference.kthvalue(max(1, round(0.999 * difference.numel()))).values.item(), 3),
            }  # fmt: skip
            rows.append(row)
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()
    return rows


def latent_of(vae: Any, picture: Tensor, encoder: Any) -> Tensor:
    """A latent of the picture, of the shape that the VAE decodes; noise where the encoder's has another."""
    latent: Tensor = encoder.encode(picture)
    ratio = int(vae.spacial_compression_decode())
    if vae.latent_channels != latent.shape[1]:
        size = picture.shape[1] // ratio, picture.shape[2] // ratio
        latent = torch.randn(1, vae.latent_channels, *size, generator=torch.Generator().manual_seed(0))
    return latent[:, :, None] if vae.latent_dim == 3 else latent


def bound(vae: Any, mask: Tensor, latent: Tensor, side: int) -> float | None:
    """How many times faster the masked decode's arithmetic alone would be; None where it is not known."""
    node, work = load_pack("nodes.masked_decode"), load_pack("hilo_core.decode.work")
    decoder, ratio = getattr(vae.first_stage_model, "decoder", None), int(vae.spacial_compression_decode())
    if node.global_layers(decoder) is None:
        return None
    canvas, reach = node.Canvas.of((side, side), latent.shape[-2:], ratio), node.context(decoder, ratio)
    windows = node.edit_windows(canvas.used(mask > 0, FEATHER), reach)
    return round(1 / work.share(decoder, canvas, windows, reach, node.SPARE, 0.0), 2)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the mask shapes; the worst difference."""
    found = []
    for key in dict.fromkeys((r["vae"], r["side"], r["ratio"]) for r in rows):
        of = [r for r in rows if (r["vae"], r["side"], r["ratio"]) == key]
        found.append({
            "vae": key[0], "side": key[1], "ratio": key[2],
            "speedup": round(statistics.median(r["speedup"] for r in of), 2),
            "bound": round(statistics.median(r["bound"] for r in of), 2) if all(r["bound"] for r in of) else None,
            "memory": round(statistics.median(r["masked_gib"] / r["full_gib"] for r in of), 3),
            "full_s": round(statistics.median(r["full_s"] for r in of), 4),
            "masked_s": round(statistics.median(r["masked_s"] for r in of), 4),
            "decoding_s": round(statistics.median(r["decoding_s"] for r in of), 4),
            "mean": max(r["mean"] for r in of), "p999": max(r["p999"] for r in of),
        })  # fmt: skip
    return found


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(VAES), choices=list(VAES))
    parser.add_argument("--sides", nargs="*", type=int, default=[1024, 2048])
    parser.add_argument("--ratios", nargs="*", type=float, default=RATIOS, help="of the mask, in percent")
    parser.add_argument("--shapes", type=int, default=3, help="masks of different shape for each ratio")
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs, after one that warms up")
    parser.add_argument("--margin", type=int, default=-1, help="latent pixels of context; -1: the node's default")
    parser.add_argument("--name", default="bench_decode", help="of the result file")
    options = parser.parse_args()
    host.prepare()
    logging.getLogger().setLevel(logging.WARNING)
    torch.set_grad_enabled(False)
    options.encoder, rows = small(), []
    memory = "peak allocated by PyTorch" if torch.cuda.is_available() else "the host's estimate of the largest decode"
    command = f"python -m lab.speed.masked_decode {shlex.join(sys.argv[1:])}".rstrip()
    for name in options.models:
        vae = VAES[name]()
        for side in options.sides:
            rows += bench(name, vae, side, options)
            host.store(
                options.name,
                {
                    "command": command, "device": host.describe(), "commit": host.commit(), "memory": memory,
                    "left_out": {"why": "", "rows": []}, "summary": summary(rows), "rows": rows,
                },
            )  # fmt: skip
        del vae
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
