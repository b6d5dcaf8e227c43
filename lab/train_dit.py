"""Train the demo's inpainting transformer.

python -m lab.train_dit --minutes 60     (resumes from its checkpoint; any device)

Rectified flow on latents of the demo autoencoder, conditioned as the host conditions FLUX.1 Fill: latent of the picture with
grey under the mask, and the 8x8 mask in 64 channels. Outside the mask the input is the noised source, as the sampler
makes it. Grids of 16, 32 and 64 tokens per side, so that 1024x1024 px is in distribution.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from lab import demo_model, masks, pictures, scenes, train_autoencoder
from tools import host

BUCKETS = ((16, 12, 0.45), (32, 3, 0.4), (64, 1, 0.15))  # tokens per side, batch, probability
MASKS_EACH = 2
_log = logging.getLogger("lab.dit")


@dataclass
class Example:
    """Latents of one picture, as the model sees them, with masks drawn over all of it."""

    clean: torch.Tensor  # (16, h, w)
    masked: torch.Tensor  # (MASKS_EACH, 16, h, w)
    mask: torch.Tensor  # (MASKS_EACH, 8 h, 8 w) bool


def encode(vae: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """(1, 3, H, W) in 0..1 -> (1, 16, H / 8, W / 8), after the host's process_in."""
    from comfy.latent_formats import Flux

    with torch.inference_mode(), torch.autocast(pixels.device.type, torch.bfloat16):
        z = vae.taesd_encoder(pixels.contiguous(memory_format=torch.channels_last)).float()
    return Flux().process_in(z / vae.vae_scale + vae.vae_shift).clone()


