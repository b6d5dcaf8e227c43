"""A full VAE decode against HiLo Masked Decode: `python -m lab.speed.masked_decode`.

On a CPU: `--models "small trained VAE" --ratios 6.38 --name bench_decode_cpu`.

Time: medians of alternated runs. Memory: on a GPU the peak that PyTorch allocated; on a CPU the host's own estimate of
the largest decode. Differences from the full decode inside the edit are in 1/255.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lab.speed.cpu import RATIOS, mask_of
from lab.speed.vaes import VAES, photo, small
from tools import host
from tools.pack import load_pack


class Watched:
    """A VAE that notes the host's estimate of the largest decode asked of it, in GiB."""

    def __init__(self, vae: Any) -> None:
        self._vae, self.largest, self.latent_pixels = vae, 0.0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vae, name)

    def decode(self, latent: Tensor) -> Tensor:
        """The host's decode."""
        need = self._vae.memory_used_decode(latent.shape, self._vae.vae_dtype) / 2**30
        self.largest = max(self.largest, need)
        picture: Tensor = self._vae.decode(latent)  # ends early where only the decoder's first layers are wanted
        self.latent_pixels += latent[:, 0].numel()
        return picture


def measured(vae: Any, work: Callable[[Any], Tensor]) -> tuple[float, float, float, Tensor]:
    """(seconds, peak GiB, share of the latent's pixels that were decoded in each call, result) of one run."""
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
    return seconds, peak, watched.latent_pixels, result


def bench(name: str, vae: Any, side: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one VAE at one size: mask ratio and shape."""
    node = load_pack("nodes.masked_decode").HiLoMaskedDecode
    original, rows = photo(side), []
    latent = options.encoder.encode(original)
    latent = latent[:, :, None] if vae.latent_dim == 3 else latent
    settings = {"margin": options.margin} if options.margin >= 0 else {}
    for ratio in options.ratios:
        for shape in range(options.shapes):
            mask = mask_of(ratio, shape, side)[0]
            full, ours = [], []
            for _ in range(options.runs + 1):  # the first pair warms up
                full.append(measured(vae, lambda v: v.decode(latent)))
                ours.append(
                    measured(vae, lambda v: node.execute(v, {"samples": latent}, original, mask, **settings).args[0])  # noqa: B023
                )
            difference = (
                255 * (ours[-1][3] - full[-1][3].to(original).reshape(original.shape)).abs()[mask > 0].flatten()
            )
            full_s, ours_s = (statistics.median(run[0] for run in runs[1:]) for runs in (full, ours))
            row = {
                "vae": name, "side": side, "ratio": ratio, "shape": shape, "mask": round(100 * mask.mean().item(), 2),
                "full_s": round(full_s, 4), "masked_s": round(ours_s, 4), "speedup": round(full_s / ours_s, 2),
                "full_gib": round(max(r[1] for r in full), 3), "masked_gib": round(max(r[1] for r in ours), 3),
                "decoded": round(ours[-1][2] / full[-1][2], 3), "mean": round(difference.mean().item(), 3),
                "p999": round(difference.kthvalue(max(1, round(0.999 * difference.numel()))).values.item(), 3),
            }  # fmt: skip
            rows.append(row)
            sys.stdout.write(
                f"{name}, {side} px, {ratio} %, shape {shape}: {row['speedup']}x, memory "
                f"{row['masked_gib']:.2f} of {row['full_gib']:.2f} GiB, decoded {row['decoded']:.0%}, "
                f"difference {row['mean']:.2f} mean, {row['p999']:.2f} at 99.9 %\n"
            )
            sys.stdout.flush()
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the mask shapes; the worst difference."""
    found = []
    for key in dict.fromkeys((r["vae"], r["side"], r["ratio"]) for r in rows):
        of = [r for r in rows if (r["vae"], r["side"], r["ratio"]) == key]
        found.append({
            "vae": key[0], "side": key[1], "ratio": key[2],
            "speedup": round(statistics.median(r["speedup"] for r in of), 2),
            "memory": round(statistics.median(r["masked_gib"] / r["full_gib"] for r in of), 3),
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
    for name in options.models:
        vae = VAES[name]()
        for side in options.sides:
            rows += bench(name, vae, side, options)
        del vae
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    memory = "peak allocated by PyTorch" if torch.cuda.is_available() else "the host's estimate of the largest decode"
    command = f"python -m lab.speed.masked_decode {shlex.join(sys.argv[1:])}".rstrip()
    host.store(
        options.name,
        {
            "command": command, "device": host.describe(), "commit": host.commit(), "memory": memory,
            "left_out": {"why": "", "rows": []}, "summary": summary(rows), "rows": rows,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
