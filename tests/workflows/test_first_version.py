"""A workflow saved by the first published version, 0.2.0, keeps its values."""

from __future__ import annotations

import json

from tools import host, workflow

SAVED = host.ROOT / "tests" / "fixtures" / "demo_workflow_first.json"
VALUES = {
    "HiLoTokenSelect": {
        "preset": "balanced", "speedup": 0.0, "margin": 0, "detail": 0.0, "context": "as preset", "budget": 0,
    },
    "HiLoModelPatch": {
        "preset": "balanced", "speedup": 0.0, "dense_steps": "as preset", "mass_bias": "as preset",
        "references": "whole",
    },
    "HiLoMaskedDecode": {"feather": 8, "match_colour": False, "margin": 8},
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