def load_vae(device: torch.device) -> torch.nn.Module:
    """The trained autoencoder."""
    from comfy.taesd.taesd import TAESD

    vae = TAESD(latent_channels=16)
    vae.load_state_dict({k: v.float() for k, v in load_file(train_autoencoder.WEIGHTS).items()})
    return vae.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def make_examples(cache: Path, device: torch.device) -> list[Example]:
    """Encode photos and scenes at three scales; cached in a file."""
    file = cache / "latents.pt"
    if file.exists():
        return [Example(*item) for item in torch.load(file)]
    vae, rng, examples = load_vae(device), np.random.default_rng(1), []
    photos = pictures.load([p for p in pictures.prepare(cache) if not pictures.held_out(p)])
    sources = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() / 255 for p in photos]
    arrays = []
    for number, x in enumerate(sources):
        half, quarter = F.avg_pool2d(x, 2), F.avg_pool2d(x, 4)
        arrays += [half, quarter]
        if number % 3 == 0:
            left = int(rng.integers(x.shape[-1] - 1024 + 1))
            arrays.append(x[..., :1024, left : left + 1024])
    arrays += [torch.from_numpy(scenes.draw(1000 + s, 512).copy()).permute(2, 0, 1)[None].float() / 255 for s in range(64)]
    for x in arrays:
        x = x[..., : x.shape[-2] // 16 * 16, : x.shape[-1] // 16 * 16].to(device)
        drawn = np.stack([masks.draw(rng, *x.shape[-2:], ratio=rng.uniform(0.15, 0.45)) for _ in range(MASKS_EACH)])
        mask = torch.from_numpy(drawn).to(device)
        masked = [encode(vae, torch.where(m, 0.5, x)) for m in mask]
        examples.append(Example(encode(vae, x)[0].half().cpu(), torch.cat(masked).half().cpu(), mask.cpu()))
        if len(examples) % 40 == 0:
            _log.info("encoded %d of %d", len(examples), len(arrays))
    torch.save([(e.clean, e.masked, e.mask) for e in examples], file)
    return examples


def batch(examples: list[Example], rng: np.random.Generator, side: int, count: int) -> tuple[torch.Tensor, ...]:
    """Random crops: clean (B, 16, s, s), masked (B, 16, s, s), mask (B, 8 s, 8 s) with s latent pixels."""
    size = side * 2
    usable = [e for e in examples if min(e.clean.shape[1:]) >= size]
    out: tuple[list, ...] = ([], [], [])
    while len(out[0]) < count:
        e = usable[rng.integers(len(usable))]
        k = int(rng.integers(MASKS_EACH))
        top, left = (int(rng.integers(n - size + 1)) for n in e.clean.shape[1:])
        mask = e.mask[k, top * 8 : (top + size) * 8, left * 8 : (left + size) * 8]
        if not 0.02 < float(mask[::8, ::8].float().mean()) < 0.75:
            continue
        out[0].append(e.clean[:, top : top + size, left : left + size])
        out[1].append(e.masked[k, :, top : top + size, left : left + size])
        out[2].append(mask)
    return torch.stack(out[0]).float(), torch.stack(out[1]).float(), torch.stack(out[2]).float()


def condition(masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The 80 channels that the host concatenates for FLUX.1 Fill: masked latent, then the mask's 8x8 squares."""
    b, h, w = mask.shape
    squares = mask.view(b, h // 8, 8, w // 8, 8).permute(0, 2, 4, 1, 3).reshape(b, 64, h // 8, w // 8)
    return torch.cat([masked, squares], dim=1)


def flow_loss(model: torch.nn.Module, clean: torch.Tensor, masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Velocity error, almost only inside the mask."""
    b = clean.shape[0]
    u = torch.sigmoid(torch.randn(b, device=clean.device))
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
        elif ".mod" in name or "modulation" in name or name.startswith("final_layer"):
            torch.nn.init.zeros_(parameter)
        else:
            torch.nn.init.xavier_uniform_(parameter)


def optimizers(model: torch.nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the rest."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "blocks" in n and "mod" not in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.99), weight_decay=0.0)]


def export(average: torch.nn.Module) -> None:
    """Save in fp16."""
    state = {k: v.detach().half().cpu().contiguous() for k, v in average.module.state_dict().items()}
    save_file(state, demo_model.WEIGHTS)


def main() -> None:
    """Train until the time is up; export at each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--cache", type=Path, default=host.CACHE / "train")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    host.prepare()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    examples = make_examples(options.cache, device)
    torch.manual_seed(0)
    model = demo_model.build().diffusion_model.to(device).train()
    initialise(model)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    both = optimizers(model, options.rate)
    checkpoint = options.cache / "dit.pt"
    step, spent = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        for optimizer, state in zip(both, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, spent = saved["step"], saved["spent"]
    rng = np.random.default_rng(step)
    start, last, smooth, tokens = time.time() - spent, time.time(), 1.0, 0
    while (elapsed := time.time() - start) < options.minutes * 60:
        done = elapsed / (options.minutes * 60)
        rate = options.rate * min(1.0, (step + 1) / 200) * max(0.02, 0.5 * (1 + np.cos(np.pi * done)))
        side, count, _ = BUCKETS[rng.choice(len(BUCKETS), p=[p for _, _, p in BUCKETS])]
        parts = [t.to(device) for t in batch(examples, rng, side, count)]
        loss = flow_loss(model, *parts)
        for optimizer in both:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in both:
            optimizer.step()
        average.update_parameters(model)
        step, tokens = step + 1, tokens + count * side * side
        smooth += (loss.item() - smooth) * 0.01
        if step % 50 == 0:
            _log.info("%.1f min, step %d, loss %.4f, %.0f tokens/s", elapsed / 60, step, smooth, tokens / (time.time() - start - spent))
        if time.time() - last > 300:
            last = time.time()
            torch.save({"model": model.state_dict(), "average": average.state_dict(), "step": step, "spent": elapsed,
                        "optimizers": [o.state_dict() for o in both]}, checkpoint)
            export(average)
    export(average)
    facts = {"steps": step, "minutes": options.minutes, "loss": round(smooth, 4), "device": device.type,
             "parameters": sum(p.numel() for p in model.parameters()), "command": f"python -m lab.train_dit --minutes {options.minutes:g}"}
    (Path(__file__).parent / "results").mkdir(exist_ok=True)
    (Path(__file__).parent / "results" / "dit.json").write_text(json.dumps(facts, indent=1) + "\n")
    _log.info("%s", facts)


if __name__ == "__main__":
    main()
