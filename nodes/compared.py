"""What both compare nodes share: their inputs, the runs under one progress bar, and the answer in words and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.utils
import latent_preview
import numpy as np
import torch
from comfy_api.latest import io
from torch import Tensor

from ..comfy_bridge.known import comparisons, fingerprint, identity
from ..comfy_bridge.planning import PlanRequest
from ..comfy_bridge.run_report import RunReport
from ..comfy_bridge.side_by_side import Ran, edit_mask, largest_change, latent_pixels, scaled, side_by_side
from ..hilo_core import HiLoError
from ..hilo_core.auto import Trial
from ..hilo_core.likeness import Likeness, bounds, likeness, mean_likeness
from ..hilo_core.mask import NOTHING_PAINTED, is_edited
from ..hilo_core.presets import PRESETS, Preset
from ..hilo_core.verdict import Tried, Verdict, fault, judge
from .common import HiLoPlan, node_id, pictures_side_by_side, show_on_node
from .compare_picture import GAIN, draw_difference
from .inputs import check_latent, check_vae
from .settings import CHOICES

NO_MASK = (
    "Nothing says what to edit: the latent has no noise mask. Put Set Latent Noise Mask before it, or wire plan from "
    "HiLo Token Select."
)
ROUGH = "On rough previews; connect a VAE for pictures."
STRETCH = 0.03  # by which a mask's sides may be of another ratio than the picture's, for what VAE Encode crops off


def shared_inputs() -> list[Any]:
    """The inputs that both nodes have, after their own."""
    return [
        io.String.Input(
            "presets",
            default="fast, balanced, quality",
            tooltip=f"The presets to try, with commas between them: {', '.join(CHOICES)}. Each is one run; dense is one more.",
        ),
        io.Vae.Input(
            "vae", optional=True, tooltip="Makes pictures of the results. Without it rough previews are compared."
        ),
        HiLoPlan.Input(
            "plan",
            optional=True,
            tooltip="From HiLo Token Select: says what to edit where the latent has no noise mask. How much is kept is each preset's.",
        ),
    ]


def shared_outputs() -> list[Any]:
    """The outputs of both nodes."""
    return [
        io.Image.Output("dense", display_name="dense", tooltip="The picture without HiLo-Token."),
        io.Image.Output("compressed", display_name="compressed", tooltip="The same with each preset, in their order."),
        io.Image.Output(
            "difference",
            display_name="difference",
            tooltip=f"Of each preset from dense, made {GAIN} times stronger; the place that differs most is outlined.",
        ),
        io.String.Output("text", display_name="text", tooltip="The verdict, and the figures of each preset."),
    ]


def presets_of(names: str) -> dict[str, Preset]:
    """The presets of a list with commas, each once. HiLoError where there are none, or one is unknown."""
    found = list(dict.fromkeys(name for name in (part.strip() for part in names.replace("\n", ",").split(",")) if name))
    wrong = [name for name in found if name not in CHOICES]
    if wrong or not found:
        what = f"'{wrong[0][:40]}' is no preset to compare" if wrong else "No preset is named"
        raise HiLoError(f"{what}. Write some of: {', '.join(CHOICES)}, with commas between them.")
    return {name: PRESETS[name] for name in found}


@dataclass
class Bar:
    """One progress bar for the steps of all runs, with the sampler's previews. Raises the host's interrupt."""

    model: Any
    runs: int
    steps: int  # of one run

    def __post_init__(self) -> None:
        self._bar = comfy.utils.ProgressBar(self.runs * self.steps)
        self._previewer = latent_preview.get_previewer(self.model.load_device, self.model.model.latent_format)
        self._before = 0

    def start(self, run: int) -> None:
        """So many runs are over."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._before = run * self.steps
        self._bar.update_absolute(self._before, self.runs * self.steps)

    def step(self, step: int, x0: Tensor, x: Tensor, total: int) -> None:
        """The sampler's callback."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        shown = self._previewer.decode_latent_to_preview_image("JPEG", x0) if self._previewer else None
        self._bar.update_absolute(self._before + min(step + 1, self.steps), self.runs * self.steps, shown)


def compare(
    node: type[io.ComfyNode],
    model: Any,
    latent: dict[str, Any],
    positive: Any,
    steps: int,
    presets: str,
    vae: Any,
    plan: Any,
    noise_for: Callable[[Tensor], Tensor],
    sample: Callable[..., Tensor],
) -> io.NodeOutput:
    """Run everything and answer.

    noise_for: what the source of noise gives for a latent. sample: (patched model, noise, latent, how) -> latent; `how`
    has the host's `callback` and `disable_pbar`.
    """
    chosen, samples = presets_of(presets), check_latent(latent)
    if plan is not None and not isinstance(plan, PlanRequest):
        raise HiLoError("The plan is not one of HiLo Token Select's. Connect its 'plan' output.")
    if vae is not None:
        check_vae(vae, "decode")
    mask = edit_mask(latent, plan, positive)
    _check_mask(mask, samples, stretched=plan is None or "noise_mask" in latent)
    number, bar = node_id(node), Bar(model, 1 + len(chosen), steps)

    def before(name: str, run: int) -> None:
        bar.start(run)
        show_on_node(number, f"{run + 1} of {1 + len(chosen)}: {name}")

    first: dict[str, Tensor] = {}  # its noise, which all runs share, whatever the source gives later

    def run(patched: Any) -> Tensor:
        fixed = comfy.sample.fix_empty_latent_channels(patched, latent["samples"])
        made = noise_for(fixed)  # each time, since it seeds the sampler's own noise too
        how = {"callback": bar.step, "disable_pbar": not comfy.utils.PROGRESS_BAR_ENABLED}
        return sample(patched, first.setdefault("noise", made).clone(), fixed, how)  # a sampler may write into it

    runs = side_by_side(model, run, chosen, PRESETS["off"], plan, before)
    bar.start(len(runs))
    return _answer(node, model, runs, mask, vae, fingerprint(samples, mask))


def _check_mask(mask: Tensor | None, samples: Tensor, stretched: bool) -> None:
    """HiLoError unless something is painted, in a mask of the picture's proportions."""
    if mask is None:
        raise HiLoError(NO_MASK)
    if not bool(is_edited(mask).any()):
        raise HiLoError(NOTHING_PAINTED)
    (rows, columns), (height, width) = mask.shape, samples.shape[-2:]
    if stretched and abs(rows * width - columns * height) > STRETCH * max(rows * width, columns * height):
        raise HiLoError(
            f"The mask is {columns}x{rows} px, of other proportions than the latent of {width}x{height}. "
            "Give Set Latent Noise Mask the mask of the picture that was encoded."
        )


