"""HiLo Fit through the real server: a picture of an odd size in, the same picture out, but for the edit."""

from __future__ import annotations

import pytest
import torch

from .graphs import Box, graph, node, pictures, with_defaults

BOX = Box(60, 90, 70, 50)


@pytest.mark.parametrize(("mode", "settings"), [
    ("fit", {"megapixels": 0.1}), ("detail", {"edit_size": 128, "largest": 0.25}),
])  # fmt: skip
@pytest.mark.parametrize("canvas", [False, True])
def test_fitted_sampled_and_put_back(server, mode, settings, canvas):
    """The edit is sampled on the canvas, compressed as any other; the file has the picture's size and its pixels."""
    width, height = 701, 523
    prompt = graph(width, height, (BOX,), decoded=True, feather=4, folder=f"fit {mode}", seed=3)
    prompt["fit"] = node("HiLoFit", image=["image", 0], mask=["grown", 0], mode=mode, **settings)
    prompt["inpaint"]["inputs"] |= {"pixels": ["fit", 0], "mask": ["fit", 1]}
    prompt["decode"]["inputs"]["fit"] = ["fit", 2]
    if canvas:  # the canvas's own picture and mask do as well
        prompt["decode"]["inputs"] |= {"original": ["fit", 0], "mask": ["fit", 1]}
    result = server.queue(with_defaults(prompt, server.object_info()))
    out, original = (pictures(server, result, name) for name in ("picture", "original"))
    assert out.shape == original.shape == (1, height, width, 3)
    changed = (out != original).any(-1)[0]
    inside, reach = torch.zeros(2, height, width, dtype=torch.bool)
    inside[BOX.grown(0)] = True
    reach[BOX.grown(5)] = True
    assert not bool(changed[~reach].any()) and changed[inside].float().mean().item() > 0.5
