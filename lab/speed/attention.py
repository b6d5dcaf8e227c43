"""Ways to give keys a bias, timed on their own: `python -m lab.speed.attention` (a GPU; FLUX.1's 24 heads of 128).

Strips of n image tokens and 256 text tokens, of which m image tokens at the end carry a bias: as many of them log 4,
log 16 and log 64. All ways give the same result. Times are of the kernels, in a CUDA graph, as a strip runs them.
"""

from __future__ import annotations

import itertools
import logging
import statistics
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tools import host

HEADS, WIDTH, TEXT = 24, 128, 256
STRIPS = ((832, 240), (1440, 480), (2432, 480), (4096, 960), (8192, 960))  # n, m
_log = logging.getLogger("lab.attention")
Way = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]  # q, k, v, bias (L,), biased keys at the end


def masses(biased: int) -> tuple[int, ...]:
    """How many keys at the end have one bias, group by group."""
    return (biased // 3,) * 3


def by(backend: SDPBackend, biased: bool) -> Way:
    """One kernel of PyTorch's, with the bias as an additive mask over keys, or without any: the yardsticks."""

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, _: int) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None, None, None] if biased else None)

    return run


def hosts(biased: bool) -> Way:
    """Whatever the host picks, as the pack asks it."""

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, _: int) -> Tensor:
        from comfy.ldm.modules.attention import attention_pytorch

        mask = bias[None, None, None] if biased else None
        return attention_pytorch(q, k, v, HEADS, mask, skip_reshape=True, skip_output_reshape=True)

    return run


def flash(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """(result, log-sum-exp (B, H, L)) of flash attention."""
    return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[:2]  # type: ignore[no-any-return]


def cudnn(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The same of cuDNN's."""
    out, sums = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, True)[:2]
    return out, sums.reshape(q.shape[:3])


def merged(kernel: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Way:
    """One call for each group of keys with the same bias, merged by their log-sum-exp."""

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, biased: int) -> Tensor:
        sizes = (k.shape[2] - biased, *masses(biased))
        ends = list(itertools.accumulate(sizes))
        out, total = kernel(q, k[:, :, : ends[0]], v[:, :, : ends[0]])
        for start, end in itertools.pairwise(ends):
            more, sums = kernel(q, k[:, :, start:end], v[:, :, start:end])
            sums = sums + bias[start]
            out = torch.lerp(out, more, torch.sigmoid(sums - total)[..., None].to(q.dtype))
            total = torch.logaddexp(total, sums)
        return out

    return run


def scaled_values(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, biased: int) -> Tensor:
    """Values times their key's mass, and a column of masses beside them to divide by: no bias in the kernel."""
    mass = bias.float().exp().to(v.dtype)[None, None, :, None]
    wide = torch.cat([v * mass, mass.expand(*v.shape[:3], 8)], dim=-1)
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION]):
        out = F.scaled_dot_product_attention(q, k, wide)
    return out[..., :WIDTH] / out[..., WIDTH : WIDTH + 1]


def flex() -> Way:
    """FlexAttention, compiled."""
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, dynamic=False)

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, biased: int) -> Tensor:
        return compiled(q, k, v, score_mod=lambda score, b, h, i, j: score + bias[j])

    return run


def milliseconds(way: Way, *inputs: object, calls: int = 10) -> float:
    """Of one call: median over replays of a graph of several."""
    for _ in range(2):
        way(*inputs)
    graph, times = torch.cuda.CUDAGraph(), list[float]()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            way(*inputs)
    for _ in range(9):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / calls)
    return statistics.median(times[1:])


def main() -> None:
    """Measure, print, store."""
    host.prepare()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    _log.setLevel(logging.INFO)
    torch.set_grad_enabled(False)
    fast, slow, other = SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION
    ways: dict[str, Way] = {
        "flash, no bias": by(other, False), "cuDNN, no bias": by(fast, False), "the host's, no bias": hosts(False),
        "the host's": hosts(True), "cuDNN": by(fast, True), "memory-efficient": by(slow, True),
        "flash, merged": merged(flash), "cuDNN, merged": merged(cudnn), "scaled values": scaled_values,
        "FlexAttention": flex(),
    }  # fmt: skip
    rows = []
    for tokens, biased in STRIPS:
        q, k, v = (torch.randn(1, HEADS, TEXT + tokens, WIDTH, device="cuda", dtype=torch.bfloat16) for _ in range(3))
        bias = torch.zeros(TEXT + tokens, device="cuda", dtype=torch.bfloat16)
        for group, at in enumerate(itertools.accumulate(masses(biased)), start=1):
            bias[len(bias) - biased + at - biased // 3 :] = 1.3863 * group  # log 4
        with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
            right = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), bias.float()[None, None, None])
        for name, way in ways.items():
            row = {"tokens": tokens, "biased": biased, "way": name}
            try:
                if not name.endswith("no bias"):
                    row["error"] = round(float((way(q, k, v, bias, biased).float() - right).abs().max()), 4)
                row["ms"] = round(milliseconds(way, q, k, v, bias, biased), 4)
            except (RuntimeError, TypeError, ImportError) as error:
                row["failed"] = str(error).splitlines()[0][:120]
            rows.append(row)
            _log.info("%s", row)
    command = " ".join(["python -m lab.speed.attention", *sys.argv[1:]])
    facts = {"command": command, "device": host.describe(), "commit": host.commit(), "host": host.version()}
    host.store("bench_attention", {**facts, "rows": rows})


if __name__ == "__main__":
    main()
