"""From picture to picture, dense beside compressed: `python -m lab.speed.end_to_end` on a GPU.

Encode, sampling, decode and composite, text encoding apart; full-size models and VAEs with random weights, so that only
time and memory mean anything. Dense: the host's full decode and its blend by the mask. Compressed: the preset's run and
*HiLo Masked Decode*. Each compressed run has a mask of its own, after one that loads kernels. `reload_s` is what the
next run pays where a decode made the host move the model off the GPU.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import statistics
import sys
import time
from typing import Any

import torch
from torch import Tensor

from lab.speed.cpu import mask_of
from lab.speed.real_models import REAL, build, inputs
from lab.speed.vaes import VAES, photo
from tools import host
from tools.pack import load_pack

MODELS = {"FLUX.1 Fill": (8, "FLUX.1 VAE, random weights"), "FLUX.2 klein 4B": (4, "FLUX.2 VAE, random weights")}
STAGES = ("encode", "sampling", "decode")  # the last with the composite
_log = logging.getLogger("lab.end_to_end")
Row = dict[str, Any]


class Queue:
    """One model on one canvas, as a queue of an artist runs it."""

    def __init__(self, name: str, model: Any, vae: Any, side: int) -> None:
        self.name, self.model, self.vae, self.steps = name, model, vae, MODELS[name][0]
        self.picture, self.conditioning = photo(side), inputs(REAL[name], side)[1]
        self._marks: list[tuple[float, float]] = []

    def run(self, model: Any, mask: Tensor, masked: bool) -> Row:
        """One run from the picture to the picture; mask: (1, H, W). `masked`: with the masked decode."""
        self._marks = []
        self._mark()
        latent, conditioning = self._encoded(mask)
        self._mark()
        samples = self._sampled(model, latent, conditioning, mask)
        self._mark()
        text = self._decoded(samples, mask, masked)
        self._mark()
        seconds = [after[0] - before[0] for before, after in zip(self._marks, self._marks[1:], strict=False)]
        row: Row = {f"{stage}_s": s for stage, s in zip(STAGES, seconds, strict=True)}
        row |= {f"{stage}_gib": mark[1] for stage, mark in zip(STAGES, self._marks[1:], strict=True)}
        return row | {"seconds": sum(seconds), "reload_s": self._loaded(), "text": text}

    def _mark(self) -> None:
        peak = 0.0
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated() / 2**30
            torch.cuda.reset_peak_memory_stats()
        self._marks.append((time.perf_counter(), peak))

    def _loaded(self) -> float:
        import comfy.model_management as management

        start = time.perf_counter()
        management.load_models_gpu([self.model])
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def _encoded(self, mask: Tensor) -> tuple[Tensor, list]:
        """(latent, conditioning) as the model's own workflow makes them."""
        latent = self.vae.encode(self.picture)
        if REAL[self.name].reference:
            added = {"reference_latents": [latent]}
        else:
            hidden = (self.picture - 0.5) * (1 - mask.round())[..., None] + 0.5
            added = {"concat_latent_image": self.vae.encode(hidden), "concat_mask": mask[:, None]}
        return latent, [[text, {**extras, **added}] for text, extras in self.conditioning]

    def _sampled(self, model: Any, latent: Tensor, conditioning: list, mask: Tensor) -> Tensor:
        import comfy.sample

        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
        samples: Tensor = comfy.sample.sample(
            model, noise, self.steps, 1.0, "euler", "simple", conditioning, conditioning, latent,
            noise_mask=mask[:, None], seed=0, disable_pbar=True,
        )  # fmt: skip
        return samples

    def _decoded(self, samples: Tensor, mask: Tensor, masked: bool) -> str:
        """What *HiLo Masked Decode* says, if it is used."""
        if masked:
            node = load_pack("nodes.masked_decode").HiLoMaskedDecode
            return str(node.execute(self.vae, {"samples": samples}, self.picture, mask).args[1])
        decoded = self.vae.decode(samples).reshape(self.picture.shape)
        weight = mask[..., None]
        _ = weight * decoded + (1 - weight) * self.picture
        return ""

    def rows(self, preset_name: str, ratio: float, masks: int, dense_runs: int) -> list[Row]:
        """Dense and compressed runs; the first compressed one loads kernels and does not count."""
        from hilo_token.comfy_bridge.patch import Patch, patch_model
        from hilo_token.hilo_core.presets import preset

        reports: list[Any] = []
        patched = patch_model(self.model, Patch(preset(preset_name), on_report=reports.append))
        side, rows = self.picture.shape[1], []
        self._loaded()
        for seed in range(-1, masks):
            row = self.run(patched, mask_of(ratio, seed % (masks + 1), side).reshape(1, side, side), True)
            row |= {"preset": preset_name, "tokens": reports[-1].kept, "total": reports[-1].total,
                    "note": reports[-1].note}  # fmt: skip
            if seed >= 0:
                rows.append(row)
        for seed in range(dense_runs):
            mask = mask_of(ratio, seed, side).reshape(1, side, side)
            rows.append(self.run(self.model, mask, False) | {"preset": "off"})
        return rows


def summary(rows: list[Row]) -> list[Row]:
    """Medians of each model's runs at each size, dense and compressed."""
    found = []
    for key in dict.fromkeys((r["model"], r["side"]) for r in rows):
        of = [r for r in rows if (r["model"], r["side"]) == key]
        line: Row = {"model": key[0], "side": key[1], "steps": of[0]["steps"]}
        for way, some in (
            ("dense", [r for r in of if r["preset"] == "off"]), ("hilo", [r for r in of if r["preset"] != "off"])
        ):  # fmt: skip
            for name in (*(f"{stage}_s" for stage in STAGES), "reload_s"):
                line[f"{way}_{name}"] = round(statistics.median(r[name] for r in some), 4)
            line[f"{way}_s"] = round(statistics.median(r["seconds"] + r["reload_s"] for r in some), 4)
            line[f"{way}_gib"] = round(max(r[f"{stage}_gib"] for r in some for stage in STAGES), 2)
            line[f"{way}_decode_gib"] = round(max(r["decode_gib"] for r in some), 2)
        found.append(line | {"speedup": round(line["dense_s"] / line["hilo_s"], 2)})
    return found


def main() -> None:
    """Measure, print, store after each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--sides", nargs="*", type=int, default=[1024, 2048, 4096])
    parser.add_argument("--ratio", type=float, default=6.38, help="of the mask, in percent")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--masks", type=int, default=3, help="compressed runs that count, each with another mask")
    parser.add_argument("--dense", type=int, default=1, help="dense runs of each size")
    parser.add_argument("--layers", type=int, default=0, help="at most so many blocks of each kind, for a trial")
    parser.add_argument("--name", default="end_to_end", help="of the result file")
    options = parser.parse_args()
    host.prepare()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _log.setLevel(logging.INFO)
    torch.set_grad_enabled(False)
    command, rows = f"python -m lab.speed.end_to_end {shlex.join(sys.argv[1:])}".rstrip(), []
    for name in options.models:
        steps, vae_name = MODELS[name]
        model, vae = build(REAL[name], options.layers), VAES[vae_name]()
        for side in options.sides:
            queue = Queue(name, model, vae, side)
            for row in queue.rows(options.preset, options.ratio, options.masks, options.dense):
                kept = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
                rows.append({"model": name, "side": side, "steps": steps, "ratio": options.ratio} | kept)
                _log.info("%s", rows[-1])
            facts = {"command": command, "device": host.describe(), "commit": host.commit(), "host": host.version()}
            host.store(options.name, facts | {"summary": summary(rows), "rows": rows})
        del model, vae, queue
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
