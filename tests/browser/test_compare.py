"""HiLo Compare after a run: the slider, a button for each picture, the verdict."""

from __future__ import annotations

import pytest

from .test_after_run import frame
from .test_canvas import load

NODE = "app.graph._nodes.find((n) => n.type === 'HiLoCompare')"
CHOICES = "[...document.querySelectorAll('.hilo-compare-choices button')]"
OVER = "document.querySelector('.hilo-compare-after')"


@pytest.fixture(scope="module")
def compared(page):
    assert load(page, "Demo - compare presets") == []
    page.evaluate(f"{NODE}.widgets.find((w) => w.name === 'steps').value = 2")
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.wait_for_function(f"{CHOICES}.length === 4 && {OVER}.naturalWidth === 1024", timeout=180_000)
    page.wait_for_timeout(500)
    return page


def test_help_page(compared, shot):
    clip = frame(compared, "HiLoCompare")
    assert clip["width"] > 100 and clip["height"] > 400
    shot("help_HiLoCompare", clip)
    inside = compared.evaluate(
        """() => {
            const [box, last] = ['.hilo-compare', '.hilo-compare-choices button:last-child']
                .map((one) => document.querySelector(one).getBoundingClientRect());
            return last.bottom <= box.bottom + 1 && last.right <= box.right + 1;
        }"""
    )
    assert inside, "every button can be seen"


def test_each_button_lays_its_picture_over_dense(compared):
    before = compared.evaluate("document.querySelector('.hilo-compare-before').src")
    names, sources = compared.evaluate(f"{CHOICES}.map((one) => one.textContent)"), []
    for number in range(len(names)):
        compared.evaluate(f"{CHOICES}[{number}].click()")
        sources.append(compared.evaluate(f"{OVER}.src"))
        assert compared.evaluate(f"{OVER}.alt") == names[number]
        assert compared.evaluate(f"{CHOICES}.filter((one) => one.ariaPressed === 'true').length") == 1
    assert len({before, *sources}) == 5 and sorted(names)[::2] == ["balanced", "fast"]


def test_hold_shows_dense(compared):
    share = "document.querySelector('.hilo-compare-before').style.clipPath"
    hold = "document.querySelector('.hilo-compare button')"
    assert compared.evaluate(f"{hold}.textContent") == "Hold: dense"
    compared.evaluate(f"{hold}.dispatchEvent(new Event('pointerdown'))")
    assert compared.evaluate(share).replace("0px", "0%").startswith("inset(0")
    held = compared.evaluate(share)
    compared.evaluate(f"{hold}.dispatchEvent(new Event('pointerup'))")
    assert held != compared.evaluate(share)


def test_blueprint_gives_the_picture_and_the_verdict(page, server):
    name = "Compare Presets, FLUX.1 Fill (HiLo)"
    (found,) = (key for key, entry in server.get("/global_subgraphs").items() if entry["name"] == name)
    prompt = page.evaluate(
        """async (id) => {
            const entry = await (await fetch(`/api/global_subgraphs/${id}`)).json();
            await app.loadGraphData(JSON.parse(entry.data), true, true);
            const compare = app.graph._nodes[0];
            const kinds = ["LoadImage", "PreviewImage", "PreviewAny"];
            const [photo, shown, text] = kinds.map((kind) => LiteGraph.createNode(kind));
            for (const node of [photo, shown, text]) app.graph.add(node);
            photo.connect(0, compare, 0);
            photo.connect(1, compare, 1);
            compare.connect(0, shown, 0);
            compare.connect(1, text, 0);
            compare.widgets.find((w) => w.name === "prompt" || w.name === "text").value = "a lighthouse";
            compare.widgets.find((w) => w.name.endsWith("presets")).value = "fast";
            return (await app.graphToPrompt()).output;
        }""",
        found,
    )
    number = {node["class_type"]: key for key, node in prompt.items()}
    inputs = {kind: prompt[key]["inputs"] for kind, key in number.items()}
    assert inputs["PreviewImage"]["images"] == [number["HiLoCompare"], 1]
    assert inputs["PreviewAny"]["source"] == [number["HiLoCompare"], 3]
    assert inputs["InpaintModelConditioning"]["mask"] == [number["LoadImage"], 1]
    assert inputs["CLIPTextEncode"]["text"] == "a lighthouse" and inputs["HiLoCompare"]["presets"] == "fast"
