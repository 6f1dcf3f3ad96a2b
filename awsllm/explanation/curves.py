"""How a loss fell, step by step: as lines of text for a terminal, and as one page of HTML that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille character, by row and column
_WIDTH, _HEIGHT = 720, 320  # of the drawing, in its own units
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE: Final = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 "
    "1rem}svg{width:100%;height:auto}svg text{font-size:12px;fill:currentColor}.loss{fill:none;stroke:#2563eb;"
    "stroke-width:1.5}.held{fill:#d97706}.axis{stroke:currentColor;opacity:.3}table{border-collapse:collapse}"
    "th,td{text-align:right;padding:.1rem .8rem;border-bottom:1px solid #8884}"
)


class LossPoint(NamedTuple):
    """``held_out``: the loss of what is not learned from, where it was looked at."""

    step: int
    loss: float
    held_out: float | None = None


def loss_lines(points: Sequence[LossPoint], width: int = 60, height: int = 10) -> list[str]:
    """The curve in braille, eight dots a character, with the largest and the least loss beside it."""
    points = [point for point in points if math.isfinite(point.loss)]
    if not points:
        return []
    low, high = _bounds(points)
    cells = [[0] * width for _ in range(height)]
    first, last = points[0].step, points[-1].step
    for point in points:
        x = round((point.step - first) / max(1, last - first) * (2 * width - 1))
        y = round((high - point.loss) / (high - low) * (4 * height - 1))
        cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    labels = {0: f"{high:.3g}", height - 1: f"{low:.3g}"}
    room = max(map(len, labels.values()))
    rows = ["".join(chr(0x2800 + cell) for cell in row) for row in cells]
    lines = [f"{labels.get(number, ''):>{room}} ┤{row}" for number, row in enumerate(rows)]
    return [*lines, f"{'':>{room}} step {first} to {last}, loss {points[0].loss:.3f} → {points[-1].loss:.3f}"]


def loss_page(points: Sequence[LossPoint], title: str) -> str:
    """Raises ``ValueError`` where there is no point to draw."""
    points = [point for point in points if math.isfinite(point.loss)]
    if not points:
        raise ValueError("there is no step to draw yet")
    told = escape(title)
    rows = "".join(
        f"<tr><td>{point.step}<td>{point.loss:.4f}<td>{'' if point.held_out is None else f'{point.held_out:.4f}'}"
        for point in _some(points)
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{told}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{told}</h1>\n{_drawn(points)}\n"
        f"<table><thead><tr><th>step<th>loss<th>held out</thead><tbody>{rows}</tbody></table>\n</body>\n</html>\n"
    )


def _drawn(points: Sequence[LossPoint]) -> str:
    low, high = _bounds(points)
    first, last = points[0].step, points[-1].step

    def place(step: int, loss: float) -> tuple[float, float]:
        across = (step - first) / max(1, last - first)
        return 50 + across * (_WIDTH - 60), 10 + (high - loss) / (high - low) * (_HEIGHT - 40)

    line = " ".join("{:.1f},{:.1f}".format(*place(point.step, point.loss)) for point in points)
    held = [(point.step, point.held_out) for point in points if point.held_out is not None]
    dots = "".join(
        '<circle class="held" r="3" cx="{:.1f}" cy="{:.1f}"/>'.format(*place(step, loss)) for step, loss in held
    )
    said = f"The loss from step {first} to step {last}: {points[0].loss:.3f}, then {points[-1].loss:.3f}."
    marks = "".join(
        f'<line class="axis" x1="50" x2="{_WIDTH - 10}" y1="{y}" y2="{y}"/><text x="45" y="{y + 4}" '
        f'text-anchor="end">{value:.3g}</text>'
        for y, value in ((10, high), ((_HEIGHT - 20) / 2, (high + low) / 2), (_HEIGHT - 30, low))
    )
    steps = f'<text x="50" y="{_HEIGHT - 8}">{first}</text><text x="{_WIDTH - 10}" y="{_HEIGHT - 8}" text-anchor="end">'
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(said)}">{marks}{steps}{last}</text>'
        f'<polyline class="loss" points="{line}"/>{dots}</svg>'
    )


def _bounds(points: Sequence[LossPoint]) -> tuple[float, float]:
    values = [value for point in points for value in (point.loss, point.held_out) if value is not None]
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _some(points: Sequence[LossPoint], most: int = 40) -> Sequence[LossPoint]:
    """Some of them, the last always."""
    every = -(-len(points) // most)
    return [point for number, point in enumerate(points) if number % every == 0 or number == len(points) - 1]
