"""Fine-tune the demo transformer on strips: make it answer for a strip as it did, before, for the whole picture.

python -m lab.train.strips --minutes 3             all weights
python -m lab.train.strips --minutes 3 --rank 8    a LoRA, for the host's own LoRA loader

Distillation from the dense model, through the same code that the pack runs: plan, strip, positions and bias of
`comfy_bridge`. Settings of the presets in turn, the paper's most often.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from hilo_token.demo import model as demo_model
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils import parametrize

from lab.data.examples import batch, condition, make_examples
from lab.train import device as devices
from lab.train.dit import keep_norm_inputs
from tools import host

PRESETS = ("paper", "paper", "balanced", "fast")
SIDES = (32, 32, 64)
REPEATS = 4  # noises of one crop in a batch: a batch has one plan
LORA = host.ROOT / "lab" / "weights" / "hilo_demo_strip_lora.safetensors"
_log = logging.getLogger("lab.strips")


class LowRank(torch.nn.Module):
    """W + up @ down."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = torch.nn.Parameter(
            torch.randn(rank, weight.shape[1], device=weight.device) / weight.shape[1] ** 0.5
        )
        self.up = torch.nn.Parameter(torch.zeros(weight.shape[0], rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer uses."""
        return weight + self.up @ self.down


def adapt(network: torch.nn.Module, rank: int) -> dict[str, LowRank]:
    """Freeze the weights and put low-rank changes on the image side of every block; by layer."""
    network.requires_grad_(False)
    found = {}
    for name, layer in network.named_modules():
        wanted = "blocks" in name and "txt" not in name and "mod" not in name
        if isinstance(layer, torch.nn.Linear) and wanted:
            found[name] = LowRank(layer.weight, rank)
            parametrize.register_parametrization(layer, "weight", found[name])
    return found


class Strips:
    """Dense teacher and strip student."""

    def __init__(self, device: torch.device, rank: int) -> None:
        from hilo_token.comfy_bridge.families import find_family
        from hilo_token.comfy_bridge.positions import Positions

        self.teacher, self.student = (demo_model.load().model for _ in range(2))
        for model in (self.teacher, self.student):
            model.diffusion_model.float().to(device)
            model.manual_cast_dtype = None
        network = self.student.diffusion_model
        keep_norm_inputs(network)
        self.family = find_family(network)
        self.positions = Positions(network.pe_embedder)
        network.pe_embedder = self.positions
        network.requires_grad_(True)
        self.lora = adapt(network, rank) if rank else {}
        self.device = device

    def loss(self, clean: Tensor, masked: Tensor, mask: Tensor, name: str) -> Tensor:
        """Difference of the denoised latents, strip to dense, over sigma, inside the edit; one picture, many noises."""
        from hilo_token.comfy_bridge.call import Call
        from hilo_token.comfy_bridge.probe import Form
        from hilo_token.comfy_bridge.run import Run
        from hilo_token.comfy_bridge.run_report import Stopwatch
        from hilo_token.comfy_bridge.source import Source
        from hilo_token.hilo_core.frequency import detail
        from hilo_token.hilo_core.grid import TokenGrid
        from hilo_token.hilo_core.mask import mask_to_tokens
        from hilo_token.hilo_core.plan import make_plan
        from hilo_token.hilo_core.presets import preset

        chosen, b = preset(name), REPEATS
        grid = TokenGrid(clean.shape[-2], clean.shape[-1], 2)
        edit = mask_to_tokens(mask.cpu(), grid.height, grid.width, 16)
        plan = make_plan(edit, detail(clean.cpu(), grid.height, grid.width), chosen.tokens)
        u = torch.rand(b, device=self.device)
        sigma = demo_model.SHIFT * u / (1 + (demo_model.SHIFT - 1) * u)
        noise = torch.randn(b, *clean.shape[1:], device=self.device)
        s = sigma.view(-1, 1, 1, 1)
        x = (1 - s) * clean + s * noise
        text, pooled = (t.to(self.device) for t in (
            torch.zeros(b, demo_model.TEXT_TOKENS, demo_model.TEXT_WIDTH), torch.zeros(b, demo_model.POOLED_WIDTH)
        ))  # fmt: skip
        call = Call(x, sigma, condition(masked, mask).expand(b, -1, -1, -1), text, None, {}, {"y": pooled})
        with torch.autocast(self.device.type, torch.bfloat16):
            with torch.no_grad():
                wanted = call.execute(self.teacher._apply_model)
            if plan.count >= 0.9 * plan.total:
                got = call.execute(self.student._apply_model)
            else:
                source = Source(clean.expand(b, -1, -1, -1), clean, from_reference=False)
                form = Form(grid.patch, self.family.padding(self.student.diffusion_model), table=False)
                run = Run(self.family, form, source, plan, grid, {}, noise, [1.0, 0.0], [False],
                          chosen.mass_bias, 0, Stopwatch(torch.device("cpu")))  # fmt: skip
                run.evaluation = int(torch.randint(run.turn_count, ()))  # any turn may come next
                got = run.call(self.student._apply_model, call)
        weight = F.max_pool2d(mask[:, None], 8)
        return (((got - wanted).float() / s).square() * weight).sum() / (weight.sum() * b * clean.shape[1])

    def export(self, path: Path) -> None:
        """The LoRA in the host's format, or the packed weights."""
        if not self.lora:
            state = self.student.diffusion_model.state_dict()
            save_file(
                demo_model.pack({k.replace("pe_embedder.embedder", "pe_embedder"): v for k, v in state.items()}), path
            )
            return
        tensors = {}
        for name, change in self.lora.items():
            tensors[f"diffusion_model.{name}.lora_up.weight"] = change.up.detach().half().cpu().contiguous()
            tensors[f"diffusion_model.{name}.lora_down.weight"] = change.down.detach().half().cpu().contiguous()
        save_file(tensors, path)


def main() -> None:
    """Train until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--rank", type=int, default=0, help="of a LoRA; 0: train all weights")
    parser.add_argument("--rate", type=float, default=0.0, help="peak learning rate; 0: 2e-4, for a LoRA 1e-3")
    parser.add_argument("--cache", type=Path, default=host.CACHE / "train", help="pictures and latents")
    parser.add_argument("--out", type=Path, help="file for the weights")
    devices.add_argument(parser)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    host.prepare()
    logging.getLogger("root").setLevel(logging.INFO)
    device, rng, step = devices.pick(options.device), np.random.default_rng(5), 0
    torch.manual_seed(5)
    examples = make_examples(options.cache, device)
    strips = Strips(device, options.rank)
    parameters = [p for p in strips.student.diffusion_model.parameters() if p.requires_grad]
    rate = options.rate or (1e-3 if options.rank else 2e-4)
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    start, losses = time.time(), []
    while (done := (time.time() - start) / (60 * options.minutes)) < 1:
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 50) * max(0.02, 0.5 * (1 + np.cos(np.pi * done)))
        side, name = int(rng.choice(SIDES)), str(rng.choice(PRESETS))
        loss = strips.loss(*batch(examples, rng, side, 1, device), name)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.detach())
        step += 1
        if step % 100 == 0:
            _log.info(
                "%.1f min, step %d, loss %.5f", (time.time() - start) / 60, step, torch.stack(losses[-100:]).mean()
            )
    out = options.out or (LORA if options.rank else options.cache / "dit_strips.safetensors")
    strips.export(out)
    settings = f"--minutes {options.minutes:g} --rank {options.rank} --rate {rate:g}"
    facts = {"command": f"python -m lab.train.strips {settings}",
             "device": host.describe(), "commit": host.commit(), "steps": step, "rank": options.rank,
             "loss_first_100": float(torch.stack(losses[:100]).mean()),
             "loss_last_100": float(torch.stack(losses[-100:]).mean())}  # fmt: skip
    host.store("strips_lora" if options.rank else "strips", facts)
    _log.info("%s", json.dumps(facts))


if __name__ == "__main__":
    main()
