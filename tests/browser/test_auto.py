"""The preset `auto` on the canvas: map and badge say what it took, and comparisons decide the next run."""

from __future__ import annotations

import folder_paths
import pytest
from hilo_token.comfy_bridge.known import FILE, Comparisons, identity
from hilo_token.demo import model
from hilo_token.hilo_core.auto import Setting, Trial

from tools.host import server_folder

from .test_badge import PATCH, expect
from .test_canvas import BADGE, TEXT, load, set_widget


@pytest.fixture
def store(server, monkeypatch):
    """The server's file of comparisons: none at the start, and none left."""
    folder = server_folder() / "user"
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(folder))
    (folder / FILE).unlink(missing_ok=True)
    yield Comparisons()
    (folder / FILE).unlink(missing_ok=True)


def run(page, words):
    """Run, until the badge says it."""
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.wait_for_function(f"(words) => {BADGE}.includes(words)", arg=words, timeout=180_000)
    expect(page, "gain", words)


def test_what_was_compared_decides_the_next_run(page, store, shot):
    load(page, "Demo - runs without a download")
    page.evaluate(
        "app.graph._nodes.find((n) => n.type === 'KSampler').widgets.find((w) => w.name === 'steps').value = 2"
    )
    set_widget(page, "preset", "auto")
    page.wait_for_function(f"{TEXT}.includes('auto took balanced: this model has not been compared')", timeout=20_000)
    run(page, "auto took balanced")
    setting = Setting(**page.evaluate(f"{PATCH}.properties.hilo_state.report.setting"))
    assert (setting.total, setting.steps, setting.sampler) == (4096, 2, "sample_euler")
    store.remember(identity(model.load()), [Trial("fast", f"{n}", setting, 41.0, "", 2.0) for n in range(3)])
    run(page, "auto took fast: close to dense in 3 of 3 comparisons like this run, 41 dB")
    page.wait_for_function(f"{TEXT}.includes('auto took fast')", timeout=20_000)
    page.wait_for_timeout(300)
    shot("auto")
