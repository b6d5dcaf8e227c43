"""Ten live maps on one canvas: at most one request in flight for each, and the last state wins."""

from __future__ import annotations

import pytest

from .test_canvas import load

NODES = 10
MOVES = 30
PLACE = """async (count) => {
    const first = app.graph._nodes.find((n) => n.type === "HiLoTokenSelect");
    const [photo, mask] = [0, 1].map((slot) => first.getInputNode(slot));
    for (let i = 1; i < count; i++) {
        const node = LiteGraph.createNode("HiLoTokenSelect");
        app.graph.add(node);
        node.pos = [420 + 380 * i, 1300];
        photo.connect(0, node, 0);
        mask.connect(1, node, 1);
    }
    window.selects = app.graph._nodes.filter((n) => n.type === "HiLoTokenSelect");
    selects.forEach((node, i) => (node.widgets.find((w) => w.name === "detail").value = 1 + i));
}"""
WATCH = """() => {
    window.asked = [];
    window.held = [];
    window.hold = true;
    window.plainFetch = window.fetch;
    window.fetch = async (url, options) => {
        if (String(url).includes("/hilo_token/plan")) {
            asked.push(JSON.parse(options.body).values);
            if (hold) await new Promise((go) => held.push(go));
        }
        return plainFetch(url, options);
    };
}"""
MOVE = """(moves) => {
    for (let step = 1; step <= moves; step++) {
        for (const node of selects) {
            const slider = node.widgets.find((w) => w.name === "margin");
            slider.value = 8 * step;
            slider.callback(slider.value);
        }
    }
}"""


@pytest.fixture
def ten(page):
    assert load(page, "Demo - runs without a download") == []
    page.evaluate(PLACE, NODES)
    page.wait_for_function(
        """(count) => [...document.querySelectorAll(".hilo-token-text")]
            .filter((text) => text.textContent.includes("of the picture")).length === count""",
        arg=NODES,
        timeout=60_000,
    )
    page.wait_for_timeout(1000)  # the detail of each has been asked for
    page.evaluate(WATCH)
    yield page
    page.evaluate("window.fetch = plainFetch")


def test_one_request_in_flight_for_each_and_the_last_wins(ten):
    ten.evaluate(MOVE, MOVES)
    ten.wait_for_timeout(1500)  # several turns of the timer that looks for changes
    asked = ten.evaluate("asked")
    assert len(asked) == NODES and len({values["detail"] for values in asked}) == NODES
    ten.evaluate("hold = false; held.forEach((go) => go())")
    ten.wait_for_function(f"asked.length >= {2 * NODES}", timeout=30_000)
    ten.wait_for_timeout(1500)
    asked = ten.evaluate("asked")
    assert len(asked) == 2 * NODES, "no node asks again for what it shows"
    last = {values["detail"]: values["margin"] for values in asked[NODES:]}
    assert len(last) == NODES and set(last.values()) == {8 * MOVES}
