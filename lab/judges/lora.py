"""A LoRA for strips, for any judge: `python -m lab.judges.lora --judge J2 --canvases DIR --weights FILE --minutes 3`.

Self-distillation: for a strip the model is to give, inside the edit, what it gives for the whole picture, through the
pack's own code. Budgets are drawn at random, with the whole mass. With `--records FILE` the presets are measured with
and without it instead, as `lab.judges.evaluate` measures.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hilo_token.hilo_core.presets import PRESETS
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab.judges import models, schemes
from lab.judges.evaluate import Bench
from lab.judges.schemes import Job
from lab.judges.settings import LEVELS, Setting
from lab.judges.summary import RATIOS
from lab.judges.tasks import Task
from lab.judges.train import gather, squares
from lab.train.dit import keep_norm_inputs
from lab.train.strips import adapt
from tools import host

NOISES, RATE = 12, 1e-3  # noises of one picture in a batch: a batch has one plan
_log = logging.getLogger("lab.judges.lora")


def setting(rng: np.random.Generator) -> Setting:
    """A random budget."""
    levels = str(rng.choice([name for name in LEVELS if name != "8"]))
    return Setting(levels, float(rng.integers(4)), float(rng.choice([0.0, 0.01, 0.03, 0.1])))


class Distilled:
    """Dense teacher and strip student of one judge."""

    def __init__(self, name: str, canvases: Path, rank: int, device: torch.device) -> None:
        from hilo_token.comfy_bridge.families import find_family
        from hilo_token.comfy_bridge.positions import Positions

        loaded = models.Loaded(name, device)
        self.judge, self.teacher = loaded.judge, loaded.patcher.model
        self.student = models.Loaded(name, device).patcher.model
        self.latents = gather(canvases, 512, loaded.codec, device)
        for model in (self.teacher, self.student):
            model.diffusion_model.float().to(device)
            model.manual_cast_dtype = None
        network = self.student.diffusion_model
        keep_norm_inputs(network)
        self.family, self.device = find_family(network), device
        network.pe_embedder = Positions(network.pe_embedder)
        self.lora = adapt(network, rank)
        self.shift = self.judge.shift if self.judge else 3.0
        self.token = self.judge.token if self.judge else 2

    def loss(self, rng: np.random.Generator) -> Tensor | None:
        """Difference of the denoised latents, strip to dense, over sigma, inside the edit; None: too long a strip."""
        from hilo_token.comfy_bridge.call import Call
        from hilo_token.comfy_bridge.probe import Form
        from hilo_token.comfy_bridge.run import Run
        from hilo_token.comfy_bridge.run_report import Stopwatch
        from hilo_token.comfy_bridge.source import Source
        from hilo_token.hilo_core.frequency import detail
        from hilo_token.hilo_core.grid import TokenGrid
        from hilo_token.hilo_core.mask import mask_to_tokens
        from hilo_token.hilo_core.plan import make_plan

        n, k = int(rng.integers(len(self.latents.clean))), int(rng.integers(self.latents.mask.shape[1]))
        clean, masked = (self.teacher.process_latent_in(z[None].float()) for z in (
            self.latents.clean[n], self.latents.masked[n, k]))  # fmt: skip
        mask, chosen, b = self.latents.mask[n, k][None].float(), setting(rng).preset, NOISES
        grid = TokenGrid(clean.shape[-2], clean.shape[-1], self.token)
        edit = mask_to_tokens(mask.cpu(), grid.height, grid.width, 16)
        plan = make_plan(edit, detail(clean.cpu(), grid.height, grid.width), chosen.tokens)
        if plan.count >= 0.9 * plan.total or not bool(edit.any()):
            return None
        u = torch.rand(b, device=self.device)
        sigma = self.shift * u / (1 + (self.shift - 1) * u)
        noise, s = torch.randn(b, *clean.shape[1:], device=self.device), sigma.view(-1, 1, 1, 1)
        x = (1 - s) * clean + s * noise
        text = torch.zeros(b, models.TEXT_TOKENS, models.TEXT_WIDTH, device=self.device)
        extra: dict[str, Any] = {"y": torch.zeros(b, models.POOLED_WIDTH, device=self.device)}
        concat = None
        if self.judge is not None and self.judge.reference:
            extra["ref_latents"] = [masked.expand(b, -1, -1, -1)]
        else:
            concat = torch.cat([masked, squares(mask)], 1).expand(b, -1, -1, -1)
        call = Call(x, sigma, concat, text, None, {}, extra)
        with torch.autocast(self.device.type, torch.bfloat16):
            with torch.no_grad():
                wanted = call.execute(self.teacher._apply_model)
            source = Source(clean.expand(b, -1, -1, -1), clean, from_reference=False)
            form = Form(grid.patch, self.family.padding(self.student.diffusion_model), table=False)
            run = Run(self.family, form, source, plan, grid, {}, noise, [1.0, 0.0], [False], chosen.mass_bias, 0,
                      Stopwatch(torch.device("cpu")))  # fmt: skip
            run.evaluation = int(rng.integers(run.turn_count))  # any turn may come next
            got = run.call(self.student._apply_model, call)
        if run.reason:
            raise RuntimeError(run.reason)
        weight = F.max_pool2d(mask[:, None], mask.shape[-1] // clean.shape[-1])
        return (((got - wanted).float() / s).square() * weight).sum() / (weight.sum() * b * clean.shape[1])

    def train(self, seconds: float) -> dict[str, Any]:
        """Until the time is up; returns what there is to tell."""
        rng, step, start, losses = np.random.default_rng(5), 0, time.time(), list[Tensor]()
        parameters = [p for p in self.student.diffusion_model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.99), weight_decay=0.0)
        while (done := (time.time() - start) / seconds) < 1:
            if (loss := self.loss(rng)) is None:
                continue
            optimizer.param_groups[0]["lr"] = (
                RATE * min(1.0, (step + 1) / 50) * max(0.02, 0.5 * (1 + np.cos(np.pi * done)))
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.detach())
            step += 1
        first, last = (float(torch.stack(part).mean()) for part in (losses[:100], losses[-100:]))
        return {"steps": step, "noises": NOISES * step, "loss_first_100": first, "loss_last_100": last,
                "minutes": round(seconds / 60, 2)}  # fmt: skip


def tuned(name: str, weights: Path, device: torch.device) -> models.Loaded:
    """The judge with the LoRA in its weights."""
    loaded, state = models.Loaded(name, device), load_file(weights)
    layers = dict(loaded.patcher.model.diffusion_model.named_modules())
    for key, up in state.items():
        if key.endswith(".up"):
            layer = layers[key.removesuffix(".up")]
            change = up @ state[key.removesuffix("up") + "down"]
            layer.weight.data += change.to(layer.weight)
    return loaded


def measure(name: str, weights: Path, records: Path, until: float, part: int, parts: int) -> None:
    """The presets with and without the LoRA, on the pictures that settings were chosen on."""
    bench = Bench("choice", sides=(512,))
    changed = tuned(name, weights, bench.device)
    made: dict[str, schemes.Scheme] = {"dense": schemes.dense()}
    for preset in ("fast", "balanced", "quality"):
        plain = schemes.node(PRESETS[preset])

        def with_lora(job: Job, plain: schemes.Scheme = plain) -> Tensor:
            return plain(replace(job, judge=changed))

        made |= {preset: plain, f"{preset}, LoRA": with_lora}
    bench.made["lora", 8] = made
    numbers = range(len(bench.pictures[512]))
    todo = [Task(name, 512, p, str(ratio), 0, group="lora") for p in numbers for ratio in RATIOS]
    with records.open("a") as out:
        for task in todo[part::parts]:
            if time.time() > until:
                break
            out.writelines(json.dumps(r, separators=(",", ":")) + "\n" for r in bench.run(task, float("inf")))
            out.flush()


def main() -> None:
    """Train, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", required=True)
    parser.add_argument("--weights", type=Path, required=True, help="written by training, read by measuring")
    parser.add_argument("--canvases", type=Path, help="of lab.judges.data")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--records", type=Path, help="measure, and append to this file")
    parser.add_argument("--part", default="0/1", help="k/n: every n-th task, from the k-th on")
    parser.add_argument("--until", type=float, default=float("inf"), help="measure until this time.time()")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    host.prepare()
    torch.set_float32_matmul_precision("high")
    torch.set_num_threads(1 if torch.cuda.is_available() else 2)
    if options.records:
        torch.set_grad_enabled(False)
        part, parts = (int(v) for v in options.part.split("/"))
        measure(options.judge, options.weights, options.records, options.until, part, parts)
        return
    import comfy.model_management

    comfy.model_management.in_training = True  # newer hosts take kernels with a backward pass then
    torch.manual_seed(5)
    distilled = Distilled(options.judge, options.canvases, options.rank, host.device())
    facts = {"judge": options.judge, "rank": options.rank, **distilled.train(60 * options.minutes)}
    tensors = {f"{name}.{end}": getattr(change, end).detach().cpu().contiguous()
               for name, change in distilled.lora.items() for end in ("up", "down")}  # fmt: skip
    save_file(tensors, options.weights)
    options.weights.with_suffix(".json").write_text(json.dumps(facts) + "\n")
    _log.info("%s", facts)


if __name__ == "__main__":
    main()
