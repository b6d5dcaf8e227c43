"""A workflow saved by the first landed version keeps its values."""

from __future__ import annotations

import json

from tools import host, workflow

SAVED = host.ROOT / "tests" / "fixtures" / "demo_workflow_first.json"
VALUES = {
    "HiLoTokenSelect": {
        "preset": "balanced", "speedup": 0.0, "dilation": 2.0, "dilation_mode": "tokens", "score": "spatial frequency",
        "rule": "as preset", "amount": 0.25, "nearness": 0.5, "low": "as preset", "native": False, "budget": 0,
    },
    "HiLoModelPatch": {
        "preset": "balanced", "dense_first": -1, "dense_last": -1, "dense_every": -1, "mass_bias": -1.0,
        "references": "whole",
    },
    "HiLoMaskedDecode": {"feather": 8, "match_colour": False, "margin": 16},
}  # fmt: skip


def test_values_land_in_their_widgets(server):
    prompt = workflow.to_api(json.loads(SAVED.read_text(encoding="utf-8")), server.object_info())
    for kind, values in VALUES.items():
        inputs = prompt[workflow.find(prompt, kind)]["inputs"]
        assert values.items() <= inputs.items(), kind


def test_it_still_runs(server):
    prompt = workflow.to_api(json.loads(SAVED.read_text(encoding="utf-8")), server.object_info())
    prompt[workflow.find(prompt, "KSampler")]["inputs"]["steps"] = 1
    result = server.queue(prompt)
    report = result.outputs[workflow.find(prompt, "PreviewAny")]["text"][0]
    assert "of 4096 tokens" in report
