"""The badge never lies: each transition, with the server's own events and with real runs."""

from __future__ import annotations

import pytest
from PIL import Image

from tools.host import folder

from .test_canvas import BADGE, SELECT, TEXT, load, set_widget

PATCH = "app.graph._nodes.find((n) => n.type === 'HiLoModelPatch')"
STATE = "document.querySelector('.hilo-token-badge').dataset.state"
GAIN = {"reason": "", "kept": 544, "total": 4096, "dense_steps": 0, "compressed_steps": 8, "speedup": 7.81,
        "predicted": True, "dense_seconds": None, "compressed_seconds": 0.16, "note": ""}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def tidy(page):
    """The page as it was, for the tests after these: no toast or dialog over it."""
    yield
    page.evaluate("clearInterval(window.watch); app.extensionManager.toast.removeAll()")
    page.keyboard.press("Escape")
    page.wait_for_timeout(500)


@pytest.fixture
def demo(page):
    load(page, "Demo - runs without a download")
    page.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)
    expect(page, "idle", "Run the workflow")


def expect(page, state, words="", timeout=10_000):
    """The badge's state and words, soon."""
    page.wait_for_function(f"(state) => {STATE} === state", arg=state, timeout=timeout)
    assert words in page.evaluate(BADGE), page.evaluate(BADGE)


def tell(page, name, **detail):
    """An event as the server sends it; `node` and `node_id` "own" are the patch's."""
    page.evaluate(
        f"""([name, detail]) => {{
            for (const key of ["node", "node_id"]) if (detail[key] === "own") detail[key] = String({PATCH}.id);
            detail.nodes = detail.nodes?.map((id) => (id === "own" ? String({PATCH}.id) : id));
            app.api.dispatchEvent(new CustomEvent(name, {{ detail: name === "executing" ? detail.node : detail }}));
        }}""",
        [name, detail],
    )


def test_a_run_clears_and_tells_the_gain(page, demo):
    tell(page, "execution_start", prompt_id="1")
    expect(page, "running", "Running")
    tell(page, "executing", node="own")
    tell(page, "hilo-token.state", node="own", state="running", kept=544, total=4096)
    expect(page, "running", "13 % of the picture")
    tell(page, "hilo-token.report", node="own", **GAIN)
    expect(page, "gain", "About 7.8x faster\n13 % of the picture computed\n8 steps, all fast")
    tell(page, "execution_success", prompt_id="1")
    expect(page, "gain")
    tell(page, "execution_start", prompt_id="2")
    expect(page, "running")
    tell(page, "hilo-token.report", node="own", **GAIN | {"reason": "the sampler got no mask"})
    expect(page, "dense", "Normal speed: the sampler got no mask")


def test_measured_and_dense_steps(page, demo):
    tell(page, "execution_start")
    facts = {"predicted": False, "dense_steps": 1, "dense_seconds": 1.9, "speedup": 13.65}
    tell(page, "hilo-token.report", node="own", **GAIN | facts)
    expect(page, "gain", "14x faster")
    assert "About" not in page.evaluate(BADGE) and "9 steps, 1 of them at normal speed" in page.evaluate(BADGE)
    assert "0.160 s instead of 1.90 s per step" in page.evaluate(BADGE)


@pytest.mark.parametrize(
    ("cached", "executed", "state"),
    [(["own"], [], "gain"), ([], [], "gain"), ([], ["own"], "idle")],
    ids=["nothing to do", "another branch", "nothing sampled"],
)
def test_a_run_without_a_report(page, demo, cached, executed, state):
    """What the cache holds is as it was; a patch that ran and was not sampled with has no gain to show."""
    tell(page, "execution_start")
    tell(page, "hilo-token.report", node="own", **GAIN)
    tell(page, "execution_success")
    tell(page, "execution_start")
    tell(page, "execution_cached", nodes=cached)
    for node in executed:
        tell(page, "executing", node=node)
    expect(page, "running")
    tell(page, "execution_success")
    expect(page, state)


def test_cancelled_and_failed(page, demo):
    for name, node, kind, message, state, words in (
        ("execution_interrupted", "99", "", "", "cancelled", "cancelled"),
        ("execution_error", "own", "X", "No token.\n", "failed", "No token."),
        ("execution_error", "99", "hilo_token.HiLoError", "Paint.", "failed", "Paint."),
        ("execution_error", "99", "KeyError", "'x'", "failed", "The run failed."),
    ):
        tell(page, "execution_start")
        expect(page, "running")
        tell(page, name, node_id=node, exception_type=kind, exception_message=message)
        expect(page, state, words)
    tell(page, "execution_start")
    tell(page, "hilo-token.report", node="own", **GAIN)
    expect(page, "gain")
    tell(page, "execution_error", node_id="99", exception_type="KeyError", exception_message="'x'")
    expect(page, "failed", "The run failed.")


