"""HiLo Fit in a real run: a photo of any size in, the same photo out, with the edit in it."""

from __future__ import annotations

import io
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tools.host import folder

from .test_badge import run
from .test_canvas import TEXT, load

SIZE = (2003, 1357)  # odd, and no multiple of anything
HOLE = (900, 500, 1300, 900)
FEATHER = 8  # of the demo's HiLo Masked Decode

REWIRE = """([name, mode]) => {
    const find = (kind) => app.graph._nodes.find((n) => n.type === kind);
    const photo = find("LoadImage"), decode = find("HiLoMaskedDecode"), fit = LiteGraph.createNode("HiLoFit");
    app.graph.add(fit);
    fit.pos = [-460, 1300];
    photo.widgets[0].value = name;
    fit.widgets.find((w) => w.name === "mode").value = mode;
    fit.widgets.find((w) => w.name === "megapixels").value = 0.3;
    fit.widgets.find((w) => w.name === "edit_size").value = 320;
    fit.widgets.find((w) => w.name === "largest").value = 0.5;
    for (const slot of [0, 1]) {
        for (const number of [...photo.outputs[slot].links]) {
            const link = app.graph.links.get?.(number) ?? app.graph.links[number];
            const to = app.graph.getNodeById(link.target_id);
            if (to !== decode) fit.connect(slot, to, link.target_slot);
        }
        photo.connect(slot, fit, slot);
    }
    fit.connect(2, decode, decode.inputs.findIndex((input) => input.name === "fit"));
}"""


@pytest.fixture(scope="module")
def photo():
    """Noise with a hole in its alpha, and the pixels that must stay."""
    noise = np.random.default_rng(5).integers(0, 256, (SIZE[1] // 4 + 1, SIZE[0] // 4 + 1, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC)
    alpha = Image.new("L", SIZE, 255)
    ImageDraw.Draw(alpha).ellipse(HOLE, fill=0)
    wanted = np.asarray(picture).copy()
    picture.putalpha(alpha)
    place = folder() / "input" / "hilo_odd.png"
    picture.save(place)
    yield place.name, wanted
    place.unlink()


@pytest.mark.parametrize("mode", ["fit", "detail"])
def test_the_same_photo_comes_out(page, server, photo, mode):
    name, wanted = photo
    load(page, "Demo - runs without a download")
    page.evaluate(REWIRE, [name, mode])
    page.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)
    run(page, preset="balanced")
    saved = page.evaluate(
        "Object.values(app.nodeOutputs).flatMap((o) => o.images ?? []).find((i) => i.type === 'output')"
    )
    out = Image.open(io.BytesIO(page.request.get(f"{server.url}/view?{urlencode(saved)}").body()))
    assert out.size == SIZE
    found = np.asarray(out.convert("RGB"))
    y, x = (slice(HOLE[at] - FEATHER, HOLE[at + 2] + 1 + FEATHER) for at in (1, 0))
    changed = (found != wanted).any(-1)
    assert changed[y, x].mean() > 0.6
    changed[y, x] = False
    assert not changed.any(), "outside the edit each bit is the photo's"
