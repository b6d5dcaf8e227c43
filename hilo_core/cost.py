"""What a plan saves: the time of one model call as a function of its number of tokens.

A model of a transformer's floating-point operations, linear and quadratic, with a constant for what a call costs
whatever its length. Every figure that comes from here is a prediction, and is called one wherever it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

CALL_TOKENS = 750.0  # tokens whose linear work takes as long as what a call costs whatever its length
ATTENTION = 0.9  # time of an operation of attention over that of a linear operation
BIASED = 1.4  # time of attention with a bias over that without


@dataclass(frozen=True)
class ModelShape:
    """The shape of a transformer, as far as its cost depends on the number of tokens."""

    hidden: int = 3072
    context: int = 256  # text (and reference) tokens that are there in any case
    mlp_ratio: float = 4.0

    def cost(self, tokens: int, biased: bool = False) -> float:
        """Relative time of one call with so many image tokens.

        For L tokens in all, each layer takes (8 + 4 r) h^2 L operations in its linear parts (q, k, v, out and an
        MLP of ratio r) and 4 h L^2 in attention (Kaplan et al., arXiv 2001.08361, table 1, counting both products).
        The three constants are fitted to a FLUX.1 on an H200 (`lab/results/bench_gpu.json`); a test holds the error.
        """
        length = tokens + self.context
        attention = ATTENTION * (BIASED if biased else 1.0)
        return (8 + 4 * self.mlp_ratio) * self.hidden * (length + CALL_TOKENS) + attention * 4.0 * length * length

    def speedup(self, tokens: int, total: int) -> float:
        """Predicted dense time / compressed time of one call, of `tokens` instead of `total` image tokens."""
        return self.cost(total) / self.cost(tokens, biased=tokens < total)

    def tokens_for(self, speedup: float, total: int) -> int:
        """The most image tokens that give at least this speed-up; at least 1."""
        low, high = 1, total
        while low < high:
            middle = (low + high + 1) // 2
            if self.speedup(middle, total) >= speedup:
                low = middle
            else:
                high = middle - 1
        return low


def run_speedup(dense: list[bool], step: float) -> float:
    """Speed-up of a whole run: n steps, of which some are dense and the others `step` times faster."""
    if not dense:
        return 1.0
    return len(dense) / sum(1.0 if d else 1.0 / step for d in dense)
