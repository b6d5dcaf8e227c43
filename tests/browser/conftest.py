"""A headless Chromium on a real server."""

from __future__ import annotations

import pytest
from playwright.sync_api import sync_playwright

from tools.chromium import FLAGS, chromium
from tools.host import CACHE
from tools.server import ComfyServer

SHOTS = CACHE / "screenshots"


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
    opened.goto(server.url)
    opened.wait_for_function("window.app?.graph && window.app.extensionManager", timeout=60_000)
    opened.evaluate("window.app.extensionManager.setting.set('Comfy.TutorialCompleted', true)")
    yield opened
    opened.close()


@pytest.fixture
def shot(page):
    """Keeps a picture of the page."""
    return lambda name: page.screenshot(path=SHOTS / f"{name}.png")
