"""HiLoTokenSelect on random pictures of 8 to 4096 px: the plan holds the whole edit and accounts for every token.

24 pictures, always the same; HILO_FUZZ=2000 makes so many, from a seed that is printed; HILO_SEED=N those of N.
"""

from __future__ import annotations

import os
import random

import pytest
import torch
from hilo_token.hilo_core.mask import is_edited, mask_to_tokens
from hilo_token.hilo_core.presets import PRESETS

from tools.pack import load_pack

CASES = int(os.environ.get("HILO_FUZZ", "24"))
SEED = int(os.environ.get("HILO_SEED", random.randrange(10**6) if "HILO_FUZZ" in os.environ else 3))


def side(dice):
    """Pixels; as many small ones as large ones."""
    return min(4096, max(8, round(8 * 512 ** dice.random())))


def picture_and_mask(dice):
    """(1, H, W, 3) noise with an edge, (1, H, W) boxes, at times grey, at times one pixel."""
    height, width = side(dice), side(dice)
    image = torch.full((1, height, width, 3), 0.5)
    image[:, :, width // 2 :] = torch.rand(1, height, width - width // 2, 1)
    mask = torch.zeros(1, height, width)
    for _ in range(dice.choice([1, 1, 2, 5])):
        top, left = dice.randrange(height), dice.randrange(width)
        down, across = dice.choice([(1, 1), (height // 8 + 1, width // 8 + 1), (height // 3 + 1, 1)])
        mask[:, top : top + down, left : left + across] = dice.choice([1.0, 1.0, 0.5, 0.01])
    return image, mask


def test_random_sizes():
    contexts = load_pack("nodes.settings").CONTEXTS
    select, refusal = load_pack("nodes.token_select").HiLoTokenSelect, load_pack("hilo_core.errors").HiLoError
    for number in range(CASES):
        dice = random.Random(SEED * 100003 + number)
        torch.manual_seed(SEED + number)
        image, mask = picture_and_mask(dice)
        settings = {
            "preset": dice.choice([name for name, preset in PRESETS.items() if not preset.off]),
            "speedup": dice.choice([0.0, 0.0, 1.5, 3.0, 20.0]),
            "margin": dice.choice([0, 1, 32, 88, 1024]),
            "detail": dice.choice([0.0, 2.5, 25.0, 100.0]),
            "context": dice.choice(["as preset", *contexts]),
            "budget": dice.choice([0, 0, 0, 1, 300, 10**5]),
        }
        label = f"HILO_SEED={SEED} case {number}: {tuple(mask.shape[1:])} {settings}"
        (top, down), (left, across) = ((n % 8 // 2, n // 8 * 8) for n in mask.shape[1:])  # as VAE Encode crops
        edited = is_edited(mask)
        seen = edited[:, top : top + down, left : left + across]
        if not seen.any():
            words = "Only the border" if edited.any() else "Nothing is painted yet"
            with pytest.raises(refusal, match=words):
                select.execute(image, mask, **settings)
            continue
        request, shown, text = select.execute(image, mask, **settings).args
        plan = request.plan
        wanted = mask_to_tokens(seen, plan.rows, plan.columns, 16)
        assert torch.equal(request.edit, wanted) and wanted.any(), label
        kept = torch.zeros(plan.total, dtype=torch.bool)
        kept[plan.kept] = True
        assert bool(kept.reshape(wanted.shape)[wanted].all()), label
        assert len(plan.kept.unique()) == len(plan.kept) == len(plan.kind) <= plan.total, label
        assert plan.count <= plan.total and f"{plan.count} of {plan.total} tokens" in text, label
        assert torch.isfinite(shown).all() and shown.shape[1:3] == mask.shape[1:3], label
        if settings["budget"] or settings["speedup"]:
            continue
        assert plan.mass.min() >= 1 and not plan.note, label
