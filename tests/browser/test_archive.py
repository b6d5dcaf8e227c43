"""The registry's archive in an empty ComfyUI: no models, no pictures, nothing but the pack. The first click works."""

from __future__ import annotations

import io
import zipfile

import pytest
from PIL import Image, ImageDraw

from tools import archive, demo
from tools.host import CACHE
from tools.make_demo_photo import PHOTO
from tools.server import ComfyServer

from .conftest import SETTINGS, SHOTS
from .test_canvas import BADGE, MAP, TEXT, load


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A server whose only custom node is the unpacked archive, and whose folders are empty."""
    base = tmp_path_factory.mktemp("comfy")
    for name in ("models", "input"):
        (base / name).mkdir()
    with zipfile.ZipFile(archive.write(CACHE / "archive" / "hilo-token.zip")) as packed:
        packed.extractall(base / "custom_nodes" / "hilo-token")
    with ComfyServer(arguments=("--base-directory", str(base))) as running:
        running.base = base
        yield running


@pytest.fixture(scope="module")
def newcomer(empty, browser):
    """The page of one who has just installed the pack."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    opened = browser.new_page(viewport={"width": 1600, "height": 1000})
    opened.wrong = []
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
    assert opened.request.post(f"{empty.url}/settings", data=SETTINGS).ok
    opened.goto(empty.url)
    opened.wait_for_function("window.app?.graph && window.app.extensionManager", timeout=60_000)
    assert not list((empty.base / "input").glob("*.*")), "installing the pack puts nothing among the user's pictures"
    assert load(opened, demo.WORKFLOW) in ([], ["MarkdownNote"])
    yield opened
    opened.close()


def run(page):
    """Press Run and wait for the gain and the saved picture; returns the badge's words."""
    page.evaluate("window.ended = 0; app.api.addEventListener('execution_success', () => (window.ended += 1))")
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.wait_for_function("window.ended > 0", timeout=170_000)
    page.wait_for_function("document.querySelector('.hilo-token-badge').dataset.state === 'gain'", timeout=10_000)
    return page.evaluate(BADGE)


def test_the_first_click_works(empty, newcomer):
    """Open the demo, press Run: no missing node, no file to fetch, and a picture is saved."""
    assert (empty.base / "input" / PHOTO.name).read_bytes() == PHOTO.read_bytes()
    newcomer.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)
    words = run(newcomer)
    assert "instead of about" in words and "of the picture computed" in words
    size = newcomer.evaluate(
        """async () => {
            const shown = Object.values(app.nodeOutputs).flatMap((one) => one.images ?? []);
            const [saved] = shown.filter((one) => one.type === "output");
            const picture = new Image();
            picture.src = app.api.apiURL(`/view?${new URLSearchParams(saved)}`);
            await picture.decode();
            return [picture.naturalWidth, picture.naturalHeight];
        }"""
    )
    assert size == [1024, 1024], "a picture was saved"
    newcomer.wait_for_function("document.querySelector('.hilo-compare').style.display === 'flex'", timeout=20_000)
    newcomer.screenshot(path=SHOTS / "archive.png")
    assert not [error for error in newcomer.wrong if "hilo" in error.lower()]


def test_what_is_painted_counts(empty, newcomer):
    """Another mask in the photo's alpha, saved where the mask editor saves it: map and run follow."""
    before, text = newcomer.evaluate(f"{MAP}.toDataURL()"), newcomer.evaluate(BADGE)
    picture = Image.open(PHOTO).convert("RGB")
    alpha = Image.new("L", picture.size, 255)
    ImageDraw.Draw(alpha).ellipse((100, 300, 560, 760), fill=0)
    picture.putalpha(alpha)
    file = io.BytesIO()
    picture.save(file, "PNG")
    sent = newcomer.request.post(
        f"{empty.url}/upload/image",
        multipart={
            "image": {"name": "painted.png", "mimeType": "image/png", "buffer": file.getvalue()},
            "subfolder": "clipspace",
        },
    )
    assert sent.ok
    newcomer.evaluate(
        "(v) => app.graph._nodes.find((n) => n.type === 'LoadImage').widgets[0].value = v",
        "clipspace/painted.png [input]",
    )
    newcomer.wait_for_function(f"(before) => {MAP}.toDataURL() !== before", arg=before, timeout=20_000)
    assert run(newcomer) != text


def test_opened_again_the_photo_is_not_doubled(empty, newcomer):
    load(newcomer, demo.WORKFLOW)
    newcomer.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)
    assert [path.name for path in (empty.base / "input").glob("*.*")] == [PHOTO.name]
