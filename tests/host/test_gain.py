"""What a run gained is measured against dense calls of the same model and size, and predicted where none is known."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch
from hilo_token.comfy_bridge import gain
from hilo_token.comfy_bridge.patch import Patch, patch_model
from hilo_token.comfy_bridge.run_report import RunReport, Stopwatch, in_words, times
from hilo_token.hilo_core.presets import preset
from hilo_token.hilo_core.schedule import Schedule

from .cases import case, patcher
from .models import SMALL, flux

FLUX = SMALL[0]
FAST = replace(preset("balanced"), schedule=Schedule())


@pytest.fixture
def model():
    return patcher(flux())


def reports_of(model, *presets, size=(32, 40), **how):
    """The reports of a run with each."""
    found: list[RunReport] = []
    for one in presets:
        case(FLUX, *size).sample(patch_model(model, Patch(one, on_report=found.append)), **how)
    return found


def test_a_run_without_a_dense_step_is_predicted(model):
    (report,) = reports_of(model, FAST)
    assert report.predicted and report.dense_seconds is None and report.compressed_steps == 4
    assert report.speedup == pytest.approx(report.model_speedup) == pytest.approx(report.instead_of / report.seconds)
    assert "instead of about " in report.line() and report.line().split(";")[0].endswith("x faster (predicted)")


def test_off_is_timed_and_the_next_run_is_measured(model):
    """One figure, of seconds: what is instead of what, and their ratio."""
    off, (report,) = preset("off"), reports_of(model, preset("off"), FAST)
    assert not report.predicted and report.dense_seconds > 0 and off.off
    assert report.instead_of == pytest.approx(4 * report.dense_seconds)
    assert report.seconds == pytest.approx(4 * report.compressed_seconds)
    assert report.speedup == pytest.approx(report.dense_seconds / report.compressed_seconds)
    assert "about" not in report.line() and "predicted" not in report.line()


def test_another_size_or_model_knows_nothing(model):
    reports_of(model, preset("off"))
    (other,) = reports_of(model, FAST, size=(32, 48))
    assert other.predicted
    (other,) = reports_of(patcher(flux()), FAST)
    assert other.predicted


def test_a_dense_run_with_a_reason_is_timed_too(model):
    edit = case(FLUX, 32, 40)
    edit.mask = None
    edit.sample(patch_model(model, Patch(FAST)), steps=3)
    (report,) = reports_of(model, FAST)
    assert not report.predicted


def test_cold_calls_do_not_count():
    known, model = gain.DenseTimes(), torch.nn.Linear(1, 1)
    known.learn(model, "a", [9.0])
    assert known.find(model, "a") is None
    known.learn(model, "a", [2.0])
    assert known.find(model, "a") == 2.0
    known.learn(model, "b", [9.0, 3.0, 4.0, 5.0])
    assert known.find(model, "b") == 4.0 and known.find(model, "c") is None
    assert known.find(torch.nn.Linear(1, 1), "a") is None


def test_memory_is_bounded_and_weak():
    known, model = gain.DenseTimes(), torch.nn.Linear(1, 1)
    for number in range(3 * gain.MOST_SHAPES):
        known.learn(model, number, [1.0, 1.0])
    assert len(known._known[model]) == gain.MOST_SHAPES and known.find(model, 0) is None
    del model
    gc.collect()
    assert not known._known


def watched(dense, compressed, shapes="s"):
    """A stopwatch that has seen calls of so many seconds."""
    watch = Stopwatch(torch.device("cpu"))
    for kind, spans in ((True, dense), (False, compressed)):
        for seconds in spans:
            watch._spans[kind].append((shapes, 0.0, seconds))
    return watch


def test_the_figure_is_of_all_calls_of_the_run():
    """Two dense calls of 2 s, of which the first was cold, and four of 0.5 s: 6 s instead of 12."""
    watch = watched([7.0, 2.0], [0.9, 0.5, 0.5, 0.5])
    found = gain.Gain.of(watch, {"s": 2.0}.get, 9.0)
    assert (found.seconds, found.instead_of, found.predicted) == (6.0, 12.0, False)
    unknown = gain.Gain.of(watch, {}.get, 3.0)
    assert unknown.predicted and unknown.dense_seconds is None
    assert (unknown.seconds, unknown.instead_of) == (11.0, 15.0)


def test_the_start_is_told_before_the_first_step(model):
    """Share of the picture, or the reason for normal speed, when there is still time to cancel."""
    told = []
    edit = case(FLUX, 32, 40)
    watch = Patch(
        FAST, on_start=lambda report: told.append(("start", report)), on_report=lambda r: told.append(("end", r))
    )
    patched = patch_model(model, watch)
    patched.add_wrapper_with_key(
        "apply_model", "mark", lambda run, *a, **k: told.append(("call", None)) or run(*a, **k)
    )
    edit.sample(patched, steps=2)
    assert [name for name, _ in told] == ["start", "call", "call", "end"]
    assert 0 < told[0][1].kept < told[0][1].total and not told[0][1].reason
    told.clear()
    edit.mask = None
    edit.sample(patched, steps=2)
    assert told[0][0] == "start" and told[0][1].reason.startswith("the sampler got no mask")


def test_a_reason_that_a_call_finds_is_told_at_the_first_call(model):
    """Not when sampling ends, minutes later."""
    told = []
    patched = patch_model(model, Patch(FAST, on_start=told.append))
    calls = []

    def foreign(executor, *args, **kwargs):
        calls.append(len(told))
        return executor(*args, **kwargs)

    patched.add_wrapper_with_key("diffusion_model", "someone", foreign)
    case(FLUX, 32, 40).sample(patched, steps=3)
    assert [bool(report.reason) for report in told] == [False, True]
    assert "someone" in told[1].reason and calls[:2] == [1, 2], "told between the first call and the second"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0421, "0.04 s"), (1.26, "1.3 s"), (9.97, "10 s"), (75.2, "75 s"), (250, "4 min")]
)
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


def test_speed_in_words():
    assert (times(1.84), times(10.9)) == ("1.8x", "11x")


def test_a_fill_model_tells_its_mask_itself():
    """InpaintModelConditioning with 'noise_mask' off: the mask is in the conditioning; a model that looks at none of it
    has no mask."""
    for channels, known in ((96, True), (32, False)):
        edit, found = case(FLUX, 32, 40), []
        for cond in (*edit.positive, *edit.negative):
            cond[1]["concat_latent_image"] = edit.latent.flip(-1)
            cond[1]["concat_mask"] = torch.nn.functional.interpolate(edit.mask, scale_factor=8)
        painted, edit.mask = edit.mask, None
        out = edit.sample(
            patch_model(patcher(flux(in_channels=channels)), Patch(FAST, on_report=found.append)), steps=2
        )
        assert bool(found[0].reason) != known, found[0].line()
        if known:
            outside = (torch.nn.functional.max_pool2d(painted, 5, 1, 2) == 0).expand_as(out)
            assert torch.equal(out[outside], edit.latent[outside]), "the outside is the picture's own"


def test_report(model):
    reports: list[RunReport] = []
    patched = patch_model(model, Patch(replace(FAST, schedule=Schedule(first=1)), on_report=reports.append))
    for _ in range(2):
        case(FLUX, 32, 40).sample(patched)
    report = reports[-1]
    assert report.dense_steps == 1 and report.compressed_steps == 3 and report.total == 320
    assert sum(report.counts.values()) == report.kept < report.total
    assert report.dense_seconds > 0 and report.compressed_seconds > 0 and not report.predicted
    assert report.speedup == pytest.approx(4 / (1 + 3 * report.compressed_seconds / report.dense_seconds))
