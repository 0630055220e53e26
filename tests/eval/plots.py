"""A recording, what was said of it and what is true, as an SVG: the same bytes for the same figures. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from eval.data import Flags
from twinloop.trainer.scoreboard import runs

WIDTH, LEFT, RIGHT, TOP = 820, 60, 16, 34
SCORE, BAND, GAP, BOTTOM = 150, 14, 6, 40
INK: Final = "#1f6f8b"
ALARM: Final = "#d97a3a"
TRUTH: Final = "#8a98a3"

Place = Callable[[float], str]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One recording. `top` is where its scores are cut off."""

    title: str
    score: NDArray[np.float64]
    threshold: float
    alarmed: Flags
    anomalous: Flags
    top: float


def plot(panels: tuple[Panel, ...], row: str) -> str:
    """The panels under each other; `row` says what a row is."""
    high = TOP + SCORE + 2 * (BAND + GAP) + BOTTOM
    size = f'width="{WIDTH}" height="{high * len(panels)}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high * len(panels)}"',
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect {size} fill="#fff"/>',
    ]
    for n, panel in enumerate(panels):
        parts.append(f'<g transform="translate(0 {n * high})">')
        parts += _panel(panel, row)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, row: str) -> list[str]:
    count = len(panel.score)

    def x(at: float) -> str:
        return f"{LEFT + (WIDTH - LEFT - RIGHT) * at / count:.1f}"

    def y(value: float) -> str:
        return f"{TOP + SCORE * (1 - min(max(value, 0.0), panel.top) / panel.top):.1f}"

    parts = [f'<text x="{LEFT}" y="20" font-weight="bold">{escape(panel.title)}</text>']
    for value in (0.0, panel.top):
        parts.append(f'<path d="M{LEFT} {y(value)}H{WIDTH - RIGHT}" stroke="#e3e6e8"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value)}" dy="4" text-anchor="end">{value:g}</text>')
    parts.append(
        f'<path d="M{LEFT} {y(panel.threshold)}H{WIDTH - RIGHT}" stroke="#333" stroke-dasharray="4 3"/>'
        f'<text x="{LEFT - 6}" y="{y(panel.threshold)}" dy="4" text-anchor="end">{panel.threshold:g}</text>'
    )
    parts.append(f'<path d="{_line(panel.score, x, y)}" fill="none" stroke="{INK}" stroke-width="1.2"/>')
    for place, (name, colour, flags) in enumerate(
        (("alarm", ALARM, panel.alarmed), ("truth", TRUTH, panel.anomalous))
    ):
        at = TOP + SCORE + GAP + place * (BAND + GAP)
        parts.append(f'<text x="{LEFT - 6}" y="{at + 11}" text-anchor="end">{name}</text>')
        parts.append(
            f'<rect x="{LEFT}" y="{at}" width="{WIDTH - LEFT - RIGHT}" height="{BAND}" fill="#f4f5f6"/>'
        )
        for begin, end in runs(flags):
            wide = max((WIDTH - LEFT - RIGHT) * (end - begin) / count, 0.5)
            place_of = f'x="{x(begin)}" y="{at}" width="{wide:.1f}" height="{BAND}"'
            parts.append(f'<rect {place_of} fill="{colour}"/>')
    foot = TOP + SCORE + 2 * (BAND + GAP) + 20
    step = max(1, round(count / 800)) * 100
    for at in range(0, count, step):
        parts.append(f'<text x="{x(at)}" y="{foot}" text-anchor="middle">{at}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{foot + 14}" text-anchor="end">{row}</text>')
    return parts


def _line(score: NDArray[np.float64], x: Place, y: Place) -> str:
    """In steps: a score holds until the next one."""
    path, last = "", np.nan
    for at, value in enumerate(score):
        if np.isnan(value) or value == last:
            continue
        path += f"M{x(at)} {y(value)}" if np.isnan(last) else f"H{x(at)}V{y(value)}"
        last = value
    return f"{path}H{x(len(score))}"
