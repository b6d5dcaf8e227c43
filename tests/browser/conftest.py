"""A headless Chromium on a real server."""

from __future__ import annotations

import pytest
from playwright.sync_api import sync_playwright

from tools.chromium import FLAGS, chromium
from tools.host import CACHE
from tools.server import ComfyServer

SHOTS = CACHE / "screenshots"
SETTINGS = {  # no dialog opens by itself, at a moment of its own choosing
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.VueNodes.Enabled": False,  # a test that wants the other renderer switches it on, and off again
}


@pytest.fixture(scope="package")
def server():
    with ComfyServer() as running:
        yield running


@pytest.fixture(scope="package")
def browser():
    with sync_playwright() as engines:
        running = engines.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="package")
def page(server, browser):
    """The front end, loaded once; each test loads its own workflow."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    opened = browser.new_page(viewport={"width": 1600, "height": 1000})
    assert opened.request.post(f"{server.url}/settings", data=SETTINGS).ok
    opened.goto(server.url)
    opened.wait_for_function("window.app?.graph && window.app.extensionManager", timeout=60_000)
    yield opened
    opened.close()


@pytest.fixture
def shot(page):
    """Keeps a picture of the page, or of a part: {x, y, width, height} in pixels."""
    return lambda name, clip=None: page.screenshot(path=SHOTS / f"{name}.png", clip=clip)
