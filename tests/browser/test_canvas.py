"""What the artist sees. The page is kept from test to test; each loads the workflow that it needs."""

from __future__ import annotations

import time

import pytest
from PIL import Image

from tools.host import folder
from tools.make_workflows import WORKFLOWS
from tools.thumbnails import WIDE

PICTURES = "/api/workflow_templates/hilo-token"
SELECT = "app.graph._nodes.find((n) => n.type === 'HiLoTokenSelect')"
MAP = "document.querySelector('.hilo-token-map')"
TEXT = "document.querySelector('.hilo-token-text').textContent"
BADGE = "document.querySelector('.hilo-token-badge').textContent"


def load(page, name):
    """Open a workflow as the template browser does; returns the types of its nodes that the front end lacks."""
    page.evaluate(
        """async (url) => {
            const workflow = await (await fetch(url)).json();
            await app.loadGraphData(workflow, true, true);
        }""",
        f"{PICTURES}/{name}.json",
    )
    return page.evaluate("app.graph._nodes.map((n) => n.type).filter((t) => !(t in LiteGraph.registered_node_types))")


@pytest.fixture
def demo(page):
    assert load(page, "Demo - runs without a download") == []
    page.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)


def set_widget(page, name, value):
    """As the slider does: the value, then the callback."""
    page.evaluate(
        f"""([name, value]) => {{
            const widget = {SELECT}.widgets.find((w) => w.name === name);
            widget.value = value;
            widget.callback(value);
        }}""",
        [name, value],
    )


# newer front ends count what is not there
ERRORS = "(wanted) => Number(document.body.innerText.match(/(\\d+) errors? found/)?.[1] ?? wanted) === wanted"
FILES = "new Set(app.graph._nodes.flatMap((n) => n.properties.models ?? []).map((m) => m.name)).size"
NOTICES = "[...document.querySelectorAll('.p-toast-message, [role=alert], [role=dialog]')].map((e) => e.innerText)"


def test_each_workflow_loads_without_missing_nodes(page, shot):
    """And without a word: only model files are said to be missing, only the network in the console."""
    said = []
    page.on("console", lambda message: said.append((message.type, message.text)))
    for name in WORKFLOWS:
        lacking = [kind for kind in load(page, name) if kind != "MarkdownNote"]
        assert lacking == [], name
        page.wait_for_timeout(400)
        page.wait_for_function(ERRORS, arg=page.evaluate(FILES), timeout=5_000)
        assert page.evaluate(NOTICES) == [], name
        wrong = [text for kind, text in said if kind in ("warning", "error") and "Content Security" not in text]
        assert wrong == [], name
    load(page, "FLUX.2 dev - masked edit")
    page.wait_for_timeout(300)
    shot("flux2")


def test_blueprint(page, server, shot):
    """The subgraph is listed, loads whole, and becomes the Fill chain when it is run."""
    found = [id for id, entry in server.get("/global_subgraphs").items() if entry["name"] == "Generative Fill (HiLo)"]
    assert len(found) == 1
    prompt = page.evaluate(
        """async (id) => {
            const entry = await (await fetch(`/api/global_subgraphs/${id}`)).json();
            await app.loadGraphData(JSON.parse(entry.data), true, true);
            const fill = app.graph._nodes[0];
            const photo = LiteGraph.createNode("LoadImage"), save = LiteGraph.createNode("SaveImage");
            app.graph.add(photo);
            app.graph.add(save);
            photo.pos = [-400, 0];
            save.pos = [400, 0];
            photo.connect(0, fill, 0);
            photo.connect(1, fill, 1);
            fill.connect(0, save, 0);
            const prompt = fill.widgets.find((w) => w.name === "prompt" || w.name === "text");
            prompt.value = "a lighthouse";
            return (await app.graphToPrompt()).output;
        }""",
        found[0],
    )
    kinds = [node["class_type"] for node in prompt.values()]
    assert {"UNETLoader", "HiLoModelPatch", "KSampler", "HiLoMaskedDecode", "SaveImage"} <= set(kinds)
    number = {node["class_type"]: key for key, node in prompt.items()}
    inputs = {kind: prompt[number[kind]]["inputs"] for kind in number}
    assert inputs["CLIPTextEncode"]["text"] == "a lighthouse"
    assert inputs["SaveImage"]["images"] == [number["HiLoMaskedDecode"], 0]
    assert inputs["HiLoMaskedDecode"]["original"] == [number["LoadImage"], 0]
    assert inputs["InpaintModelConditioning"]["mask"] == [number["LoadImage"], 1]
    page.wait_for_timeout(300)
    shot("blueprint")


def test_slider_changes_the_map(page, demo, shot):
    before, text = page.evaluate(f"{MAP}.toDataURL()"), page.evaluate(TEXT)
    since = time.perf_counter()
    set_widget(page, "margin", 96)
    page.wait_for_function(f"(text) => {TEXT} !== text", arg=text, polling=10, timeout=10_000)
    assert time.perf_counter() - since < 2.0  # a twentieth of this on a machine with nothing else to do
    assert page.evaluate(f"{MAP}.toDataURL()") != before
    shot("token_map")


def test_hover_names_the_kind(page, demo):
    named = page.evaluate(
        f"""() => {{
            const box = {MAP}.getBoundingClientRect();
            const at = {{ clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 }};
            {MAP}.dispatchEvent(new PointerEvent("pointermove", at));
            return {TEXT};
        }}"""
    )
    assert "coarse" in named or "resolution" in named


