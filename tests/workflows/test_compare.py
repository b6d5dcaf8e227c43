"""The template that compares presets, through the real server: pictures, words, progress and interrupt."""

from __future__ import annotations

import pytest
from PIL import Image

from tools import host, workflow
from tools.make_workflows import WORKFLOWS
from tools.server import ServerError

NAME = "Demo - compare presets"


@pytest.fixture(scope="module")
def prompt(server):
    assert NAME in WORKFLOWS
    found = workflow.to_api(workflow.load(NAME), server.object_info())
    found[workflow.find(found, "HiLoCompare")]["inputs"]["steps"] = 1
    return found


def test_template_gives_pictures_and_a_verdict(server, prompt):
    node = workflow.find(prompt, "HiLoCompare")
    result = server.queue(prompt)
    output = result.outputs[node]
    assert output["hilo_compare_names"][0] == "dense" and len(output["hilo_compare"]) == 5
    for file in output["hilo_compare"]:
        with Image.open(host.server_folder() / "temp" / "temp" / file["filename"]) as shown:
            assert shown.size == (1024, 1024)
    (text,) = output["text"]
    assert text.startswith("'") and text.count("largest change outside the edit 0") == 2, text
    bars = [m["data"] for m in result.messages if m["type"] == "progress" and m["data"]["node"] == node]
    assert {bar["max"] for bar in bars} == {3} and bars[-1]["value"] == 3
    assert [bar["value"] for bar in bars] == sorted(bar["value"] for bar in bars)


def test_wrong_input_is_told_by_the_server(server, prompt):
    node = workflow.find(prompt, "HiLoCompare")
    changed = {**prompt, node: {**prompt[node], "inputs": {**prompt[node]["inputs"], "presets": "best", "seed": 8}}}
    with pytest.raises(ServerError, match="'best' is no preset to compare"):
        server.queue(changed)
