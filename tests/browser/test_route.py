"""The route behind the live map: only the host's own folders, only sane values."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request

import pytest
from PIL import Image

from tools.host import folder


def step(node, slot=0, **inputs):
    return {"node": node, "slot": slot, "inputs": inputs}


def picture(name):
    return step("LoadImage", image=name)


def painted(name, channel="red"):
    return step("LoadImageMask", image=name, channel=channel)


DEMO = {"image": picture("demo.jpg"), "mask": painted("demo_mask.png"), "values": {}}


def ask(server, **changes):
    """The answer, and its status."""
    return send(server, json.dumps(DEMO | changes).encode())


def send(server, body, **headers):
    """The same for a body as it is."""
    headers = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    asked = urllib.request.Request(f"{server.url}/hilo_token/plan", body, headers)
    try:
        with urllib.request.urlopen(asked) as answer:
            return json.load(answer), answer.status
    except urllib.error.HTTPError as error:
        return json.load(error), error.code


def test_counts_are_those_of_the_map(server):
    plan, _ = ask(server)
    assert (plan["rows"], plan["columns"], plan["size"]) == (64, 64, [1024, 1024])
    assert sum(plan["counts"].values()) == plan["kept"] < plan["total"] == 4096
    assert plan["speedup"] > 1 and "photo" not in plan and "photo" in ask(server, photo=True)[0]


@pytest.mark.parametrize(
    "name",
    ["../../main.py", "/etc/passwd", "a\0b", "../models/vae/put_vae_here", "demo.jpg [nowhere]", "", ".", "x" * 5000],
)
def test_no_other_file_is_read(server, name):
    assert ask(server, image=picture(name))[0] == {"hint": "missing"}
    assert ask(server, mask=painted(name))[0] == {"hint": "missing"}


def test_link_out_of_the_folder(server, tmp_path):
    Image.new("RGB", (1024, 1024)).save(tmp_path / "secret.png")
    link = folder() / "input" / "hilo_test_link.png"
    link.symlink_to(tmp_path / "secret.png")
    try:
        assert ask(server, image=picture(link.name))[0] == {"hint": "missing"}
    finally:
        link.unlink()


def test_huge_and_broken_pictures(server):
    place = folder() / "input" / "hilo_test.png"
    try:
        Image.new("1", (8000, 6000)).save(place)
        assert ask(server, image=picture(place.name))[0] == {"hint": "huge"}
        place.write_bytes(b"no picture")
        assert ask(server, image=picture(place.name))[0] == {"hint": "missing"}
    finally:
        place.unlink()


@pytest.mark.parametrize(
    "values",
    [{"preset": "best"}, {"margin": -2}, {"margin": "3"}, {"budget": 1e300}, {"context": 1}, {"detail": True}],
)
def test_bad_values(server, values):
    answer, status = ask(server, values=values)
    assert status == 200 and answer["hint"] == "bad_values" and next(iter(values)) in answer["message"]


@pytest.mark.parametrize(
    "changes",
    [
        {"image": {"node": "LoadImage", "inputs": {"image": "demo.jpg"}}},
        {"mask": step("GrowMask", mask={"node": 3})},
        {"mask": step("LoadImageMask")},
        {"values": 3},
        {"image": 7},
        {"mask": painted("demo_mask.png", "depth")},
        {"values": None},
        {"mask": None},
        {"key": 5},
        {"run": [1]},
    ],
)
def test_unreadable_requests(server, changes):
    assert ask(server, **changes)[1] == 400


GOOD = json.dumps(DEMO).encode()
BODIES = {
    "nothing": (b"", {}),
    "no JSON": (b"values", {}),
    "a list": (b"[]", {}),
    "nested lists": (b"[" * 7000 + b"]" * 7000, {}),
    "broken UTF-8": (b"\xff" + GOOD, {}),
    "an unknown charset": (GOOD, {"Content_Type": "application/json; charset=nonsense"}),
    "a charset that is no text": (GOOD, {"Content_Type": "application/json; charset=hex"}),
    "not the gzip it says": (GOOD, {"Content_Encoding": "gzip"}),
    "gzip cut short": (gzip.compress(GOOD)[:-20], {"Content_Encoding": "gzip"}),
}


@pytest.mark.parametrize("body", BODIES)
def test_unreadable_bodies(server, body):
    data, headers = BODIES[body]
    assert send(server, data, **headers)[1] == 400


def test_a_number_of_many_digits_is_a_bad_value(server):
    answer, status = ask(server, values={"budget": 10**400})
    assert (status, answer["hint"]) == (200, "bad_values") and len(answer["message"]) < 200


def test_packed_and_other_charsets(server):
    plan, _ = ask(server)
    assert send(server, gzip.compress(GOOD), Content_Encoding="gzip")[0] == plan
    assert send(server, GOOD.decode().encode("utf-16"), Content_Type="application/json; charset=utf-16")[0] == plan


def test_long_request(server):
    """The limit is on what is unpacked."""
    assert ask(server, extra="x" * 20_000)[1] == 413
    packed = gzip.compress(json.dumps(DEMO | {"extra": "x" * 12_000_000}).encode())
    assert len(packed) < 16_384 and send(server, packed, Content_Encoding="gzip")[1] == 413


def test_forgotten_run(server):
    """After a restart the server knows no run: a map that needs it says so, one that has its files is drawn."""
    assert ask(server, key="0123456789abcdef")[0] == {"hint": "forgotten"}
    plan, _ = ask(server, run="0123456789abcdef")
    assert plan["kept"] == ask(server)[0]["kept"] and plan["family"] == "FLUX.1"


def test_mask_hints(server):
    assert ask(server, mask=painted("demo.jpg", "alpha"))[0] == {"hint": "no_mask"}
    assert ask(server, image=picture("rocket.jpg"))[0] == {
        "hint": "mask_size",
        "mask": "1024x1024",
        "picture": "640x416",
    }
