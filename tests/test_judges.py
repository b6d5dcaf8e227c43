"""The judges' rule, sums and report: what the presets are chosen by."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from hilo_token.hilo_core.plan import EDIT, NATIVE, TokenSettings, make_plan
from hilo_token.hilo_core.presets import PRESETS

from lab.judges import choose, rivals, rule, schemes, summary, tasks

GOOD: dict[str, Any] = {
    "judge": "J2", "side": 512, "steps": 8, "kind": "all", "psnr_change": 0.0, "psnr_change_half": 0.1,
    "ssim_change": 0.0, "ssim_change_half": 0.001, "haarpsi_change": 0.0, "haarpsi_change_half": 0.001,
    "sharpness_mid": 1.0, "border": 1.0, "psnr_dense": 40.0,
}  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        {"psnr_change": -0.2},
        {"ssim_change": -0.02},
        {"haarpsi_change": -0.02},
        {"sharpness_mid": 0.89},
        {"sharpness_mid": 1.04},
        {"border": 0.95},
        {"border": 1.05},
        {"judge": "all", "psnr_change": -0.1, "psnr_change_half": 0.25},
        {"judge": "all", "ssim_change_half": 0.02},
        {"judge": "all", "haarpsi_change_half": 0.02},
    ],
)
def test_each_limit_can_fail_and_is_the_only_one_that_does(bad: dict[str, Any]) -> None:
    assert rule.failures(GOOD, "balanced") == []
    assert len(rule.failures(GOOD | bad, "balanced")) == 1


def test_quality_must_be_as_sharp_as_dense() -> None:
    soft = GOOD | {"sharpness_mid": 0.96}
    assert not rule.failures(soft, "fast")
    assert rule.failures(soft, "quality")


def test_agreement_is_of_the_worst_judge_over_its_runs_with_what_a_reference_is_allowed() -> None:
    cells = [GOOD, GOOD | {"steps": 4, "psnr_dense": 44.0}, GOOD | {"judge": "J3", "psnr_dense": 38.0}]
    assert rule.judge(cells, "balanced").agreement == 41.0
    assert rule.judge([*cells, GOOD | {"judge": "all", "psnr_dense": 1.0}], "balanced").agreement == 41.0


def record(scheme: str, picture: int, kind: str, truth: float, sharp: float = 1.0) -> dict[str, Any]:
    task = {"judge": "J1", "side": 512, "kind": kind, "steps": 8, "sampler": "euler", "cfg": 1.0, "prompted": False}
    figures = {"psnr_dense": 99.0, "psnr_truth": truth, "ssim_truth": 0.9, "haarpsi_truth": 0.9, "sharpness": sharp}
    return {
        **task,
        "group": "few",
        "scheme": scheme,
        "picture": picture,
        "which": 0,
        "border": 1.0,
        "tokens": 0.5,
        **figures,
    }


def test_sums_pair_with_dense_by_picture_and_pool_bins() -> None:
    records = []
    for picture, change in ((0, 0.5), (1, 1.5)):
        for kind in ("6.38", "15.92"):
            base = 20.0 + 5 * picture
            records += [
                record("dense", picture, kind, base),
                record("a", picture, kind, base + change, 1 + 3 * picture),
            ]
    rows = {(r["judge"], r["kind"]): r for r in summary.summed(records)}
    assert set(rows) == {("J1", "6.38"), ("J1", "15.92"), ("J1", "all"), ("all", "all")}
    pooled = rows["J1", "all"]
    assert (pooled["n"], pooled["runs"], pooled["psnr_change"]) == (2, 4, 1.0)
    assert pooled["psnr_change_half"] == pytest.approx(12.706 * 0.5, abs=0.01)  # t with one degree of freedom
    assert (pooled["sharpness"], pooled["sharpness_mid"], pooled["psnr_dense"]) == (2.5, 2.0, 60.0)


def test_stored_rows_survive_packing() -> None:
    rows = summary.summed([record("dense", 0, "6.38", 20.0), record("a", 0, "6.38", 21.0)])
    assert summary.expand(summary.compact(rows)) == rows


def shipped(name: str) -> tuple[Any, ...]:
    preset = PRESETS[name]
    return preset.tokens, preset.schedule, preset.mass_bias


@pytest.mark.parametrize("name", list(rule.AGREEMENT))
def test_the_rule_takes_the_shipped_preset_from_the_stored_results(name: str) -> None:
    """Nothing is chosen by hand: whoever measures more, or changes a preset, makes the two agree."""
    best = choose.ranked(choose.load(), name)[0]
    assert best.verdict.admissible and best.verdict.agreement >= rule.AGREEMENT[name]
    chosen = best.setting.preset
    assert (chosen.tokens, chosen.schedule, chosen.mass_bias) == shipped(name)


def test_random_tokens_make_a_plan_of_the_packs_order_with_all_mass() -> None:
    """Edit tokens first, by place, then those that stand for others; every token has one that stands for it."""
    edit = torch.zeros(8, 8, dtype=torch.bool)
    edit[2:4, 3:6] = True
    alone = make_plan(
        edit, torch.rand(8, 8), TokenSettings(dilation=0.0, amount=0.0, max_high=0.0, levels=(), multiple=1)
    )
    plan = rivals.random_plan(alone, 10, turn=1)
    assert plan.kind.tolist() == [EDIT] * 6 + [NATIVE] * 10
    assert plan.kept[:6].tolist() == [19, 20, 21, 27, 28, 29] and len(plan.kept.unique()) == 16
    assert plan.mass.tolist() == pytest.approx([1.0] * 6 + [5.8] * 10)
    assert plan.owner[plan.kept].tolist() == list(range(16))
    assert not torch.equal(plan.kept, rivals.random_plan(alone, 10, turn=2).kept)


def test_a_run_inside_takes_the_plan_that_it_is_given() -> None:
    """A yardstick whose plan the product does not take would measure the product itself."""
    from hilo_token.comfy_bridge import planning
    from hilo_token.comfy_bridge.source import Source
    from hilo_token.hilo_core.grid import TokenGrid

    latent, edit = torch.rand(1, 4, 16, 16), torch.zeros(8, 8, dtype=torch.bool)
    edit[2:4, 3:6] = True
    settings = TokenSettings(dilation=0.0, amount=0.0, max_high=0.0, levels=(), multiple=1)

    def chosen() -> torch.Tensor:
        source, grid = Source(latent, latent, False), TokenGrid(16, 16, 2)
        return planning.choose_plan(source, edit, grid, settings, None, lambda count: False, 0.9).kept

    own = chosen()
    other = make_plan(torch.ones(8, 8, dtype=torch.bool).tril(), torch.rand(8, 8), settings)
    with schemes.inside(other):
        assert torch.equal(chosen(), other.kept)
    assert torch.equal(chosen(), own)


def test_the_shipped_presets_meet_each_sampler_with_each_number_of_steps_and_bin() -> None:
    every = list(tasks.shipped(range(12), ("J1",)))
    assert len(set(every)) == len(every)
    bins, steps = [str(r) for r in summary.RATIOS], (4, 8, 20, 30)
    mine = [t for t in every if t.group == "shipped"]
    plain = {(t.sampler, t.steps, t.kind) for t in mine if t.cfg == 1.0 and t.kind in bins}
    assert plain == set(product(tasks.ASKED, steps, bins))
    assert {(t.sampler, t.steps) for t in mine if t.cfg == 3.5} == set(product(tasks.ASKED, steps))
    for kind in tasks.KINDS:
        found = [t for t in mine if t.kind == kind]
        assert {t.sampler for t in found} == set(tasks.ASKED) and {t.steps for t in found} == set(steps)
        assert {t.side for t in found} == {512, 1024}


def test_runs_of_the_shipped_presets_are_pooled_by_sampler_by_mask_and_all_together() -> None:
    records = []
    for number, (kind, sampler) in enumerate(
        (("6.38", "euler"), ("15.92", "euler"), ("15.92", "lms"), ("tiny", "lms"))
    ):
        task = {"group": "shipped", "sampler": sampler}
        records += [record("dense", number, kind, 20.0) | task, record("a", number, kind, 20.0 + number) | task]
    rows = {(r["side"], r["kind"], r["steps"], r["sampler"]): r for r in summary.summed(records)}
    assert {key: r["psnr_change"] for key, r in rows.items()} == {
        (512, "all", 8, "euler"): 0.5, (512, "all", 8, "lms"): 2.0,
        (512, "all", 0, "all"): 1.0, (512, "tiny", 0, "all"): 3.0, (0, "all", 0, "all"): 1.5,
    }  # fmt: skip
