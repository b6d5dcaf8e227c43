"""The badge never lies: each transition, with the server's own events and with real runs."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from tools.host import folder
from tools.make_demo_photo import PHOTO

from .test_canvas import BADGE, TEXT, blur, load, set_widget

PATCH = "app.graph._nodes.find((n) => n.type === 'HiLoModelPatch')"
STATE = "document.querySelector('.hilo-token-badge')?.dataset.state"  # no badge while a workflow is drawn
GAIN = {"reason": "", "kept": 544, "total": 4096, "dense_steps": 0, "compressed_steps": 8, "speedup": 7.81,
        "predicted": True, "dense_seconds": None, "compressed_seconds": 0.16, "notes": [], "model_speedup": 7.81,
        "seconds": 1.28, "instead_of": 10.0, "saved_today": 0.0}  # fmt: skip
ABOUT = "1.3 s instead of about 10 s, about 7.8x faster (predicted)"


@pytest.fixture(scope="module", autouse=True)
def tidy(page):
    """The page as it was, for the tests after these: no toast or dialog over it."""
    yield
    page.evaluate("clearInterval(window.watch); app.extensionManager.toast.removeAll()")
    page.keyboard.press("Escape")
    page.wait_for_timeout(500)


@pytest.fixture
def demo(page, request):
    """Its parameter: whether the front end draws nodes with Vue."""
    vue = getattr(request, "param", False)
    page.evaluate("(on) => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", vue)
    load(page, "Demo - runs without a download")
    page.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)
    page.wait_for_function("document.querySelector('.hilo-token-badge')?.getBoundingClientRect().width > 50")
    expect(page, "idle", "Run the workflow")
    yield
    page.evaluate("app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


both = pytest.mark.parametrize("demo", [False, True], ids=["canvas", "vue"], indirect=True)


def expect(page, state, words="", timeout=20_000):
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


@both
def test_a_run_clears_and_tells_the_gain(page, demo):
    tell(page, "execution_start", prompt_id="1")
    expect(page, "running", "Running")
    tell(page, "executing", node="own")
    tell(page, "hilo-token.state", node="own", state="running", kept=544, total=4096)
    expect(page, "running", "13 % of the picture")
    tell(page, "hilo-token.report", node="own", **GAIN)
    expect(page, "gain", f"{ABOUT}\n13 % of the picture computed\n8 steps, all fast")
    tell(page, "execution_success", prompt_id="1")
    expect(page, "gain")
    tell(page, "execution_start", prompt_id="2")
    expect(page, "running")
    tell(page, "hilo-token.report", node="own", **GAIN | {"reason": "the sampler got no mask"})
    expect(page, "dense", "Normal speed: the sampler got no mask")


def test_measured_and_dense_steps(page, demo):
    tell(page, "execution_start")
    facts = {"predicted": False, "dense_steps": 1, "speedup": 13.65, "seconds": 0.732, "instead_of": 250.0}
    tell(page, "hilo-token.report", node="own", **GAIN | facts | {"saved_today": 249.3})
    expect(page, "gain", "0.73 s instead of 4 min, 14x faster\n")
    assert "bout" not in page.evaluate(BADGE) and "9 steps, 1 of them at normal speed" in page.evaluate(BADGE)
    assert page.evaluate(BADGE).endswith("Saved today: 4 min")
    page.wait_for_function(f"{TEXT}.includes('x faster') && !{TEXT}.includes('per step')", timeout=10_000)


@both
def test_the_reason_stands_there_while_the_run_goes(page, demo):
    """Told at the first call, so that one can cancel; and it is no gain."""
    tell(page, "execution_start")
    tell(page, "hilo-token.state", node="own", state="running", kept=544, total=4096, reason="")
    expect(page, "running", "13 % of the picture")
    tell(page, "hilo-token.state", node="own", state="running", kept=0, total=0, reason="area conditioning")
    expect(page, "dense", "Normal speed: area conditioning")
    tell(page, "execution_success")


def speak(page, language):
    """Set the language of the screen; the front end then loads the workflow again."""
    page.evaluate("(language) => app.extensionManager.setting.set('Comfy.Locale', language)", language)
    page.wait_for_timeout(1500)
    page.wait_for_function(f"{PATCH} && document.querySelector('.hilo-token-badge')?.clientWidth", timeout=20_000)


def test_what_the_server_says_is_in_the_language_of_the_screen(page, demo):
    """A text, one with values, and one inside another; what has no translation stays English."""
    plan = (
        "the plan is for {} tokens, but the latent has {}: give HiLo Token Select the picture that goes to this sampler"
    )
    frames = "the latent has more than one frame, and clips of this model are not compressed"
    dense = {"text": "{} is not compressed: {}", "values": ["Flux", frames]}
    speak(page, "zh")
    try:
        for reason, words in (
            ("nothing is painted yet", "正常速度：还没有涂抹任何区域"),
            ({"text": plan, "values": ["64x48", "32x24"]}, "规划对应 64x48 个 token，而 latent 为 32x24"),
            (dense, "Flux 不支持加速：latent 有不止一帧"),
            ("it rains", "正常速度：it rains"),
        ):
            tell(page, "execution_start")
            tell(page, "hilo-token.report", node="own", **GAIN | {"reason": reason})
            expect(page, "dense", words)
        tell(page, "execution_success")
    finally:
        speak(page, "en")


def test_the_map_has_the_figure_of_the_badge(page, server, demo):
    """One number: with the run's own settings the same; with others as much faster as the cost model says."""
    page.wait_for_function(f"{TEXT}.includes('per step (FLUX.1)')", timeout=10_000)
    image, mask = ({"node": "LoadImage", "slot": slot, "inputs": {"image": PHOTO.name}} for slot in (0, 1))
    asked = {"image": image, "mask": mask, "values": {}}
    plan = page.request.post(f"{server.url}/hilo_token/plan", data=asked).json()
    kept, total = plan["kept"], plan["total"]
    tell(page, "execution_start")
    tell(page, "hilo-token.report", node="own", **GAIN | {"kept": kept, "total": total, "speedup": 5.55})
    tell(page, "execution_success")
    page.wait_for_function(f"{TEXT}.endsWith('about 5.5x faster')", timeout=10_000)  # 5.55.toFixed(1)
    set_widget(page, "margin", 320)
    page.wait_for_function(f"{TEXT}.includes('about') && !{TEXT}.includes('5.5x')", timeout=10_000)


