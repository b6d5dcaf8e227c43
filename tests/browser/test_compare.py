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
