"""Train the demo's autoencoder: the TAESD layout with 16 latent channels, which the stock VAELoader takes.

python -m lab.train.autoencoder --minutes 25     (resumes from its checkpoint; any device)
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
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lab.data import pictures, scenes
from lab.train import device as devices
from tools import host

WEIGHTS = host.ROOT / "demo" / "hilo_demo_vae.safetensors"
_log = logging.getLogger("lab.autoencoder")


class Crops:
    """Random crops at random scales of photos and drawn scenes."""

    def __init__(self, photos: list[np.ndarray], rng: np.random.Generator, device: torch.device) -> None:
        drawn = [scenes.draw(s, 512) for s in range(48)]
        self.levels = []
        for array in photos + drawn:
            picture = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float()
            while min(picture.shape[-2:]) >= 128:
                self.levels.append(picture[0].byte().to(device))
                picture = F.avg_pool2d(picture, 2)
        self.rng = rng

    def batch(self, count: int, size: int) -> torch.Tensor:
        """(count, 3, size, size) in 0..1."""
        crops = []
        for _ in range(count):
            picture = self.levels[self.rng.integers(len(self.levels))]
            top, left = (int(self.rng.integers(n - size + 1)) for n in picture.shape[1:])
            crop = picture[:, top : top + size, left : left + size]
            crops.append(crop.flip(2) if self.rng.random() < 0.5 else crop)
        return torch.stack(crops).float() / 255


def loss_of(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 on pixels, on first differences, and on two downsampled sizes."""
    total = (out - target).abs().mean()
    for axis in (-1, -2):
        total = total + 0.5 * (out.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
    for factor in (2, 4):
        total = total + 0.5 * (F.avg_pool2d(out, factor) - F.avg_pool2d(target, factor)).abs().mean()
    return total


@torch.no_grad()
def evaluate(model: torch.nn.Module, photos: list[np.ndarray]) -> tuple[float, float, float]:
    """(PSNR in dB on the centre 512x512 of held-out photos, mean and standard deviation of latents)."""
    errors, latents = [], []
    for array in photos:
        top, left = (array.shape[0] - 512) // 2, (array.shape[1] - 512) // 2
        x = torch.from_numpy(array[top : top + 512, left : left + 512].copy()).permute(2, 0, 1)[None].float() / 255
        x = x.to(next(model.parameters()).device)
        z = model.taesd_encoder(x)
        errors.append((model.taesd_decoder(z).clamp(0, 1) - x).square().mean().item())
        latents.append(z.flatten())
    z = torch.cat(latents)
    return -10 * float(np.log10(np.mean(errors))), z.mean().item(), z.std().item()


def export(model: torch.nn.Module, mean: float, std: float) -> None:
    """Save in fp16, scaled so that latents have mean 0 and standard deviation 1 after the host's Flux format."""
    from comfy.latent_formats import Flux

    form = Flux()
    state = {k: v.detach().half().cpu().contiguous() for k, v in model.state_dict().items()}
    # the host: z / vae_scale + vae_shift, then (z - shift_factor) * scale_factor
    scale = std * form.scale_factor
    state["vae_scale"] = torch.tensor(scale)
    state["vae_shift"] = torch.tensor(form.shift_factor - mean / scale)
    WEIGHTS.parent.mkdir(exist_ok=True)
    save_file(state, WEIGHTS)


def make_model() -> torch.nn.Module:
    """The host's TAESD with 16 channels. The host's layers skip their own initialisation."""
    from comfy.taesd.taesd import TAESD

    model = TAESD(latent_channels=16)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
        if name.endswith("conv.4"):  # each residual block starts as the identity
            torch.nn.init.zeros_(module.weight)
    return model


class Run:
    """Model, its moving average, optimizer and random states, as one resumable whole."""

    def __init__(self, device: torch.device, rate: float, checkpoint: Path) -> None:
        torch.manual_seed(0)
        self.device, self.rate, self.checkpoint = device, rate, checkpoint
        self.model = make_model().to(device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(0.995))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.rng = np.random.default_rng(0)
        self.step, self.spent, self.loss = 0, 0.0, 0.0
        if checkpoint.exists():
            saved = torch.load(checkpoint, map_location=device, weights_only=False)
            self.model.load_state_dict(saved["model"])
            self.average.load_state_dict(saved["average"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.step, self.spent, self.loss = saved["step"], saved["spent"], saved.get("loss", 0.0)
            if "numpy" in saved:
                self.rng.bit_generator.state = saved["numpy"]
                torch.set_rng_state(saved["torch"].cpu())

    def save(self) -> None:
        """Write the checkpoint."""
        state = {name: getattr(self, name).state_dict() for name in ("model", "average", "optimizer")}
        state |= {"step": self.step, "spent": self.spent, "loss": self.loss}
        state |= {"numpy": self.rng.bit_generator.state, "torch": torch.get_rng_state()}
        torch.save(state, self.checkpoint)

    def advance(self, pixels: torch.Tensor, done: float) -> None:
        """One optimizer step; `done` is the share of the time that is over."""
        rate = self.rate * min(1.0, (self.step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * done))
        self.optimizer.param_groups[0]["lr"] = rate
        x = pixels.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            z = self.model.taesd_encoder(x)
            out = self.model.taesd_decoder(z + 0.02 * torch.randn_like(z))
        z = z.float()
        loss = loss_of(out.float(), x) + 1e-3 * z.square().mean() + 0.1 * F.relu(z.abs() - 2.5).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        if self.step % 10 == 0:  # reading it makes a GPU wait
            self.loss += (loss.item() - self.loss) * max(0.1, 10 / self.step)


def main() -> None:
    """Train until the time is up, then export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25, help="of training, those before a resume counted in")
    parser.add_argument("--cache", type=Path, default=host.CACHE / "train", help="pictures and checkpoints")
    parser.add_argument("--batch", type=int, default=16, help="crops per step")
    parser.add_argument("--size", type=int, default=64, help="pixels per side of a crop")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    devices.add_argument(parser)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    host.prepare()
    device = devices.pick(options.device)
    paths = pictures.prepare(options.cache)
    run = Run(device, options.rate, options.cache / "autoencoder.pt")
    crops = Crops(pictures.load([p for p in paths if not pictures.held_out(p)]), run.rng, device)
    last, before = time.time(), time.time() - run.spent
    while run.spent < options.minutes * 60:
        run.advance(crops.batch(options.batch, options.size), run.spent / (options.minutes * 60))
        run.spent = time.time() - before
        if run.step % 200 == 0:
            _log.info("%.1f min, step %d, loss %.4f", run.spent / 60, run.step, run.loss)
        if time.time() - last > 240:
            last = time.time()
            run.save()
    run.save()
    psnr, mean, std = evaluate(run.average.module, pictures.load([p for p in paths if pictures.held_out(p)]))
    export(run.average.module, mean, std)
    results = Path(__file__).parents[1] / "results"
    results.mkdir(exist_ok=True)
    facts = {"psnr_held_out_db": round(psnr, 2), "steps": run.step, "minutes": options.minutes,
             "loss": round(run.loss, 4), "latent_std": round(std, 3), "device": host.describe(),
             "command": f"python -m lab.train.autoencoder --minutes {options.minutes:g} --batch {options.batch}"
             f" --size {options.size}"}  # fmt: skip
    (results / "autoencoder.json").write_text(json.dumps(facts, indent=1) + "\n")
    _log.info("%s", facts)


if __name__ == "__main__":
    main()
