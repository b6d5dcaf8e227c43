"""Train a judge: `python -m lab.judges.train --judge J2 --minutes 7 --canvases DIR [--resume CHECKPOINT]`.

Rectified flow on latents, conditioned as the host conditions the model (`lab.judges.models`); outside the mask the
input is the noised source, as the sampler makes it. Takes the canvases of `lab.judges.data`, keeps their latents on
the device, and writes the moving average of the weights. `--share` and `--batch` make a trial on a CPU.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lab.judges import models
from lab.judges.codec import Taef2, folder
from lab.train import device as devices
from lab.train.dit import initialise, keep_norm_inputs, optimizers
from tools import host

CHANCE = {"J2": {512: 0.8, 1024: 0.2}, "J3": {512: 1.0}}  # of a step's canvas size; its batch has as many tokens
WARM_UP, RATE = 200, 1.2e-3
_log = logging.getLogger("lab.judges.train")


@dataclass
class Latents:
    """Canvases of one size on the device, float16."""

    clean: Tensor  # (n, C, h, w)
    masked: Tensor  # (n, 2, C, h, w)
    mask: Tensor  # (n, 2, E, E) bool


def gather(folder_: Path, edge: int, codec: Taef2, device: torch.device) -> Latents:
    """Encode the canvases of one size."""
    pixels = np.load(folder_ / f"pixels{edge}.npy", mmap_mode="r")
    drawn = np.load(folder_ / f"masks{edge}.npy", mmap_mode="r")
    step = max(1, 8 * 512 * 512 // (edge * edge)) if device.type == "cuda" else 1
    clean, masked, mask = [], [], []

    def encode(x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return codec.encode(x).half()

    with torch.no_grad():
        for at in range(0, len(pixels), step):
            x = torch.from_numpy(pixels[at : at + step].copy()).to(device).float() / 255
            m = torch.from_numpy(drawn[at : at + step].copy()).to(device)
            clean.append(encode(x))
            masked.append(torch.stack([encode(torch.where(m[:, k, ..., None], 0.5, x)) for k in range(m.shape[1])], 1))
            mask.append(m)
    return Latents(*(torch.cat(parts) for parts in (clean, masked, mask)))


def squares(mask: Tensor) -> Tensor:
    """(B, H, W) -> (B, 64, H / 8, W / 8): the mask as the host concatenates it for FLUX.1 Fill."""
    b, h, w = mask.shape
    return mask.view(b, h // 8, 8, w // 8, 8).permute(0, 2, 4, 1, 3).reshape(b, 64, h // 8, w // 8)


class FewPositions(torch.nn.Module):
    """All pictures of a batch have the same positions: compute them once and let them broadcast."""

    def __init__(self, embedder: torch.nn.Module) -> None:
        super().__init__()
        self.embedder, self.kept = embedder, {}

    def forward(self, ids: Tensor) -> Tensor:
        """ids: (B, N, axes)."""
        if ids.shape[1] not in self.kept:
            self.kept[ids.shape[1]] = self.embedder(ids[:1])
        return self.kept[ids.shape[1]]


def plain_attention(function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, *args: Any, **kw: Any) -> Tensor:
    """The host's attention, without its choice of kernels."""
    out = F.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).flatten(2)


