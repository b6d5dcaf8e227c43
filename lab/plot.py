"""Small plots as SVG text: points with labels, and lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 440, 64, 24, 40, 52
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
GREY = "#b5bac1"


@dataclass(frozen=True)
class Series:
    """Points (x, y), joined or not; labels stand beside points."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str = GREY
    line: bool = False
    labels: Sequence[str] = ()


def _ticks(low: float, high: float) -> list[float]:
    """About six round numbers."""
    for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50):
        if (high - low) / step <= 8:
            first = int(low / step)
            return [round(step * k, 4) for k in range(first, int(high / step) + 2) if low <= step * k <= high]
    return [low, high]


def chart(title: str, across: str, up: str, series: Sequence[Series]) -> str:
    """The SVG of one chart. across, up: names of the axes."""
    points = [point for s in series for point in s.points]
    (x0, x1), (y0, y1) = ((min(v), max(v)) for v in zip(*points, strict=True))
    x0, x1 = x0 - 0.04 * (x1 - x0), x1 + 0.14 * (x1 - x0)
    y0, y1 = y0 - 0.06 * (y1 - y0 or 1), y1 + 0.06 * (y1 - y0 or 1)

    def at(x: float, y: float) -> tuple[str, str]:
        column = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        return f"{column:.1f}", f"{TOP + (y1 - y) / (y1 - y0) * (HEIGHT - TOP - BOTTOM):.1f}"

    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
             f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
             f'<text x="{LEFT}" y="22" font-size="15">{title}</text>']  # fmt: skip
    for tick in _ticks(x0, x1):
        x, _ = at(tick, y0)
        lines.append(f'<path d="M{x} {TOP}V{HEIGHT - BOTTOM}" stroke="#eee"/>'
                     f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')  # fmt: skip
    for tick in _ticks(y0, y1):
        _, y = at(x0, tick)
        lines.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#eee"/>'
                     f'<text x="{LEFT - 8}" y="{y}" dy="4" text-anchor="end">{tick:g}</text>')  # fmt: skip
    turned = f"translate(16 {HEIGHT / 2}) rotate(-90)"
    lines.append(f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{across}</text>'
                 f'<text transform="{turned}" text-anchor="middle">{up}</text>')  # fmt: skip
    for s in series:
        if s.line:
            path = "L".join(" ".join(at(*p)) for p in s.points)
            lines.append(f'<path d="M{path}" fill="none" stroke="{s.colour}" stroke-width="2"/>')
        for number, point in enumerate(s.points):
            x, y = at(*point)
            label = s.labels[number] if number < len(s.labels) else ""
            lines.append(f'<circle cx="{x}" cy="{y}" r="{3 if s.colour == GREY else 5}" fill="{s.colour}">'
                         f"<title>{label or s.name}</title></circle>")  # fmt: skip
            if label and s.colour != GREY:
                side = 'dx="-8" text-anchor="end"' if float(x) > 0.75 * WIDTH else 'dx="8"'
                lines.append(f'<text x="{x}" y="{y}" {side} dy="4" fill="{s.colour}">{label}</text>')
    named = [s for s in series if s.line]
    for number, s in enumerate(named):
        y = TOP + 14 + 18 * number
        lines.append(f'<circle cx="{WIDTH - 190}" cy="{y}" r="5" fill="{s.colour}"/>'
                     f'<text x="{WIDTH - 178}" y="{y + 4}">{s.name}</text>')  # fmt: skip
    return "\n".join([*lines, "</svg>\n"])
