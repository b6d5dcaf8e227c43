"""Thumbnails of the examples: drawn from the graph, or, `python -m tools.thumbnails`, the demo's from a run."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tools import demo, host, workflow
from tools.server import ComfyServer

SIZE = (640, 480)
TITLE = 64
WIRES = {"MODEL": "#b39ddb", "IMAGE": "#64b5f6", "MASK": "#81c784", "LATENT": "#ff9cf9", "CONDITIONING": "#ffa931"}


def draw(saved: dict[str, Any]) -> Image.Image:
    """Groups, nodes and wires of a workflow, and its title."""
    nodes = [n for n in saved["nodes"] if n["type"] != "MarkdownNote"]
    note = next(n for n in saved["nodes"] if n["type"] == "MarkdownNote")
    left, top = (min(n["pos"][axis] for n in nodes) - 60 for axis in (0, 1))
    right, bottom = (max(n["pos"][axis] + n["size"][axis] for n in nodes) + 40 for axis in (0, 1))
    scale = min(SIZE[0] / (right - left), (SIZE[1] - TITLE) / (bottom - top))
    canvas = Image.new("RGB", SIZE, "#1e1e1e")
    pen = ImageDraw.Draw(canvas)

    def at(x: float, y: float) -> tuple[float, float]:
        return (x - left) * scale, TITLE + (y - top) * scale

    for group in saved["groups"]:
        x, y, width, height = group["bounding"]
        pen.rounded_rectangle((*at(x, y), *at(x + width, y + height)), 6, outline=group["color"], width=2)
    for node in nodes:
        (x, y), (width, height) = node["pos"], node["size"]
        ours = node["type"].startswith("HiLo")
        pen.rounded_rectangle((*at(x, y - 24), *at(x + width, y + height)), 4, fill="#b06634" if ours else "#3a3a3a")
    by_id = {n["id"]: n for n in nodes}
    for _, source, slot, target, place, kind in saved["links"]:
        a, b = by_id[source], by_id[target]
        start = at(a["pos"][0] + a["size"][0], a["pos"][1] + 14 + 20 * slot)
        end = at(b["pos"][0], b["pos"][1] + 14 + 20 * place)
        pen.line((start, end), fill=WIRES.get(kind, "#8a8a8a"), width=2)
    title = note["widgets_values"][0].splitlines()[0].lstrip("# ")
    pen.text((16, 14), title, fill="white", font=ImageFont.load_default(30))
    return canvas


def before_after(before: Image.Image, after: Image.Image) -> Image.Image:
    """The right halves of two square pictures side by side."""
    side = SIZE[0]
    canvas = Image.new("RGB", (side, side))
    for place, picture in enumerate((before, after)):
        half = picture.convert("RGB").crop((picture.width // 2, 0, picture.width, picture.height))
        canvas.paste(half.resize((side // 2, side)), (place * side // 2, 0))
    return canvas


def main() -> None:
    """Run the demo and write its thumbnail."""
    with ComfyServer() as server:
        prompt = workflow.to_api(workflow.load(demo.WORKFLOW), server.object_info())
        after = demo.picture_of(server, prompt, server.queue(prompt))
    before = Image.open(host.ROOT / "lab" / "photos" / "demo.jpg")
    before_after(before, after).save(workflow.FOLDER / f"{demo.WORKFLOW}.jpg", quality=88)


if __name__ == "__main__":
    main()