class Run:
    """Model, moving average, optimizers, as one resumable whole."""

    def __init__(self, judge: models.Judge, options: argparse.Namespace, device: torch.device) -> None:
        torch.manual_seed(0)
        self.judge, self.device, self.batch = judge, device, options.batch
        self.codec = Taef2.load(judge.packed).to(device, memory_format=torch.channels_last)
        pixels = np.load(options.canvases / "pixels512.npy", mmap_mode="r")
        with torch.no_grad():
            self.codec.measure(
                torch.from_numpy(pixels[: 64 if device.type == "cuda" else 4].copy()).to(device).float() / 255
            )
        self.chance = {e: p for e, p in CHANCE[judge.name].items() if not options.small or e == 512}
        self.latents = {e: gather(options.canvases, e, self.codec, device) for e in self.chance}
        self.base = models.build(judge)
        self.network = self.base.diffusion_model.to(device).train()
        initialise(self.network)
        self.average = [p.detach().clone() for p in self.network.parameters()]
        keep_norm_inputs(self.network)
        self.network.pe_embedder = FewPositions(self.network.pe_embedder)
        self.optimizers = optimizers(self.network, RATE)
        self.step, self.spent, self.seen, self.losses = 0, 0.0, 0, []
        self.rng = np.random.default_rng(0)
        if options.resume and options.resume.exists():
            self._resume(torch.load(options.resume, map_location=device, weights_only=False))
        if options.compile:
            for block in (*self.network.double_blocks, *self.network.single_blocks):
                block.compile(dynamic=False)
        if device.type == "cuda":
            self._rehearse()

    def _rehearse(self) -> None:
        """One loss of each size, so that compiling is over before the clock starts; uncompiled, or with smaller
        batches, where it fails."""
        for _ in range(4):
            try:
                for edge in self.chance:
                    self.loss(edge).backward()
                break
            except torch.OutOfMemoryError:
                self.batch //= 2
                _log.warning("out of memory: batches of %d", self.batch)
            except Exception as error:
                _log.warning("not compiled: %r", error)
                for block in (*self.network.double_blocks, *self.network.single_blocks):
                    block._compiled_call_impl = None
            self.network.zero_grad()
        self.network.zero_grad()

    def _resume(self, saved: dict[str, Any]) -> None:
        self.network.load_state_dict(saved["network"])
        self.average = saved["average"]
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.spent, self.seen = saved["step"], saved["spent"], saved["seen"]

    def checkpoint(self, path: Path) -> None:
        """Everything that `--resume` needs."""
        state: dict[str, Any] = {name: getattr(self, name) for name in ("average", "step", "spent", "seen")}
        state |= {"network": self.network.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers]}
        torch.save(state, path)

    def loss(self, edge: int) -> Tensor:
        """Velocity error of one batch, almost only inside the masks."""
        kept, judge, device = self.latents[edge], self.judge, self.device
        count = max(1, self.batch * 512 * 512 // (edge * edge))
        pick = torch.randint(len(kept.clean), (count,), device=device)
        which = torch.randint(kept.mask.shape[1], (count,), device=device)
        clean, masked = kept.clean[pick].float(), kept.masked[pick, which].float()
        mask = kept.mask[pick, which].float()
        u = (torch.rand(count, device=device) + torch.arange(count, device=device)) / count
        sigma = judge.shift * u / (1 + (judge.shift - 1) * u)
        noise, s = torch.randn_like(clean), sigma.view(-1, 1, 1, 1)
        x = (1 - s) * clean + s * noise
        text = models.prompt(clean, judge.packed) * (torch.rand(count, 1, 1, device=device) < 0.5)
        pooled = clean.new_zeros(count, models.POOLED_WIDTH)
        options = {"optimized_attention_override": plain_attention}
        extra: dict[str, Any] = {"ref_latents": [masked]} if judge.reference else {}
        if not judge.reference:
            x = torch.cat([x, masked, squares(mask)], 1)
        with torch.autocast(device.type, torch.bfloat16):
            v = self.network(x, sigma, text, y=pooled, transformer_options=options, **extra)
        weight = 0.03 + F.max_pool2d(mask[:, None], edge // clean.shape[-1])
        return ((v.float() - (noise - clean)).square() * weight).sum() / (weight.sum() * clean.shape[1])

    def advance(self, done: float) -> None:
        """One optimizer step; `done` is the share of the time that is over."""
        rate = RATE * min(1.0, (self.step + 1) / WARM_UP) * max(0.01, 0.5 * (1 + np.cos(np.pi * done)))
        edge = int(
            self.rng.choice(list(self.chance), p=np.array(list(self.chance.values())) / sum(self.chance.values()))
        )
        loss = self.loss(edge)
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            weight = max(0.003, 9 / (10 + self.step))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.network.parameters()], weight)
        self.step, self.seen = self.step + 1, self.seen + self.batch
        self.losses.append(loss.detach())

    def export(self, into: Path) -> list[Path]:
        """Write the moving average."""
        state = self.network.state_dict()
        named = dict(zip((n for n, _ in self.network.named_parameters()), self.average, strict=True))
        plain = models.build(self.judge).diffusion_model
        plain.load_state_dict({k: named.get(k, v) for k, v in state.items() if k in plain.state_dict()})
        return models.save(self.judge, plain, self.codec, into)


def main() -> None:
    """Train until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", choices=list(models.JUDGES), required=True)
    parser.add_argument("--minutes", type=float, default=7, help="of training, those before a resume counted in")
    parser.add_argument("--until", type=float, default=float("inf"), help="stop by this time.time() at the latest")
    parser.add_argument("--canvases", type=Path, required=True, help="of lab.judges.data")
    parser.add_argument("--batch", type=int, default=128, help="canvases of 512 px a step")
    parser.add_argument("--small", action="store_true", help="canvases of 512 px only")
    parser.add_argument("--compile", action="store_true", help="torch.compile the blocks")
    parser.add_argument("--resume", type=Path, help="checkpoint: read if it is there, written at the end")
    parser.add_argument("--out", type=Path, default=folder(), help="folder for weights and facts")
    devices.add_argument(parser)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    host.prepare()
    torch.set_float32_matmul_precision("high")
    run = Run(models.JUDGES[options.judge], options, devices.pick(options.device))
    _log.info("%s ready: %s canvases", options.judge, {e: len(k.clean) for e, k in run.latents.items()})
    start, before, first = time.time(), run.spent, run.step
    total = min(options.minutes * 60, before + options.until - start)
    while run.spent < total:
        run.advance(run.spent / total)
        if run.step % 20 == 0:
            loss = float(torch.stack(run.losses[-100:]).mean())  # reading it makes a GPU wait
            run.losses = run.losses[-200:]
            if run.step % 200 == 0:
                speed = (run.step - first) * options.batch / (time.time() - start)
                _log.info("%s %.1f min, step %d, loss %.4f, %.0f canvases/s", options.judge, run.spent / 60, run.step,
                          loss, speed)  # fmt: skip
        run.spent = before + time.time() - start
    files = run.export(options.out)
    if options.resume:
        run.checkpoint(options.resume)
    count = sum(p.numel() for p in run.network.parameters())
    facts = {"judge": options.judge, "parameters": count, "steps": run.step, "canvases_seen": run.seen,
             "minutes": round(run.spent / 60, 2), "loss": round(float(torch.stack(run.losses[-100:]).mean()), 4),
             "device": host.describe(), "files": [f.name for f in files], "commit": host.commit()}  # fmt: skip
    (options.out / f"{options.judge}.json").write_text(json.dumps(facts, indent=1) + "\n")
    _log.info("%s", facts)


if __name__ == "__main__":
    main()
