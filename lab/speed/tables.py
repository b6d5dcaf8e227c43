"""Tables of masked decode and of whole queues, for `lab.readme`."""

from __future__ import annotations

from collections.abc import Callable

from lab.tables import markdown, result, source

DECODE = ["decoder", "picture", "VAE Decode", "HiLo Masked Decode", "of it decoding", "faster", "by arithmetic alone",
          "memory"]  # fmt: skip
QUEUE = ["model", "picture", "encode, s", "sampling, s", "decode and composite, s", "model back on the GPU, s",
         "all, s", "faster", "peak memory, GiB"]  # fmt: skip


def decode() -> str:
    """Masked decode beside a full one on a GPU."""
    facts = result("bench_decode_h100")
    lines = [
        [r["vae"].split(",")[0], f"{r['side']} px",
         *(f"{1000 * r[name]:.0f} ms" for name in ("full_s", "masked_s", "decoding_s")),
         f"{r['speedup']:.2f}x", "-" if r["bound"] is None else f"{r['bound']:.1f}x", f"{100 * r['memory']:.0f} %"]
        for r in facts["summary"]
    ]  # fmt: skip
    return markdown(DECODE, lines) + source(facts, " Medians over the mask shapes.")


def end_to_end() -> str:
    """Whole queues on a GPU."""
    facts, lines = result("end_to_end"), []
    for r in facts["summary"]:
        pairs = [f"{r[f'dense_{stage}_s']:.2f} / {r[f'hilo_{stage}_s']:.2f}"
                 for stage in ("encode", "sampling", "decode", "reload")]  # fmt: skip
        memory = f"{r['dense_gib']:.0f} / {r['hilo_gib']:.0f}"
        lines.append([r["model"], f"{r['side']} px", *pairs, f"{r['dense_s']:.2f} / {r['hilo_s']:.2f}",
                      f"**{r['speedup']:.1f}x**", memory])  # fmt: skip
    return markdown(QUEUE, lines) + source(facts, " Dense / HiLo-Token.")


TABLES: dict[str, Callable[[], str]] = {"decode": decode, "end_to_end": end_to_end}
