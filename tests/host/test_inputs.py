"""What arrives at the nodes' inputs, typed or through a link: good values work, all others get one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from comfy_api.latest import io

from tools.pack import load_pack

from .cases import case, patcher
from .models import SMALL, flux

HEIGHT, WIDTH = 128, 160
NUMBERS = (float("nan"), float("inf"), float("-inf"), -(10**400), 10**400, "3", None, True, [1], torch.ones(()))
EMPTY = "Nothing is painted yet"


class Vae:
    """A VAE of 8 px, whose pictures are grey."""

    first_stage_model = None
    crop_input = True

    def spacial_compression_encode(self):
        return 8

    spacial_compression_decode = spacial_compression_encode

    def encode(self, pixels):
        return torch.zeros(len(pixels), 16, pixels.shape[1] // 8, pixels.shape[2] // 8)

    def decode(self, latent):
        return torch.full((len(latent), latent.shape[-2] * 8, latent.shape[-1] * 8, 3), 0.5)


def box(*shape, value=1.0):
    """A mask of that shape with a box in it."""
    mask = torch.zeros(shape)
    mask[..., 40:72, 48:96] = value
    return mask


@pytest.fixture(scope="module")
def nodes():
    found = {
        "dilate": load_pack("nodes.mask_dilate").HiLoMaskDilate,
        "select": load_pack("nodes.token_select").HiLoTokenSelect,
        "patch": load_pack("nodes.model_patch").HiLoModelPatch,
        "decode": load_pack("nodes.masked_decode").HiLoMaskedDecode,
        "report": load_pack("nodes.report").HiLoReport,
    }
    return found


@pytest.fixture(scope="module")
def model():
    return patcher(flux())


@pytest.fixture(scope="module")
def given(nodes, model):
    """Good inputs of each node, every one of its schema."""
    torch.manual_seed(1)
    image, mask, vae = torch.rand(1, HEIGHT, WIDTH, 3), box(1, HEIGHT, WIDTH), Vae()
    latent = {"samples": torch.randn(1, 16, HEIGHT // 8, WIDTH // 8)}
    plan = nodes["select"].execute(image, mask, "balanced", 0.0).args[0]
    own = {
        "dilate": {"mask": mask},
        "select": {"image": image, "mask": mask, "model": model},
        "patch": {"model": model, "plan": plan},
        "decode": {"vae": vae, "samples": latent, "original": image, "mask": mask},
        "report": {"model": model, "samples": latent, "drift": "none"},
    }
    for name, node in nodes.items():
        widgets = {one.id: one.default for one in node.define_schema().inputs if hasattr(one, "default")}
        own[name] = {**{key: value for key, value in widgets.items() if value is not None}, **own[name]}
    return own


def wrong(one):
    """Values that a widget cannot have."""
    if isinstance(one, io.Combo.Input):
        return ("best", "", 3, None, [one.options[0]])
    if isinstance(one, io.Boolean.Input):
        return (0, 1, "yes", "", torch.ones(()), *([] if one.optional else [None]))
    if isinstance(one, io.String.Input):
        return (3, ["a"], *([] if one.optional else [None]))
    step = (0.5,) if isinstance(one, io.Int.Input) else ()
    inside = [one.min + value for value in step if one.min + value < one.max]
    return (*NUMBERS, one.min - 1, one.max + 1, np.nextafter(one.max, np.inf), *inside)


def widgets():
    """(node, input) of each widget of each node."""
    load_pack()
    kinds = io.Combo.Input, io.Boolean.Input, io.String.Input, io.Int.Input, io.Float.Input
    places = {"dilate": "mask_dilate", "select": "token_select", "patch": "model_patch", "decode": "masked_decode"}
    for name, module in {**places, "report": "report"}.items():
        (node,) = [
            value
            for value in vars(load_pack(f"nodes.{module}")).values()
            if isinstance(value, type) and issubclass(value, io.ComfyNode)
        ]
        yield from ((name, one) for one in node.define_schema().inputs if isinstance(one, kinds))


@pytest.mark.parametrize(("name", "one"), list(widgets()), ids=lambda value: getattr(value, "id", value))
def test_widgets_of_any_value(nodes, given, name, one):
    """A wrong value is named, before the node does anything: the pictures and models beside it are not even there."""
    for value in wrong(one):
        with pytest.raises(ValueError, match=f"^'{one.id}' is ") as error:
            nodes[name].execute(**{key: None for key in given[name]} | given[name] | {one.id: value})
        assert type(error.value).__name__ == "HiLoError" and "\n" not in str(error.value)
        assert len(str(error.value)) < 250, "a wrong value is shown in short"
    if isinstance(one, io.Int.Input | io.Float.Input):
        check = load_pack("nodes.inputs").check_widgets
        for value in (one.min, one.max, np.float64(one.max), np.int64(one.max)):
            assert check(nodes[name].define_schema(), {one.id: value}) == {one.id: value}


def test_the_route_takes_the_same_values(nodes, given):
    """The live map is asked with the widgets of HiLo Token Select: the same check, the same sentence."""
    route, remember = load_pack("nodes.preview.route"), load_pack("nodes.preview.sources").remember

    def preview(asked):
        return route.preview(asked, nodes["select"].define_schema())

    shape = load_pack("hilo_core.cost").ModelShape()
    key = remember(given["select"]["image"], torch.ones(8, 10, dtype=torch.bool), shape)
    assert preview({"key": key, "values": {}})["total"] == 80
    for name, one in widgets():
        for value in wrong(one) if name == "select" else ():
            with pytest.raises(ValueError) as by_route:
                preview({"key": key, "values": {one.id: value}})
            with pytest.raises(ValueError) as by_node:
                nodes["select"].execute(**given["select"] | {one.id: value})
            assert str(by_route.value) == str(by_node.value) and type(by_route.value) is type(by_node.value)


PICTURES = {
    "uint8": lambda good: (good * 255).byte(),
    "bool": lambda good: good > 0.5,
    "a list": lambda good: [good],
    "nothing": lambda good: None,
    "NumPy": lambda good: good.numpy(),
    "no batch": lambda good: good[0],
    "channels first": lambda good: good.movedim(-1, 1),
    "NaN": lambda good: good * torch.nan,
    "no pixel": lambda good: good[:, :0],
}
MASKS = {
    "uint8": lambda good: (good * 255).byte(),
    "int64": lambda good: good.long(),
    "a list": lambda good: [good],
    "nothing": lambda good: None,
    "NaN": lambda good: good * torch.nan,
    "a picture": lambda good: good[..., None].repeat(1, 1, 1, 3),
    "a picture of NaN": lambda good: good[..., None].repeat(1, 1, 1, 3) * torch.nan,
    "no pixel": lambda good: good[:, :0],
}
LATENTS = {
    "nothing": lambda good: None,
    "a list": lambda good: [good],
    "no samples": lambda good: {},
    "bare": lambda good: good["samples"],
    "of nothing": lambda good: {"samples": None},
    "of a list": lambda good: {"samples": [good["samples"]]},
    "whole numbers": lambda good: {"samples": good["samples"].long()},
    "no batch": lambda good: {"samples": good["samples"][0]},
    "frames": lambda good: {"samples": good["samples"][:, :, None].repeat(1, 1, 3, 1, 1)},
    "NaN": lambda good: {"samples": good["samples"] * torch.nan},
}
OTHERS = {"nothing": lambda good: None, "a list": lambda good: [good], "a text": lambda good: "model"}
OF = {
    "image": PICTURES, "original": PICTURES, "mask": MASKS, "vae": OTHERS, "model": OTHERS, "plan": OTHERS,
    "samples": LATENTS,
}  # fmt: skip
OPTIONAL = {("select", "model"), ("patch", "plan")}
WRONG = [
    (name, key, kind)
    for name, keys in {
        "dilate": ["mask"], "select": ["image", "mask", "model"], "patch": ["model", "plan"],
        "decode": ["vae", "samples", "original", "mask"], "report": ["model"],
    }.items()
    for key in keys
    for kind in OF[key]
    if not (kind == "nothing" and (name, key) in OPTIONAL)
]  # fmt: skip


@pytest.mark.parametrize(("name", "key", "kind"), WRONG)
def test_wrong_kinds(nodes, given, name, key, kind):
    with pytest.raises(ValueError) as error:
        nodes[name].execute(**given[name] | {key: OF[key][kind](given[name][key])})
    assert type(error.value).__name__ == "HiLoError", error.value
    text = str(error.value)
    assert text[0].isupper() and text.endswith(".") and "\n" not in text
    assert {"original": "image", "samples": "latent"}.get(key, key) in text.lower(), text


def test_good_kinds(nodes, given):
    """Half and double precision, masks of bool, of two and of four dimensions: the same plan."""
    image, mask = given["select"]["image"], given["select"]["mask"]
    same = nodes["select"].execute(**given["select"]).args[0].plan
    for kind in (torch.float64, torch.float16, torch.bfloat16):
        assert nodes["select"].execute(**given["select"] | {"image": image.to(kind)}).args[0].plan.total == same.total
    for alike in (mask.double(), mask.half(), mask > 0, mask[0], mask[:, None]):
        plan = nodes["select"].execute(**given["select"] | {"mask": alike}).args[0].plan
        assert torch.equal(plan.kept, same.kept)


NOTHING = [torch.zeros(1, 64, 64), torch.zeros(64, 64), torch.zeros(1, 1, 8, 9), torch.zeros(3, 1, 1),
           torch.zeros(1, HEIGHT, WIDTH), torch.zeros(1, 64, 64, 4), torch.full((1, 64, 64), 0.04),
           torch.full((1, HEIGHT, WIDTH), 0.02), torch.zeros(1, 64, 64, dtype=torch.bool)]  # fmt: skip


@pytest.mark.parametrize("mask", NOTHING, ids=lambda mask: f"{tuple(mask.shape)} {mask.dtype} {mask.max():.2f}")
def test_nothing_painted(nodes, given, mask):
    """Of whatever size and shape: Load Image gives 64x64 zeros for a picture without alpha."""
    for name in ("dilate", "select"):
        with pytest.raises(ValueError, match=f"^{EMPTY}. Right-click the picture, choose Open in MaskEditor, and"):
            nodes[name].execute(**given[name] | {"mask": mask})
    out, text = nodes["decode"].execute(**given["decode"] | {"mask": mask}).args
    assert torch.equal(out, given["decode"]["original"]) and text == "Nothing is painted: the original, untouched."


def test_what_cleaning_leaves(nodes):
    with pytest.raises(ValueError, match="lower 'black' or 'drop_specks'"):
        nodes["dilate"].execute(box(1, HEIGHT, WIDTH, value=0.3), 32, "pixels", black=0.4)


def test_near_black_is_no_edit(nodes, given):
    """One definition everywhere: what a JPEG leaves around the box (3/255), and soft rests of 0.02, change nothing."""
    clean, noisy = box(1, HEIGHT, WIDTH, value=0.5), box(1, HEIGHT, WIDTH, value=0.5)
    noisy[noisy == 0] = 3 / 255
    noisy[:, :20] = 0.02
    outs = {}
    for name in ("dilate", "select", "decode"):
        outs[name] = [nodes[name].execute(**given[name] | {"mask": mask}).args for mask in (clean, noisy)]
    assert all(torch.equal(*pair) for pair in zip(*outs["dilate"], strict=True))
    plans = [args[0] for args in outs["select"]]
    assert torch.equal(plans[0].edit, plans[1].edit) and torch.equal(plans[0].plan.kept, plans[1].plan.kept)
    assert torch.equal(*(args[0] for args in outs["decode"]))
    kept = (outs["decode"][0][0] == given["decode"]["original"]).float().mean()
    assert kept > 0.6, "a mask with noise replaces what is painted, not the picture"


def test_masked_decode_with_an_edit_on_the_cropped_border(nodes, given):
    mask = torch.zeros(1, HEIGHT + 7, WIDTH)
    mask[:, -2:] = 1
    original = torch.rand(1, HEIGHT + 7, WIDTH, 3)
    out, text = nodes["decode"].execute(**given["decode"] | {"mask": mask, "original": original, "feather": 0}).args
    assert torch.equal(out, original) and "crops off" in text


def test_an_error_names_no_folder(nodes):
    """The host shows the full type of an error, which users paste into issues."""
    with pytest.raises(ValueError) as error:
        nodes["dilate"].execute(torch.zeros(1, 64, 64), 32, "pixels")
    assert f"{type(error.value).__module__}.{type(error.value).__qualname__}" == "hilo_token.HiLoError"


class Server:
    """Notes what is sent to whom, as the host's server does."""

    def __init__(self, client):
        self.client_id, self.sent = client, []

    def send_sync(self, event, data, sid=None):
        self.sent.append((event, sid))

    def send_progress_text(self, text, node_id, sid=None):
        self.sent.append((text, sid))


@pytest.mark.parametrize("client", ["tab A", None])
def test_messages_reach_the_client_that_asked(nodes, given, model, monkeypatch, client):
    """State and report; without a client (a script) nobody else gets them. A node's own lines go with its result."""
    server = Server(client)
    monkeypatch.setattr(load_pack("nodes.common"), "host_server", lambda: server)

    class Hidden:
        unique_id = "7"

    for node in (nodes["patch"], nodes["decode"]):
        monkeypatch.setattr(node, "hidden", Hidden())
    patched = nodes["patch"].execute(model, "balanced").args[0]
    case(SMALL[0], 20, 28).sample(patched, steps=2)
    assert nodes["decode"].execute(**given["decode"]).ui["hilo_said"]
    assert {sid for _, sid in server.sent} == ({client} if client else set())
    assert [event for event, _ in server.sent] == (["hilo-token.state", "hilo-token.report"] if client else [])
