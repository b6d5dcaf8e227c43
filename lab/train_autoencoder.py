"""Train the demo's autoencoder: the TAESD layout with 16 latent channels, which the stock VAELoader takes.

python -m lab.train_autoencoder --minutes 25     (resumes from its checkpoint; any device)
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

from lab import pictures, scenes
from tools import host

WEIGHTS = Path(__file__).parent / "weights" / "hilo_demo_vae.safetensors"
_log = logging.getLogger("lab.autoencoder")


class Crops:
    """Random crops at random scales of photos and drawn scenes."""

    def __init__(self, photos: list[np.ndarray], seed: int) -> None:
        drawn = [scenes.draw(s, 512) for s in range(48)]
        self.levels = []
        for array in photos + drawn:
            picture = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float()
            while min(picture.shape[-2:]) >= 128:
                self.levels.append(picture[0].byte())
                picture = F.avg_pool2d(picture, 2)
        self.rng = np.random.default_rng(seed)

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


def main() -> None:
    """Train until the time is up, then export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--cache", type=Path, default=host.CACHE / "train")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    host.prepare()
    from comfy.taesd.taesd import TAESD

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    paths = pictures.prepare(options.cache)
    held = pictures.load([p for p in paths if pictures.held_out(p)])
    crops = Crops(pictures.load([p for p in paths if not pictures.held_out(p)]), seed=0)
    torch.manual_seed(0)
    model = TAESD(latent_channels=16)
    for module in model.modules():  # the host's layers skip their own initialisation
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    for name, module in model.named_modules():
        if name.endswith("conv.4"):  # each residual block starts as the identity
            torch.nn.init.zeros_(module.weight)
    model = model.to(device, memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995))
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.0)
    checkpoint = options.cache / "autoencoder.pt"
    step, spent = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], saved["spent"]
    start, last, loss_mean = time.time() - spent, time.time(), 0.0
    while (elapsed := time.time() - start) < options.minutes * 60:
        done = elapsed / (options.minutes * 60)
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1.0, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * done))
        x = crops.batch(options.batch, options.size).to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            z = model.taesd_encoder(x)
            out = model.taesd_decoder(z + 0.02 * torch.randn_like(z))
        z = z.float()
        loss = loss_of(out.float(), x) + 1e-3 * z.square().mean() + 0.1 * F.relu(z.abs() - 2.5).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        step += 1
        loss_mean += (loss.item() - loss_mean) * 0.02
        if step % 50 == 0:
            _log.info("%.1f min, step %d, loss %.4f", elapsed / 60, step, loss_mean)
        if time.time() - last > 240:
            last = time.time()
            torch.save(
                {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "spent": elapsed,
                },
                checkpoint,
            )
    psnr, mean, std = evaluate(average.module, held)
    export(average.module, mean, std)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    facts = {
        "psnr_held_out_db": round(psnr, 2),
        "steps": step,
        "minutes": options.minutes,
        "latent_std": round(std, 3),
        "device": device.type,
        "command": f"python -m lab.train_autoencoder --minutes {options.minutes:g}",
    }
    (results / "autoencoder.json").write_text(json.dumps(facts, indent=1) + "\n")
    _log.info("%s", facts)


if __name__ == "__main__":
    main()
