"""Masked decode against full decode: time, peak memory, difference inside the edit: `python -m lab.bench_decode`.

The demo's small VAE, and the class of the FLUX.1 VAE at its real size with random weights. Latents come from the
demo photo. Peak memory is PyTorch's on a GPU; on a CPU it is not measured.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from PIL import Image

from lab import train_autoencoder
from lab.bench_cpu import RATIOS, mask_of
from tools import host
from tools.pack import load_pack

_log = logging.getLogger("lab.decode")


def small_vae() -> Any:
    """The demo's."""
    import comfy.sd
    import comfy.utils

    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(train_autoencoder.WEIGHTS)))


def flux_vae() -> Any:
    """The host's AutoencoderKL as FLUX.1 has it, random weights of unit gain."""
    import comfy.sd
    from comfy.ldm.modules.diffusionmodules.model import Decoder, Encoder

    shape = {"double_z": True, "z_channels": 16, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
             "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}  # fmt: skip
    generator, state = torch.Generator().manual_seed(0), {}
    for prefix, part in (("encoder", Encoder(**shape)), ("decoder", Decoder(**shape))):
        for name, value in part.state_dict().items():
            if value.ndim < 2:
                state[f"{prefix}.{name}"] = torch.ones_like(value) if "norm" in name and "weight" in name else 0 * value
                state[f"{prefix}.{name}"] = state[f"{prefix}.{name}"].nan_to_num(0.0)
            else:
                width = value[0].numel()
                state[f"{prefix}.{name}"] = torch.randn(value.shape, generator=generator) / width**0.5
    state["decoder.conv_out.weight"] *= 0.3
    return comfy.sd.VAE(sd=state)


def photo(side: int) -> torch.Tensor:
    """(1, side, side, 3) in 0..1."""
    with Image.open(host.ROOT / "lab" / "photos" / "demo.jpg") as picture:
        array = np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))
    return torch.from_numpy(array.astype(np.float32) / 255)[None]


def timed(decode: Any) -> tuple[torch.Tensor, float, float]:
    """(picture, seconds, peak GiB)."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    out = decode()
    if cuda:
        torch.cuda.synchronize()
    return out, time.perf_counter() - start, torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0


def rows_of(name: str, vae: Any, sides: list[int], shapes: int) -> list[dict[str, Any]]:
    """A row for each size and mask ratio; medians over the shapes."""
    node, rows = load_pack("nodes.masked_decode").HiLoMaskedDecode, []
    for side in sides:
        original = photo(side)
        latent = vae.encode(original)
        vae.decode(latent)
        for ratio in RATIOS:
            found = []
            for shape in range(shapes):
                mask = mask_of(ratio, shape, side)[0]
                full, full_s, full_gib = timed(lambda z=latent: vae.decode(z))
                out, ours_s, ours_gib = timed(
                    lambda z=latent, o=original, m=mask: node.execute(vae, {"samples": z}, o, m, feather=0).args[0]
                )
                off = 255 * (out - full.to(out)).abs()[mask > 0]
                high = float(np.quantile(off.numpy(), 0.999))
                found.append((full_s / ours_s, ours_gib / max(full_gib, 1e-9), float(off.mean()), high, full_s, ours_s,
                              full_gib, ours_gib))  # fmt: skip
            middle = [statistics.median(column) for column in zip(*found, strict=True)]
            names = ("speedup", "memory_ratio", "mean_difference", "high_difference", "full_s", "masked_s", "full_gib",
                     "masked_gib")  # fmt: skip
            row = {"vae": name, "side": side, "ratio": ratio, **dict(zip(names, middle, strict=True))}
            row["speedups"] = [round(f[0], 2) for f in found]
            rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
            _log.info("%s", rows[-1])
    return rows


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="*", type=int, default=[1024, 2048])
    parser.add_argument("--models", nargs="*", default=["small", "FLUX.1"], choices=("small", "FLUX.1"))
    parser.add_argument("--shapes", type=int, default=3)
    parser.add_argument("--name", default="bench_decode", help="of the result file")
    options = parser.parse_args()
    host.prepare()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    _log.setLevel(logging.INFO)
    torch.set_grad_enabled(False)
    rows = []
    for name in options.models:
        rows += rows_of(name, small_vae() if name == "small" else flux_vae(), options.sides, options.shapes)
    facts = {"command": " ".join(["python -m lab.bench_decode", *sys.argv[1:]]), "device": host.describe()}
    host.store(options.name, {**facts, "commit": host.commit(), "rows": rows})


if __name__ == "__main__":
    main()
