"""Train the demo's inpainting transformer.

python -m lab.train.dit --minutes 60     (resumes from its checkpoint; any device)

Rectified flow on latents of the demo autoencoder, conditioned as the host conditions FLUX.1 Fill: latent of the picture
with grey under the mask, and the 8x8 mask in 64 channels. Outside the mask the input is the noised source, as the
sampler makes it. Grids of 16, 32 and 64 tokens per side, so that 1024x1024 px is in distribution.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hilo_token.demo import model as demo_model
from safetensors.torch import save_file

from lab.data.examples import Example, batch, condition, make_examples
from lab.train import device as devices
from tools import host

BUCKETS = ((16, 12, 0.45), (32, 3, 0.4), (64, 1, 0.15))  # tokens per side, batch, probability
_log = logging.getLogger("lab.dit")


def flow_loss(model: torch.nn.Module, clean: torch.Tensor, masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Velocity error, almost only inside the mask."""
    b = clean.shape[0]
    u = torch.rand(b, device=clean.device)  # evenly over the schedule, as the sampler visits it
    sigma = demo_model.SHIFT * u / (1 + (demo_model.SHIFT - 1) * u)
    noise = torch.randn_like(clean)
    s = sigma.view(-1, 1, 1, 1)
    x = (1 - s) * clean + s * noise
    text = clean.new_zeros(b, demo_model.TEXT_TOKENS, demo_model.TEXT_WIDTH)
    pooled = clean.new_zeros(b, demo_model.POOLED_WIDTH)
    with torch.autocast(clean.device.type, torch.bfloat16):
        v = model(torch.cat([x, condition(masked, mask)], 1), sigma, text, y=pooled, transformer_options={})
    weight = 0.03 + F.max_pool2d(mask[:, None], 8)
    return ((v.float() - (noise - clean)).square() * weight).sum() / (weight.sum() * clean.shape[1])


def initialise(model: torch.nn.Module) -> None:
    """The host's layers skip their own initialisation. Modulations and the last layer start at zero."""
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            torch.nn.init.ones_(parameter) if "norm" in name else torch.nn.init.zeros_(parameter)
        elif "mod" in name or name.startswith("final_layer"):
            torch.nn.init.zeros_(parameter)
        else:
            torch.nn.init.xavier_uniform_(parameter)


def keep_norm_inputs(model: torch.nn.Module) -> None:
    """The host adds to its residual stream in place: give each norm a copy, which the backward pass then finds."""
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].clone(),))


def optimizers(model: torch.nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the rest."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "blocks" in n and "mod" not in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)]


@torch.no_grad()
def follow(average: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor) -> None:
    """Moving average over the last 500 steps, or over fewer at the start."""
    weight = max(0.002, 9 / (10 + float(count)))
    for old, new in zip(average, current, strict=True):
        old.lerp_(new, weight)


def export(average: torch.nn.Module) -> None:
    """Save the packed weights."""
    save_file(demo_model.pack(average.module.state_dict()), demo_model.WEIGHTS)


class Run:
    """Model, its moving average, optimizers and random states, as one resumable whole."""

    def __init__(self, device: torch.device, rate: float, checkpoint: Path, scale: int = 1) -> None:
        torch.manual_seed(0)
        self.device, self.rate, self.checkpoint, self.scale = device, rate, checkpoint, scale
        self.model = demo_model.build().diffusion_model.to(device).train()
        initialise(self.model)
        keep_norm_inputs(self.model)
        self.average = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=follow)
        self.optimizers = optimizers(self.model, rate)
        self.step, self.tokens, self.spent, self.loss = 0, 0, 0.0, 1.0
        self.rng = np.random.default_rng(0)
        if checkpoint.exists():
            self._resume(torch.load(checkpoint, map_location=device, weights_only=False))

    def _resume(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.spent = saved["step"], saved["spent"]
        self.tokens, self.loss = saved.get("tokens", 0), saved.get("loss", 1.0)
        if "numpy" in saved:
            self.rng.bit_generator.state = saved["numpy"]
            torch.set_rng_state(saved["torch"].cpu())

    def save(self) -> None:
        """Write the checkpoint, and export the average."""
        state = {name: getattr(self, name) for name in ("step", "tokens", "spent", "loss")}
        state |= {"model": self.model.state_dict(), "average": self.average.state_dict()}
        state |= {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}
        state |= {"numpy": self.rng.bit_generator.state, "torch": torch.get_rng_state()}
        torch.save(state, self.checkpoint)
        export(self.average)

    def advance(self, examples: list[Example], done: float) -> None:
        """One optimizer step; `done` is the share of the time that is over."""
        rate = self.rate * min(1.0, (self.step + 1) / 200) * max(0.02, 0.5 * (1 + np.cos(np.pi * done)))
        side, count, _ = BUCKETS[self.rng.choice(len(BUCKETS), p=[p for _, _, p in BUCKETS])]
        count *= self.scale
        loss = flow_loss(self.model, *batch(examples, self.rng, side, count, self.device))
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update_parameters(self.model)
        self.step, self.tokens = self.step + 1, self.tokens + count * side * side
        if self.step % 10 == 0:  # reading it makes a GPU wait
            self.loss += (loss.item() - self.loss) * 0.1


def main() -> None:
    """Train until the time is up; export at each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="of training, those before a resume counted in")
    parser.add_argument("--cache", type=Path, default=host.CACHE / "train", help="pictures, latents and checkpoints")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--scale", type=int, default=1, help="batch sizes times this; a GPU wants 8 or more")
    devices.add_argument(parser)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    host.prepare()
    device = devices.pick(options.device)
    examples = make_examples(options.cache, device)
    run = Run(device, options.rate, options.cache / "dit.pt", options.scale)
    start = last = time.time()
    before, tokens = run.spent, run.tokens
    while run.spent < options.minutes * 60:
        run.advance(examples, run.spent / (options.minutes * 60))
        run.spent = before + time.time() - start
        if run.step % 200 == 0:
            speed = (run.tokens - tokens) / (time.time() - start)
            _log.info("%.1f min, step %d, loss %.4f, %.0f tokens/s", run.spent / 60, run.step, run.loss, speed)
        if time.time() - last > 300:
            last = time.time()
            run.save()
    run.save()
    facts = {"steps": run.step, "minutes": options.minutes, "loss": round(run.loss, 4),
             "device": host.describe(), "tokens_per_s": round(run.tokens / run.spent),
             "parameters": sum(p.numel() for p in run.model.parameters()),
             "command": f"python -m lab.train.dit --minutes {options.minutes:g} --scale {options.scale}"}  # fmt: skip
    results = Path(__file__).parents[1] / "results"
    results.mkdir(exist_ok=True)
    (results / "dit.json").write_text(json.dumps(facts, indent=1) + "\n")
    _log.info("%s", facts)


if __name__ == "__main__":
    main()
