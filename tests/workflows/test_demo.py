"""Example workflows through the real server."""

from __future__ import annotations

import pytest
from PIL import Image, ImageOps

from tools import demo, workflow
from tools.make_demo_photo import PHOTO
from tools.server import ServerError


@pytest.fixture(scope="module")
def prompt(server):
    return workflow.to_api(workflow.load(demo.WORKFLOW), server.object_info())


def quick(prompt, preset="balanced"):
    return demo.variant(prompt, preset, steps=1)


def test_demo_gives_a_picture(server, prompt):
    result = server.queue(quick(prompt))
    picture = demo.picture_of(server, prompt, result)
    assert picture.size == (1024, 1024)
    assert demo.preview_of(result).size == (1024, 1024)
    kept, total = demo.kept_tokens(server)
    assert total == 4096 and 400 < kept < 1300
    (report,) = [m["data"] for m in result.messages if m["type"] == "hilo-token.report"]
    assert (report["kept"], report["total"]) == (kept, total), "the badge is told what the log says"


def test_outside_equals_dense_in_the_latent(server, prompt):
    import torch

    dense, hilo = (demo.latent_of(server, server.queue(quick(prompt, preset))) for preset in ("off", "balanced"))
    changed = (dense - hilo).abs().amax(dim=1)[0] > 0
    mask = ImageOps.invert(Image.open(PHOTO).getchannel("A")).resize((128, 128), Image.Resampling.BOX)
    inside = torch.frombuffer(bytearray(mask.tobytes()), dtype=torch.uint8).reshape(128, 128) > 0
    grown = torch.nn.functional.max_pool2d(inside[None, None].float(), 3, 1, 1)[0, 0] > 0
    assert bool(changed.any()) and not bool((changed & ~grown).any())


def test_samplercustomadvanced(server, prompt):
    """The other chain of nodes: guider and custom sampler."""
    changed = quick(prompt)
    sampler = workflow.find(changed, "KSampler")
    given = changed[sampler]["inputs"]
    changed |= {
        "noise": {"class_type": "RandomNoise", "inputs": {"noise_seed": 7}},
        "select": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "dpmpp_2m"}},
        "sigmas": {
            "class_type": "BasicScheduler",
            "inputs": {"model": given["model"], "scheduler": "beta", "steps": 2, "denoise": 1.0},
        },
        "guider": {
            "class_type": "CFGGuider",
            "inputs": {
                "model": given["model"],
                "positive": given["positive"],
                "negative": given["negative"],
                "cfg": 1.5,
            },
        },
    }
    changed[sampler] = {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            "noise": ["noise", 0],
            "guider": ["guider", 0],
            "sampler": ["select", 0],
            "sigmas": ["sigmas", 0],
            "latent_image": given["latent_image"],
        },
    }
    server.queue(changed)
    assert "2 compressed steps" in [line for line in server.log_lines() if "HiLo-Token:" in line][-1]


def test_second_prompt_is_compressed_too(server, prompt):
    """The host returns the patched model from its cache; it must still work."""
    before = len([line for line in server.log_lines() if "compressed steps" in line])
    for seed in (11, 12):
        again = quick(prompt)
        again[workflow.find(again, "KSampler")]["inputs"]["seed"] = seed
        server.queue(again)
    assert len([line for line in server.log_lines() if "compressed steps" in line]) == before + 2


def test_bad_widget_is_a_message(server, prompt):
    bad = quick(prompt)
    bad[workflow.find(bad, "HiLoModelPatch")]["inputs"]["preset"] = "best"
    with pytest.raises(ServerError, match="preset"):
        server.queue(bad)


def test_empty_mask_is_a_red_node(server, prompt):
    empty = quick(prompt)
    empty["none"] = {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": 1024, "height": 1024}}
    empty[workflow.find(empty, "HiLoTokenSelect")]["inputs"]["mask"] = ["none", 0]
    with pytest.raises(ServerError, match="HiLoTokenSelect: Nothing is painted yet"):
        server.queue(empty)