def _answer(
    node: type[io.ComfyNode], model: Any, runs: list[Ran], mask: Tensor, vae: Any, picture: str
) -> io.NodeOutput:
    """Pictures, figures, verdict. picture: what tells it from others, for what `auto` is to know."""
    dense, others = runs[0], runs[1:]
    shown = [_picture(model, one.latent, vae) if one is dense or not one.reason else None for one in runs]
    plain = shown[0]
    assert plain is not None
    edited = scaled(is_edited(mask), *plain.shape[1:3]).cpu()
    if not bool(edited.any()):
        raise HiLoError(NOTHING_PAINTED)
    pictures = [plain if one is None else one for one in shown[1:]]
    likenesses = [
        None if one is None else mean_likeness([likeness(a, b, edited) for a, b in zip(one, plain, strict=True)])
        for one in shown[1:]
    ]
    outside = ~latent_pixels(mask, dense.latent)
    changes = [largest_change(one.latent, dense.latent, outside) for one in others]
    tried = [_tried(one, found) for one, found in zip(others, likenesses, strict=True)]
    verdict = judge(tried, bounds(edited))
    if vae is not None:  # rough previews are no evidence
        comparisons.remember(identity(model), [*_trials(others, likenesses, picture)])
    differences = [
        draw_difference(one, plain, None if found is None else found.worst, _label(name, found))
        for one, found, name in zip(pictures, likenesses, (one.name for one in others), strict=True)
    ]
    text = _text(verdict, others, likenesses, changes, rough=vae is None)
    show_on_node(node_id(node), verdict.sentence if vae is not None else f"{verdict.sentence} {ROUGH}")
    names = [one.name for one in others]
    layers = {"dense": plain, **dict(zip(names, pictures, strict=True))}
    layers |= {f"{name} - dense, x{GAIN}": one for name, one in zip(names, differences, strict=True)}
    best = verdict.best if verdict.best is not None else names[0]
    return io.NodeOutput(
        plain,
        torch.cat(pictures),
        torch.cat(differences),
        text,
        ui=pictures_side_by_side(layers, best) | {"text": (text,)},
    )


