"""Ways to give keys a bias, timed on their own: `python -m lab.speed.attention` (a GPU; FLUX.1's 24 heads of 128).

Strips of n image tokens and 256 text tokens, of which m image tokens carry a bias. All ways give the same result.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tools import host

HEADS, WIDTH, TEXT = 24, 128, 256
STRIPS = ((832, 240), (1440, 700), (2016, 160), (4096, 920), (8192, 620))  # n, m
_log = logging.getLogger("lab.attention")
Way = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]  # q, k, v, bias (L,), biased keys at the end


def plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, biased: int) -> Tensor:
    """Without any bias: the yardstick."""
    return F.scaled_dot_product_attention(q, k, v)


def float_mask(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, biased: int) -> Tensor:
    """An additive mask over keys, PyTorch's choice of kernel. What the pack does."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None, None, None])


def cudnn_mask(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, biased: int) -> Tensor:
    """The same, by cuDNN."""
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return float_mask(q, k, v, bias, biased)


def efficient_mask(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, biased: int) -> Tensor:
    """The same, by the memory-efficient kernel."""
    with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
        return float_mask(q, k, v, bias, biased)


def two_calls(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, biased: int) -> Tensor:
    """Flash attention over keys without and with (one and the same) bias, merged by their log-sum-exp."""
    cut = k.shape[2] - biased
    (a, la), (b, lb) = (
        torch.ops.aten._scaled_dot_product_flash_attention(q, k[:, :, part], v[:, :, part])[:2]
        for part in (slice(0, cut), slice(cut, None))
    )
    share = torch.sigmoid(lb + bias[-1] - la)[..., None].to(q.dtype)
    return torch.lerp(a, b, share)


def extra_dimension(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, biased: int) -> Tensor:
    """The bias as one more dimension of the keys, which meets a one in the queries."""
    scale, more = WIDTH**-0.5, (0, 8)
    q, k, v = F.pad(q, more), F.pad(k, more), F.pad(v, more)
    q[..., WIDTH] = 1
    k[..., WIDTH] = bias / scale
    return F.scaled_dot_product_attention(q, k, v, scale=scale)[..., :WIDTH]


def flex() -> Way:
    """FlexAttention, compiled."""
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, dynamic=False)

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, biased: int) -> Tensor:
        return compiled(q, k, v, score_mod=lambda score, b, h, i, j: score + bias[j])

    return run


def milliseconds(way: Way, *inputs: object) -> float:
    """Median of 20 calls."""
    for _ in range(3):
        way(*inputs)
    times = []
    for _ in range(20):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        way(*inputs)
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop))
    return statistics.median(times)


def main() -> None:
    """Measure, print, store."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    ways: dict[str, Way] = {
        "plain": plain, "float mask": float_mask, "float mask, cuDNN": cudnn_mask,
        "float mask, memory-efficient": efficient_mask, "two calls": two_calls, "extra dimension": extra_dimension,
        "FlexAttention": flex(),
    }  # fmt: skip
    rows = []
    for tokens, biased in STRIPS:
        q, k, v = (torch.randn(1, HEADS, TEXT + tokens, WIDTH, device="cuda", dtype=torch.bfloat16) for _ in range(3))
        bias = torch.zeros(TEXT + tokens, device="cuda", dtype=torch.bfloat16)
        bias[-biased:] = 2.77  # log 16
        right = float_mask(q.float(), k.float(), v.float(), bias.float(), biased)
        for name, way in ways.items():
            row = {"tokens": tokens, "biased": biased, "way": name}
            try:
                if name != "plain":
                    row["error"] = round(float((way(q, k, v, bias, biased).float() - right).abs().max()), 4)
                row["ms"] = round(milliseconds(way, q, k, v, bias, biased), 4)
            except (RuntimeError, TypeError) as error:
                row["failed"] = str(error).splitlines()[0][:120]
            rows.append(row)
            _log.info("%s", row)
    facts = {"command": "python -m lab.speed.attention", "device": host.describe(), "commit": host.commit()}
    host.store("bench_attention", {**facts, "rows": rows})


if __name__ == "__main__":
    main()
