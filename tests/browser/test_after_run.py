"""Screenshots of each node after a run, for the help pages: `python -m tools.screenshots` shrinks and keeps them."""

from __future__ import annotations

import pytest

from tools.screenshots import HELP_PAGES

from .test_canvas import MAP, TEXT, load

AROUND, ABOVE = 12, 30  # pixels; a node's title stands above its rectangle


@pytest.fixture(scope="module")
def after_run(page):
    """The demo after a run, with a mask node and HiLo Fit beside it that have run too."""
    load(page, "Demo - runs without a download")
    page.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)
    page.evaluate(
        """() => {
            const mask = app.graph._nodes.find((n) => n.type === "LoadImage");
            const grow = LiteGraph.createNode("HiLoMaskDilate");
            const show = LiteGraph.createNode("MaskPreview");
            app.graph.add(grow);
            app.graph.add(show);
            grow.pos = [-460, 1300];
            show.pos = [-460, 1900];
            mask.connect(1, grow, 0);
            grow.connect(1, show, 0);
            const fit = LiteGraph.createNode("HiLoFit");
            const canvas = LiteGraph.createNode("PreviewImage");
            app.graph.add(fit);
            app.graph.add(canvas);
            fit.pos = [200, 1300];
            fit.setSize([330, fit.size[1]]);
            canvas.pos = [700, 1300];
            for (const slot of [0, 1]) mask.connect(slot, fit, slot);
            fit.widgets.find((widget) => widget.name === "mode").value = "detail";
            fit.connect(0, canvas, 0);
        }"""
    )
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.wait_for_function("document.querySelector('.hilo-token-badge').dataset.state === 'gain'", timeout=120_000)
    page.wait_for_function(
        "app.graph._nodes.find((n) => n.type === 'SaveImage').imgs?.[0]?.naturalWidth === 1024", timeout=120_000
    )
    page.wait_for_timeout(500)
    return page


def frame(page, kind):
    """Bring a node into view; returns its rectangle on the page, with a little around it."""
    x, y, width, height = page.evaluate(
        """(kind) => {
            const [left, top, width, height] = app.graph._nodes.find((n) => n.type === kind).getBounding();
            const view = app.canvas.ds, canvas = app.canvas.canvas.getBoundingClientRect();
            view.scale = Math.min(1, 760 / height);
            view.offset[0] = 400 / view.scale - left;
            view.offset[1] = 175 / view.scale - top;
            app.canvas.setDirty(true, true);
            return [canvas.left + 400, canvas.top + 175, width * view.scale, height * view.scale];
        }""",
        kind,
    )
    page.wait_for_timeout(600)
    return {"x": x - AROUND, "y": y - ABOVE, "width": width + 2 * AROUND, "height": height + AROUND + ABOVE}


@pytest.mark.parametrize("kind", HELP_PAGES)
def test_help_page(after_run, shot, kind):
    clip = frame(after_run, kind)
    assert clip["width"] > 100 and clip["height"] > 60
    shot(f"help_{kind}", clip)


def test_one_map_after_a_run(after_run):
    """The node draws its map itself; the host's preview of the same picture would stand below it."""
    shown = after_run.evaluate(
        """() => {
            const node = app.graph._nodes.find((n) => n.type === "HiLoTokenSelect");
            return [node.imgs?.length ?? 0, node.widgets.filter((w) => w.name.includes("preview")).length];
        }"""
    )
    assert shown == [0, 0] and after_run.evaluate(f"{MAP}.width") == 512