def _picture(model: Any, latent: Tensor, vae: Any) -> Tensor:
    """(B, H, W, 3) in 0..1, on the CPU: decoded, or as the host previews it."""
    if vae is not None:
        decoded: Tensor = vae.decode(latent)
        return decoded.reshape(-1, *decoded.shape[-3:])[..., :3].float().cpu().clamp(0, 1)
    form = model.model.latent_format
    if form.latent_rgb_factors is None:
        raise HiLoError("This model has no rough preview. Connect the VAE that encoded the picture.")
    more = (getattr(form, "latent_rgb_factors_bias", None), getattr(form, "latent_rgb_factors_reshape", None))
    previewer = latent_preview.Latent2RGBPreviewer(form.latent_rgb_factors, *more)
    inner = model.model.process_latent_in(latent).float()
    each = [np.asarray(previewer.decode_latent_to_preview(one[None])) for one in inner]
    return torch.from_numpy(np.stack(each)).float() / 255


def _tried(one: Ran, found: Likeness | None) -> Tried:
    report = one.report or RunReport()
    return Tried(one.name, found, report.speedup, one.reason, report.predicted)


def _trials(runs: list[Ran], found: list[Likeness | None], picture: str) -> Iterator[Trial]:
    """What `auto` may believe of each run that was compressed."""
    for one, figures in zip(runs, found, strict=True):
        report = one.report
        if figures is not None and report is not None and report.setting is not None:
            speedup = None if report.predicted else report.speedup
            yield Trial(one.name, picture, report.setting, figures.psnr, fault(figures), speedup)


def _label(name: str, found: Likeness | None) -> str:
    """What stands on a picture of differences."""
    if found is None:
        return f"{name}: ran dense, no difference"
    return f"{name} - dense, x{GAIN}: {found.psnr:.1f} dB"


def _text(verdict: Verdict, runs: list[Ran], found: list[Likeness | None], changes: list[float], rough: bool) -> str:
    """The verdict, and a line for each preset."""
    lines = [verdict.sentence, *([ROUGH] if rough else [])]
    for one, figures, change in zip(runs, found, changes, strict=True):
        report = one.report
        if figures is None or report is None:
            lines.append(f"{one.name}: normal speed, {one.reason}")
            continue
        parts = [report.gain(), f"{report.kept} of {report.total} tokens", *_figures(figures)]
        parts.append(f"largest change outside the edit {change:.3g}")
        lines.append(f"{one.name}: {', '.join(part for part in parts if part)}{_remark(report)}")
    return "\n".join(lines)


def _remark(report: RunReport) -> str:
    return "".join(f"; {note}" for note in report.notes)


def _figures(found: Likeness) -> list[str]:
    """Inside the edit, against dense."""
    top, left, bottom, right = found.worst
    return [
        f"PSNR {found.psnr:.2f} dB",
        f"SSIM {found.ssim:.4f}",
        f"sharpness {found.sharpness:.4f} (dense {found.sharpness_other:.4f})",
        f"border {found.border:.4f} (dense {found.border_other:.4f})",
        f"worst place {found.worst_psnr:.1f} dB at x {left} to {right}, y {top} to {bottom}",
    ]
