"""The live map behind other nodes, none of which has run: it follows their widgets, and a bypass."""

from __future__ import annotations

import pytest

from tools.make_demo_photo import PHOTO

from .test_canvas import MAP, SELECT, TEXT, load

PUT = """([kind, widgets]) => {
    const select = app.graph._nodes.find((n) => n.type === "HiLoTokenSelect");
    const node = LiteGraph.createNode(kind);
    app.graph.add(node);
    for (const [name, value] of Object.entries(widgets)) node.widgets.find((w) => w.name === name).value = value;
    if (kind === "HiLoFit") {
        for (const slot of [0, 1]) {
            const link = app.graph.links.get?.(select.inputs[slot].link) ?? app.graph.links[select.inputs[slot].link];
            app.graph.getNodeById(link.origin_id).connect(link.origin_slot, node, slot);
        }
        for (const slot of [0, 1]) node.connect(slot, select, slot);
    } else {
        const link = app.graph.links.get?.(select.inputs[1].link) ?? app.graph.links[select.inputs[1].link];
        app.graph.getNodeById(link.origin_id).connect(link.origin_slot, node, 0);
        node.connect(0, select, 1);
    }
    window.between = node;
}"""


@pytest.fixture(params=[False, True], ids=["canvas", "vue"])
def demo(page, request):
    page.evaluate("(on) => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", request.param)
    load(page, "Demo - runs without a download")
    page.wait_for_function(f"{MAP}?.isConnected && {TEXT}.includes('of the picture')", timeout=20_000)
    yield
    page.evaluate("app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def share(page, text, doing=""):
    """The map's words once they are others; doing: what is evaluated first."""
    page.evaluate(f"{doing}; null")
    page.wait_for_function(f"(text) => {TEXT} !== text && {TEXT}.includes('of the picture')", arg=text, timeout=20_000)
    return page.evaluate(TEXT)


@pytest.mark.parametrize(
    ("kind", "widget", "first", "second"),
    [
        ("GrowMask", "expand", 40, 90),
        ("HiLoMaskDilate", "drop_specks", 16, None),
        ("InvertMask", None, None, None),
        ("HiLoFit", "megapixels", 0.3, 0.6),
    ],
)
def test_the_map_follows(page, demo, kind, widget, first, second):
    plain = page.evaluate(TEXT)
    picture = page.evaluate(f"{MAP}.toDataURL()")
    page.evaluate(PUT, [kind, {widget: first} if widget else {}])
    if kind == "HiLoMaskDilate":  # its first output is the mask itself; the second is grown
        plain = share(page, plain, f"between.connect(1, {SELECT}, 1)")
    else:
        one = share(page, plain)
        if second is not None:
            share(page, one, f"between.widgets.find((w) => w.name === '{widget}').value = {second}")
    page.evaluate("between.mode = 4")  # bypassed
    page.wait_for_function(f"(picture) => {MAP}.toDataURL() === picture", arg=picture, timeout=20_000)


def test_an_edit_template_is_live(page):
    """Picture and mask are scaled and cropped there, and no such model is needed for its map."""
    load(page, "FLUX.2 klein - masked edit")
    page.evaluate("(v) => app.graph._nodes.find((n) => n.type === 'LoadImage').widgets[0].value = v", PHOTO.name)
    page.wait_for_function(f"{TEXT}.includes('of the picture')", timeout=20_000)


def test_a_double_click_behind_fit_opens_the_picture(page, demo):
    page.evaluate(PUT, ["HiLoFit", {}])
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


def test_each_node_that_is_followed_is_the_hosts(server):
    from tools.pack import load_pack

    there = set(server.object_info())
    known = set(load_pack("nodes.preview.steps").FOLLOWED)
    assert known - there <= {"ResizeImageMaskNode"}  # which 0.3.75 does not have