def test_bypassed(page, demo):
    tell(page, "execution_start")
    tell(page, "hilo-token.report", node="own", **GAIN)
    expect(page, "gain")
    for mode in (4, 2):
        page.evaluate(f"{PATCH}.mode = {mode}")
        expect(page, "bypassed", "Bypassed: normal speed.")
    page.evaluate(f"{PATCH}.mode = 0")
    expect(page, "gain", "About 7.8x faster")


def test_reopened_and_in_another_tab(page, demo):
    """The state is kept in the node: a saved workflow shows it, and what comes while another tab is in front too."""
    tell(page, "execution_start")
    tell(page, "hilo-token.report", node="own", **GAIN)
    tell(page, "execution_success")
    expect(page, "gain")
    saved = page.evaluate("app.graph.serialize()")
    load(page, "Demo - runs without a download")
    expect(page, "idle")
    page.evaluate("(saved) => app.loadGraphData(saved, true, true)", saved)
    expect(page, "gain", "About 7.8x faster")


def command(page, name):
    """A command of the front end, and its animations."""
    page.evaluate("(name) => app.extensionManager.command.execute(name)", name)
    page.wait_for_timeout(700)


def test_another_tab(page, demo):
    """A run ends while a workflow whose nodes have the same ids is in front: each keeps its own."""
    tell(page, "execution_start")
    expect(page, "running")
    load(page, "Demo - runs without a download")  # in a tab of its own
    expect(page, "idle")
    tell(page, "hilo-token.report", node="own", **GAIN)
    tell(page, "execution_success")
    page.wait_for_timeout(900)
    expect(page, "idle")
    command(page, "Workspace.PreviousOpenedWorkflow")
    expect(page, "gain", "About 7.8x faster")
    command(page, "Workspace.NextOpenedWorkflow")
    expect(page, "idle")


def run(page, **widgets):
    """Press Run with these widgets of the patch, and wait for the end; returns the states that were shown."""
    page.evaluate(
        f"""(widgets) => {{
            const own = (name) => {PATCH}.widgets.find((w) => w.name === name);
            for (const [name, value] of Object.entries(widgets)) own(name).value = value;
            const sampler = app.graph._nodes.find((n) => n.type === "KSampler");
            sampler.widgets.find((w) => w.name === "steps").value = 1;
            sampler.widgets.find((w) => w.name === "seed").value += 1;
            window.done = 0;
            window.shown = new Set();
            window.watch ??= setInterval(() => window.shown.add({STATE}), 20);
            for (const name of ["execution_success", "execution_error"]) {{
                app.api.addEventListener(name, () => (window.done += 1), {{ once: true }});
            }}
        }}""",
        widgets,
    )
    page.evaluate("void app.extensionManager.command.execute('Comfy.QueuePrompt')")  # a toast may cover the button
    page.wait_for_function("window.done > 0", timeout=170_000)
    page.wait_for_timeout(500)
    return page.evaluate("[...window.shown]")


def test_real_runs(page, demo):
    """Gain, off, gain again, then an empty mask: the sentence stands on the nodes."""
    assert "running" in run(page)
    expect(page, "gain", "of the picture computed")
    run(page, preset="off")
    expect(page, "off", "Off: normal speed.")
    run(page)  # the patch is cached, and still off
    expect(page, "off")
    place = folder() / "input" / "hilo_black.png"
    Image.new("RGB", (1024, 1024)).save(place)
    try:
        page.evaluate(
            "(n) => app.graph._nodes.find((n) => n.type === 'LoadImageMask').widgets[0].value = n", place.name
        )
        run(page, preset="balanced")
        expect(page, "failed", "Nothing is painted yet. Right-click the picture")
        assert page.evaluate(TEXT).startswith("Nothing is painted yet. Right-click the picture")
    finally:
        place.unlink()


def test_a_cached_token_select_keeps_its_map(page, demo):
    """Behind another node the map needs the key of a run; a run from the cache sends none."""
    page.evaluate(
        f"""() => {{
            const scale = LiteGraph.createNode("ImageScaleBy");
            app.graph.add(scale);
            {SELECT}.getInputNode(0).connect(0, scale, 0);
            scale.widgets.find((w) => w.name === "scale_by").value = 1;
            scale.connect(0, {SELECT}, 0);
        }}"""
    )
    page.wait_for_function(f"{TEXT}.startsWith('Run the workflow once')", timeout=10_000)
    run(page, preset="balanced")
    page.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)
    saved = page.evaluate("app.graph.serialize()")
    load(page, "Demo - runs without a download")
    page.evaluate("(saved) => app.loadGraphData(saved, true, true)", saved)
    page.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)
    run(page)
    assert "of the picture" in page.evaluate(TEXT)
    set_widget(page, "dilation", 6.0)
    page.wait_for_function(f"(text) => {TEXT} !== text && {TEXT}.includes('of the picture')", arg=page.evaluate(TEXT))
