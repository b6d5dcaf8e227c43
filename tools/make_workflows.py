"""Writes `example_workflows/` and `subgraphs/`: `python -m tools.make_workflows`, after inputs of a node changed."""

from __future__ import annotations

from collections.abc import Callable

from tools import demo
from tools.examples import blueprint, compare, edit, fill, leaders, noise_mask
from tools.examples.base import Example
from tools.server import ComfyServer
from tools.thumbnails import SMALL, draw
from tools.workflow import FOLDER, save

WORKFLOWS: dict[str, Callable[[Example], None]] = {
    "Demo - runs without a download": fill.demo,
    "FLUX.1 Fill - inpaint": fill.fill_inpaint,
    "FLUX.1 Fill - outpaint": fill.fill_outpaint,
    "FLUX.1 dev - inpaint": noise_mask.flux_dev,
    "FLUX.1 Kontext - masked edit": edit.kontext,
    "FLUX.2 dev - masked edit": edit.flux2,
    "Qwen-Image-Edit 2509 - masked edit": edit.qwen_2509,
    "Qwen-Image - inpaint with ControlNet": noise_mask.qwen_control,
    "Z-Image Turbo - inpaint": noise_mask.z_image,
    "SD3.5 - inpaint": noise_mask.sd35,
    "FLUX.1 Fill - object removal": fill.removal,
    "FLUX.2 klein - masked edit": edit.flux2_klein,
    "Qwen-Image-Edit 2511 - masked edit": edit.qwen_2511,
    "FLUX.1 Fill - compare with normal speed": fill.ab_test,
    **leaders.WORKFLOWS,
    "FLUX.1 Fill - fill with detail": fill.fill_detail,
    "Demo - compare presets": compare.presets,
    "Qwen-Image-Edit 2511 Lightning - masked edit": edit.qwen_lightning,
}


def main() -> None:
    """Write them all, and the thumbnails that are missing; `tools.thumbnails` runs the demo for its own. One that is
    there stays, as each new drawing weighs on every clone."""
    with ComfyServer() as server:
        info = server.object_info()
    blueprint.write(info)
    for number, (name, make) in enumerate(WORKFLOWS.items()):
        example = Example(info)
        make(example)
        save(name, example.workflow())
        picture = FOLDER / f"{name}.jpg"
        if name != demo.WORKFLOW and not picture.exists():
            draw(name, number).save(picture, **SMALL)


if __name__ == "__main__":
    main()