@both
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


@both
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


@both
def test_bypassed(page, demo):
    tell(page, "execution_start")
    tell(page, "hilo-token.report", node="own", **GAIN)
    expect(page, "gain")
    for mode in (4, 2):
        page.evaluate(f"{PATCH}.mode = {mode}")
        expect(page, "bypassed", "Bypassed: normal speed.")
    page.evaluate(f"{PATCH}.mode = 0")
    expect(page, "gain", ABOUT)


@both
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
    expect(page, "gain", ABOUT)


def command(page, name):
    """A command of the front end, and its animations."""
    page.evaluate("(name) => app.extensionManager.command.execute(name)", name)
    page.wait_for_timeout(700)


@both
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
    expect(page, "gain", ABOUT)
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
    gain = page.evaluate(BADGE).split("\n")[0]
    texts = page.evaluate("Object.values(app.nodeOutputs).flatMap((one) => one.text ?? [])")
    assert any(text.startswith(f"{gain}\n") for text in texts), "the report has the badge's figure"
    times = re.search(r"[\d.]+x", gain).group()
    page.wait_for_function(f"(times) => {TEXT}.includes(` ${{times}}`)", arg=times)  # and the map too
    run(page, preset="off")
    expect(page, "off", "Off: normal speed.")
    run(page)  # the patch is cached, and still off
    expect(page, "off")
    place = folder() / "input" / "hilo_black.png"
    Image.new("RGB", (1024, 1024)).save(place)
    try:
        page.evaluate("(n) => app.graph._nodes.find((n) => n.type === 'LoadImage').widgets[0].value = n", place.name)
        run(page, preset="balanced")
        expect(page, "failed", "Nothing is painted yet. Right-click the picture")
        assert page.evaluate(TEXT).startswith("Nothing is painted yet. Right-click the picture")
    finally:
        place.unlink()


def test_a_cached_token_select_keeps_its_map(page, demo):
    """Behind a node that only a run can tell the map needs its key; a run from the cache sends none."""
    blur(page)
    page.wait_for_function(f"{TEXT}.startsWith('Run the workflow once')", timeout=10_000)
    run(page, preset="balanced")
    page.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)
    saved = page.evaluate("app.graph.serialize()")
    load(page, "Demo - runs without a download")
    page.evaluate("(saved) => app.loadGraphData(saved, true, true)", saved)
    page.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)
    run(page)
    assert "of the picture" in page.evaluate(TEXT)
    set_widget(page, "margin", 96)
    page.wait_for_function(f"(text) => {TEXT} !== text && {TEXT}.includes('of the picture')", arg=page.evaluate(TEXT))
