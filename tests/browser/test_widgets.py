"""What the nodes show beside badge and map: folded settings, who decides, before and after, the gain of a subgraph."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from .test_badge import GAIN, PATCH
from .test_canvas import MAP, SELECT, TEXT, load, set_widget

DECODE = "app.graph._nodes.find((n) => n.type === 'HiLoMaskedDecode')"
SHOWN = """(node) => node.widgets.filter((w) => node.isWidgetVisible?.(w) ?? true).map((w) => w.name)"""


@pytest.fixture
def demo(page):
    load(page, "Demo - runs without a download")
    page.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)


def shown(page, node):
    """Names of the widgets that the canvas draws of a node."""
    return page.evaluate(f"({SHOWN})({node})")


def test_few_widgets_until_more_are_asked_for(page, demo):
    page.wait_for_function(f"{SELECT}.widgets.some((w) => w.label === 'more settings')", timeout=10_000)
    assert shown(page, SELECT) == ["preset", "speedup", "margin", "hilo_advanced", "hilo_map"]
    assert shown(page, PATCH) == ["preset", "speedup", "hilo_advanced", "hilo_badge"]
    height = page.evaluate(f"{SELECT}.computeSize()[1]")
    page.evaluate(f"{SELECT}.widgets.find((w) => w.name === 'hilo_advanced').callback()")
    assert shown(page, SELECT)[3:6] == ["detail", "context", "budget"]
    assert page.evaluate(f"{SELECT}.computeSize()[1]") > height, "room is kept for what is drawn, and for no more"
    assert page.evaluate(f"{SELECT}.serialize().widgets_values").__len__() == 6, "the button is not saved"


def test_each_shown_widget_changes_the_map(page, demo):
    for name, value in (("preset", "fast"), ("speedup", 2.0), ("margin", 160)):
        before = page.evaluate(f"{MAP}.toDataURL()")
        set_widget(page, name, value)
        page.wait_for_function(f"(before) => {MAP}.toDataURL() !== before", arg=before, timeout=10_000)


def test_the_plan_decides_and_says_so(page, demo):
    own = f"((name) => {PATCH}.widgets.find((w) => w.name === name))"
    page.wait_for_function(f"{own}('preset').label === 'preset: the plan decides'", timeout=10_000)
    assert page.evaluate(f"{own}('speedup').disabled")
    page.evaluate(f"{own}('preset').value = 'off'")
    page.wait_for_function(f"{own}('preset').label.startsWith('preset: off')", timeout=10_000)
    page.evaluate(f"{PATCH}.disconnectInput({PATCH}.inputs.findIndex((input) => input.name === 'plan'))")
    page.wait_for_function(f"{own}('preset').label === 'preset'", timeout=10_000)
    assert not page.evaluate(f"{own}('speedup').disabled")


def test_the_legend_switches_colours(page, demo):
    chip = "document.querySelector('.hilo-token-legend [data-kind=edit]')"
    before = page.evaluate(f"{MAP}.toDataURL()")
    page.evaluate(f"{chip}.click()")
    assert page.evaluate(f"{chip}.getAttribute('aria-pressed')") == "false"
    assert page.evaluate(f"{MAP}.toDataURL()") != before
    page.evaluate(f"{chip}.click()")
    assert page.evaluate(f"{MAP}.toDataURL()") == before
    assert page.evaluate(f"{MAP}.getAttribute('aria-label')") == page.evaluate(TEXT)


def test_the_map_is_as_high_as_the_picture(page, demo):
    """A square picture leaves no bars; its height is its width in the node."""
    page.wait_for_function(f"Math.abs({MAP}.clientHeight / {MAP}.clientWidth - 1) < 0.12", timeout=10_000)


def test_a_double_click_opens_the_mask_editor(page, demo):
    asked = page.evaluate(
        f"""() => {{
            const commands = app.extensionManager.command, plain = commands.execute, asked = [];
            commands.execute = (name) => asked.push(name);
            {MAP}.dispatchEvent(new MouseEvent("dblclick"));
            commands.execute = plain;
            return [asked, Object.values(app.canvas.selected_nodes).map((n) => n.type)];
        }}"""
    )
    assert asked == [["Comfy.MaskEditor.OpenMaskEditor"], ["LoadImage"]]


def picture(colour):
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "PNG")
    return file.getvalue()


def test_what_a_node_says_has_room(page, demo):
    """Whole sentences, however narrow the node; none before a run, and then no room either."""
    line, height = "document.querySelector('.hilo-said')", page.evaluate(f"{DECODE}.computeSize()[1]")
    said = ["Beyond the feather: not a pixel changed.", "Edge of the mask: a seam may show; raise feather."]
    page.evaluate(f"{DECODE}.setSize([230, 10]); {DECODE}.onExecuted({{ hilo_said: {said!r} }})")
    page.wait_for_function(f"{line}.textContent === {' '.join(said)!r}", timeout=10_000)
    page.wait_for_function(f"{line}.parentElement.clientHeight >= {line}.offsetHeight", timeout=10_000)
    assert page.evaluate(f"{line}.offsetHeight") > 40, "more than two lines"
    assert page.evaluate(f"{DECODE}.size[1]") >= page.evaluate(f"{DECODE}.computeSize()[1]") > height


def test_before_and_after(page, server, demo):
    """Two pictures under one slider; held, the original alone."""
    for name, colour in (("hilo_before.png", "red"), ("hilo_after.png", "blue")):
        sent = {"image": {"name": name, "mimeType": "image/png", "buffer": picture(colour)}, "type": "temp"}
        assert page.request.post(f"{server.url}/upload/image", multipart=sent).ok
    page.evaluate(
        f"""{DECODE}.onExecuted({{ hilo_compare: ["hilo_before.png", "hilo_after.png"].map(
            (filename) => ({{ filename, subfolder: "", type: "temp" }})) }})"""
    )
    page.wait_for_function("document.querySelector('.hilo-compare')?.style.display === 'flex'", timeout=20_000)
    cut = "document.querySelector('.hilo-compare-before').style.clipPath"
    slider = "document.querySelector('.hilo-compare input')"
    assert "50%" in page.evaluate(cut)
    page.evaluate(f"{slider}.value = 20; {slider}.dispatchEvent(new Event('input'))")
    assert "80%" in page.evaluate(cut)
    button = "document.querySelector('.hilo-compare button')"
    assert page.evaluate(f"{button}.dispatchEvent(new PointerEvent('pointerdown')), {cut}").startswith("inset(0")
    assert "80%" not in page.evaluate(cut)
    page.evaluate(f"{button}.dispatchEvent(new PointerEvent('pointerup'))")
    assert "80%" in page.evaluate(cut) and page.evaluate(f"{slider}.getAttribute('aria-label')")


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_the_gain_stands_outside_a_subgraph(page, server, vue):
    found = [key for key, entry in server.get("/global_subgraphs").items() if entry["name"] == "Generative Fill (HiLo)"]
    page.evaluate("(on) => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", vue)
    try:
        page.evaluate(
            """async (id) => {
                const entry = await (await fetch(`/api/global_subgraphs/${id}`)).json();
                await app.loadGraphData(JSON.parse(entry.data), true, true);
            }""",
            found[0],
        )
        page.evaluate(
            """(gain) => {
                const [outer] = app.graph._nodes;
                const inner = outer.subgraph._nodes.find((n) => n.type === "HiLoModelPatch");
                const tell = (name, detail) => app.api.dispatchEvent(new CustomEvent(name, { detail }));
                tell("execution_start", {});
                tell("hilo-token.report", { node: `${outer.id}:${inner.id}`, ...gain });
                tell("execution_success", {});
            }""",
            GAIN,
        )
        page.wait_for_function(
            """[...document.querySelectorAll(".hilo-token-badge")].some((badge) => {
                const box = badge.getBoundingClientRect();
                return box.width > 50 && badge.dataset.state === "gain" && badge.textContent.includes("7.8x faster");
            })""",
            timeout=20_000,
        )
    finally:
        page.evaluate("app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")