@pytest.mark.parametrize(
    "kind, value, hint",
    [("LoadImage", "gone.jpg", "not there any more"), ("LoadImage", "rocket.jpg", "Nothing is painted yet")],
)
def test_hints(page, demo, kind, value, hint):
    page.evaluate(f"(v) => app.graph._nodes.find((n) => n.type === '{kind}').widgets[0].value = v", value)
    page.wait_for_function(f"(hint) => {TEXT}.includes(hint)", arg=hint, timeout=10_000)


def blur(page):
    """Put a node before the picture that only a run can tell."""
    page.evaluate(
        f"""() => {{
            const blur = LiteGraph.createNode("ImageBlur");
            app.graph.add(blur);
            {SELECT}.getInputNode(0).connect(0, blur, 0);
            blur.connect(0, {SELECT}, 0);
        }}"""
    )


def test_unconnected_and_not_executed(page, demo):
    page.evaluate(f"{SELECT}.disconnectInput(1)")
    page.wait_for_function(f"{TEXT}.startsWith('Connect')", timeout=10_000)
    load(page, "Demo - runs without a download")
    blur(page)
    page.wait_for_function(f"{TEXT}.startsWith('Run the workflow once')", timeout=10_000)


def test_server_restarted(page, demo):
    """No answer, then an answer that the run is not known any more; both are hints, and the map comes back."""
    page.route("**/hilo_token/plan", lambda route: route.abort())
    set_widget(page, "margin", 48)
    page.wait_for_function(f"{TEXT}.startsWith('No answer')", timeout=10_000)
    page.unroute("**/hilo_token/plan")
    page.wait_for_function(f"{TEXT}.includes('(FLUX.1)')", timeout=10_000)
    blur(page)
    page.evaluate(f"{SELECT}.onExecuted({{ hilo_key: ['0123456789abcdef'] }})")
    page.wait_for_function(f"{TEXT}.startsWith('The server was restarted')", timeout=10_000)


def test_huge_picture(page, demo):
    place = folder() / "input" / "hilo_huge.png"
    try:
        Image.new("1", (8000, 6000)).save(place)
        page.evaluate("(v) => app.graph._nodes.find((n) => n.type === 'LoadImage').widgets[0].value = v", place.name)
        page.wait_for_function(f"{TEXT}.includes('too large')", timeout=10_000)
    finally:
        place.unlink(missing_ok=True)


def test_saved_widgets_do_not_grow(page, demo):
    """Our DOM widgets stay out of the saved file: values are positional."""
    values = page.evaluate(f"{SELECT}.serialize().widgets_values")
    assert len(values) == 6


def close_up(page, left, top, right, bottom):
    """Zoom to a part of the graph, in its own coordinates."""
    page.evaluate(
        """([left, top, right, bottom]) => {
            const view = app.canvas.ds;
            view.scale = Math.min(1480 / (right - left), 860 / (bottom - top));
            view.offset[0] = -left + 90 / view.scale;
            view.offset[1] = -top + 120 / view.scale;
            app.canvas.setDirty(true, true);
        }""",
        [left, top, right, bottom],
    )
    page.wait_for_timeout(400)


def test_run_shows_the_gain(page, demo, shot):
    page.evaluate(
        "app.graph._nodes.find((n) => n.type === 'KSampler').widgets.find((w) => w.name === 'steps').value = 3"
    )
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.wait_for_function("document.querySelector('.hilo-token-badge').dataset.state === 'gain'", timeout=170_000)
    assert "x faster (predicted)\n" in page.evaluate(BADGE) and " instead of " in page.evaluate(BADGE)
    page.wait_for_function(
        "app.graph._nodes.find((n) => n.type === 'SaveImage').imgs?.[0]?.naturalWidth === 1024", timeout=60_000
    )
    page.wait_for_function(f"{TEXT}.includes('x faster') && !{TEXT}.includes('per step')", timeout=10_000)
    close_up(page, 400, -80, 1980, 1140)
    shot("after_run")


def test_vue_nodes(page, shot):
    page.evaluate("app.extensionManager.setting.set('Comfy.VueNodes.Enabled', true)")
    load(page, "Demo - runs without a download")
    page.wait_for_function(f"{MAP}?.isConnected && {TEXT}.includes('of the picture')", timeout=20_000)
    text = page.evaluate(TEXT)
    set_widget(page, "preset", "fast")
    page.wait_for_function(f"(text) => {TEXT} !== text", arg=text, timeout=10_000)
    shot("vue_nodes")
    page.evaluate("app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def test_templates_are_listed_with_thumbnails(page, server, shot):
    """The last one: the dialog stays open."""
    assert set(WORKFLOWS) <= set(server.get("/workflow_templates")["hilo-token"])
    page.evaluate("void app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_role("dialog").get_by_text("hilo-token", exact=True).click(timeout=20_000)
    page.get_by_role("dialog").get_by_text("FLUX.1 Fill - compare with normal speed", exact=True).wait_for(
        timeout=20_000
    )
    drawn = f"[...document.querySelectorAll('[role=dialog] img')].filter((i) => i.naturalWidth === {WIDE}).length"
    page.wait_for_function(f"{drawn} >= 4", timeout=20_000)
    shot("templates")
