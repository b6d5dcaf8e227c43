"""Every example workflow, against the real server's nodes; names and help in each language."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from PIL import Image

from tools import make_locales, workflow
from tools.examples.base import MODELS, NEWER
from tools.host import ROOT
from tools.make_workflows import WORKFLOWS

HAVE_RUN = ("Demo - runs without a download", "Demo - compare presets")  # test_demo and test_compare run them


@pytest.fixture(scope="module")
def info(server):
    return server.object_info()


def refusals(server, prompt):
    """What the host has against a prompt: (node class, error) pairs. It must refuse, or it would run."""
    body = json.dumps({"prompt": prompt}).encode()
    asked = urllib.request.Request(f"{server.url}/prompt", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)
    found = json.load(refused.value)["node_errors"].values()
    return [(node["class_type"], error) for node in found for error in node["errors"]]


def test_files_and_list_agree():
    assert {p.stem for p in workflow.FOLDER.glob("*.json")} == set(WORKFLOWS)


@pytest.mark.parametrize("name", [n for n in WORKFLOWS if n not in HAVE_RUN])
def test_host_misses_nothing_but_models(server, info, name):
    """The models are not here; the host must name each of them, and find nothing else wrong."""
    saved = workflow.load(name)
    prompt = workflow.to_api(saved, info)
    wanted = {v for n in prompt.values() for v in n["inputs"].values() if isinstance(v, str) and v in MODELS}
    missing = set()
    for kind, error in refusals(server, prompt):
        assert error["type"] == "value_not_in_list", (kind, error)
        missing.add(error["extra_info"]["received_value"])
    assert missing - NEWER == wanted
    (note,) = (n["widgets_values"][0] for n in saved["nodes"] if n["type"] == "MarkdownNote")
    assert all(model in note and f"models/{MODELS[model][0]}/" in note for model in wanted)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_layout_and_thumbnail(name):
    saved = workflow.load(name)
    nodes = saved["nodes"]
    boxes = [(n["id"], *n["pos"], n["pos"][0] + n["size"][0], n["pos"][1] + n["size"][1]) for n in nodes]
    for a, left, top, right, bottom in boxes:
        for b, x, y, x_end, y_end in boxes:
            apart = right <= x or x_end <= left or bottom + 30 <= y or y_end + 30 <= top  # a title is 30 px high
            assert a == b or apart, f"nodes {a} and {b} overlap"
    assert saved["groups"]
    with Image.open(workflow.FOLDER / f"{name}.jpg") as thumbnail:
        assert thumbnail.format == "JPEG" and min(thumbnail.size) >= 256


def test_each_sampler_of_ours_gets_the_patched_model(info):
    for name in WORKFLOWS:
        prompt = workflow.to_api(workflow.load(name), info)
        if any(node["class_type"] == "HiLoCompare" for node in prompt.values()):
            continue  # it patches the model itself
        patch = workflow.find(prompt, "HiLoModelPatch")
        users = {n["class_type"] for n in prompt.values() if [patch, 0] in n["inputs"].values()}
        assert users & {"KSampler", "BasicGuider", "CFGGuider"}, name


def test_english_names_come_from_the_schemas(info):
    saved = json.loads(make_locales.PATH.read_text(encoding="utf-8"))
    ours = {name: node for name, node in make_locales.entries(info).items()}
    assert saved == ours, "run: python -m tools.make_locales"


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_every_input_has_words(language):
    english, other = (
        {
            part: json.loads((ROOT / "locales" / lang / f"{part}.json").read_text("utf-8"))
            for part in ("nodeDefs", "main")
        }
        for lang in ("en", language)
    )
    assert other["main"]["hiloToken"].keys() == english["main"]["hiloToken"].keys()
    assert other["nodeDefs"].keys() == english["nodeDefs"].keys()
    for name, node in english["nodeDefs"].items():
        for part in ("inputs", "outputs"):
            assert other["nodeDefs"][name][part].keys() == node[part].keys(), (name, part)
            assert all(entry["name"] and entry["tooltip"] for entry in other["nodeDefs"][name][part].values())


def test_each_node_has_a_help_page():
    english = json.loads(make_locales.PATH.read_text(encoding="utf-8"))
    for name, node in english.items():
        page = (ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {node['display_name']}\n")
