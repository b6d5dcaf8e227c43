"""Prompts with wrong values, and the host's output cache, through the real server."""

from __future__ import annotations

import re

import pytest

from tools.server import ServerError

from .graphs import Box, graph, latent, lines, node, resized, with_defaults

BOX = Box(8, 8, 40, 40)


@pytest.fixture(scope="module")
def made(server):
    """Makes a complete prompt of a small picture."""
    info = server.object_info()
    return lambda **chosen: with_defaults(graph(160, 128, (BOX,), **chosen), info)


def run(server, prompt, seed=1):
    """The latent of a prompt under another name, so that nothing is taken from an earlier one."""
    prompt["sampler"]["inputs"]["seed"] = seed
    prompt["out"]["inputs"]["filename_prefix"] += "x"
    return latent(server, server.queue(prompt), "out")


def test_same_model_from_the_cache(server, made):
    """A second prompt gets the same MODEL from the host's cache, and is compressed, with the same result."""
    prompt = made(before=("RescaleCFG",))
    first = run(server, prompt)
    prompt["sampler"]["inputs"]["seed"] = 2
    again = server.queue(prompt)
    assert "hilo" in next(m for m in again.messages if m["type"] == "execution_cached")["data"]["nodes"]
    second = latent(server, again, "out")
    third = run(server, prompt)
    assert all("compressed steps" in line for line in lines(server)[-3:])
    assert (first - third).abs().max() == 0 < (first - second).abs().max()


def test_patched_twice_is_said(server, made):
    """Of two patches in a row the last one counts, and that is said."""
    alone = run(server, made(preset="fast"))
    prompt = made(preset="quality")
    assert (run(server, prompt) - alone).abs().max() > 0
    prompt["twice"] = node("HiLoModelPatch", **{**prompt["hilo"]["inputs"], "model": ["hilo", 0], "preset": "fast"})
    prompt["sampler"]["inputs"]["model"] = ["twice", 0]
    assert (run(server, prompt) - alone).abs().max() == 0
    assert any("patched before; the last patch counts" in line for line in server.log_lines())


WRONG = {
    "FLOAT": ["abc", None, {}, 1e9, -1e9, "nan", ["nowhere", 0], ["model", 1]],
    "INT": ["abc", None, {}, 10**9, -(10**9), ["nowhere", 0], ["model", 1]],
    "COMBO": ["abc", None, 7, "", ["nowhere", 0]],
    "BOOLEAN": [["nowhere", 0], ["model", 1]],
    "MODEL": [["nowhere", 0], ["model", 9], ["model", 1]],
}
LINK = [["nowhere", 0], ["model", 0]]  # for every other type
TO_NOTHING = (["nowhere", 0], ["model", 9])  # of these links the host names the node alone


def wrong_inputs(kind, given, info):
    """(input, value or 'missing', inputs) for each way in which one input of a node can be wrong."""
    specs = info[kind]["input"]
    for field, spec in {**specs["required"], **specs.get("optional", {})}.items():
        for value in WRONG.get("COMBO" if isinstance(spec[0], list) else spec[0], LINK):
            yield field, value, {**given, field: value}
        if field in specs["required"]:
            yield field, "missing", {key: value for key, value in given.items() if key != field}


@pytest.mark.parametrize("name", ["grown", "plan", "hilo", "decode"])
def test_wrong_values_are_refused_by_name(server, made, name):
    """Missing, wrongly typed and out-of-range values: refused before anything runs, or, where this host does not look,
    by the node in one sentence; the words name the node and the input."""
    info, good = server.object_info(), made(planned=True, decoded=True)
    wanted = "picture" if name == "decode" else "out"
    for other in {"out", "in", "picture", "original"} - {wanted}:
        del good[other]  # what does not need the node would run
    kind, tried, wrong = good[name]["class_type"], 0, []
    for field, value, inputs in wrong_inputs(kind, good[name]["inputs"], info):
        try:
            server.queue({**good, name: {"class_type": kind, "inputs": inputs}})
            said = "it ran"
        except ServerError as failure:
            said = str(failure)
        by_host = said.startswith("{") and (value in TO_NOTHING or field in said) and (kind in said or name in said)
        if not by_host and not re.fullmatch(
            f"{kind}: '{field}' is .*; (choose one of:|it must be a (whole )?number from) .*", said
        ):
            wrong.append((field, value, said[:300]))
        tried += 1
    assert not wrong, wrong
    assert tried >= 14


@pytest.mark.parametrize("name", ["grown", "plan", "hilo", "decode"])
def test_numbers_through_a_link(server, made, name):
    """The host checks the range of typed numbers only; a node checks those that another node gives it too."""
    info, tried = server.object_info(), 0
    kind = made(planned=True, decoded=True)[name]["class_type"]
    specs = info[kind]["input"]
    for field, (type_, *options) in {**specs["required"], **specs.get("optional", {})}.items():
        if type_ not in ("INT", "FLOAT"):
            continue
        for value in (options[0]["min"] - 1, options[0]["max"] + 1):
            prompt = made(planned=True, decoded=True)
            prompt["number"] = node("PrimitiveInt" if type_ == "INT" else "PrimitiveFloat", value=value)
            prompt[name]["inputs"][field] = ["number", 0]
            with pytest.raises(
                ServerError, match=rf"^{kind}: '{field}' is {value}.*; it must be a (whole )?number from "
            ):
                server.queue(prompt)
            tried += 1
    assert tried >= 2


def test_extra_values_do_no_harm(server, made):
    prompt = made(planned=True)
    good = run(server, prompt)
    for name in ("grown", "plan", "hilo"):
        prompt[name]["inputs"] |= {"unheard_of": 5, "": "x"}
    assert (run(server, prompt) - good).abs().max() == 0


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("plan", {"image": ["small", 0]}, "HiLoTokenSelect: .*64x64"),
        ("grown", {"mask": ["mask0", 0]}, "HiLoMaskDilate: Nothing is painted yet. Right-click the picture"),
        ("decode", {"original": ["small", 0]}, "HiLoMaskedDecode: .*64x64"),
    ],
)
def test_what_only_a_run_can_find_is_one_sentence(server, made, name, change, words):
    """The message says what is wrong; nothing fails inside the model."""
    prompt = made(planned=True, decoded=True)
    prompt["small"] = resized("photo", 64, 64)
    prompt[name]["inputs"] |= change
    with pytest.raises(ServerError, match=words):
        server.queue(prompt)
