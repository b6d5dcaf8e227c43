"""Writes `example_workflows/` and `subgraphs/`: `python -m tools.make_workflows`, after inputs of a node changed."""

from __future__ import annotations

from collections.abc import Callable

from tools.examples import blueprint, edit, fill, noise_mask
from tools.examples.base import Example
from tools.server import ComfyServer
from tools.thumbnails import draw
from tools.workflow import FOLDER, save

WORKFLOWS: dict[str, Callable[[Example], None]] = {
    "hilo_demo_inpaint": fill.demo,
    "hilo_flux_fill_inpaint": fill.fill_inpaint,
    "hilo_flux_fill_outpaint": fill.fill_outpaint,
    "hilo_flux_dev_inpaint": noise_mask.flux_dev,
    "hilo_flux_kontext_edit": edit.kontext,
    "hilo_flux2_edit": edit.flux2,
    "hilo_qwen_edit_2509": edit.qwen_2509,
    "hilo_qwen_inpaint_controlnet": noise_mask.qwen_control,
    "hilo_z_image_inpaint": noise_mask.z_image,
    "hilo_sd35_inpaint": noise_mask.sd35,
    "hilo_object_removal": fill.removal,
    "hilo_flux2_klein_edit": edit.flux2_klein,
    "hilo_qwen_edit_2511": edit.qwen_2511,
    "hilo_ab_test": fill.ab_test,
    "hilo_flux_fill_detail": fill.fill_detail,
}


def main() -> None:
    """Write them all, and the thumbnails of those that cannot be run here."""
    with ComfyServer() as server:
        info = server.object_info()
    blueprint.write(info)
    for name, make in WORKFLOWS.items():
        example = Example(info)
        make(example)
        workflow = example.workflow()
        save(name, workflow)
        thumbnail = FOLDER / f"{name}.jpg"
        if name != "hilo_demo_inpaint" or not thumbnail.exists():
            draw(workflow).save(thumbnail, quality=88)


if __name__ == "__main__":
    main()
