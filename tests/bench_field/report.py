"""docs/slow-loop.md's tables and plot, from the figures of a run.

The tables stand in the page between `<!-- figures -->` and `<!-- end -->`; the rest of it is written by hand.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from bench_field.contestants import betting
from bench_field.scenes import DAYS, grid_of, play, table_of
from twinloop.controller.field.concentrate import bets
from twinloop.controller.field.policy import FieldPolicy

NAMES = {
    "both": "**Twinloop: both comparisons**",
    "fleet": "only with vehicles of equal exposure",
    "within": "only with the same vehicle's other joints",
    "fisher": "Fisher's exact test, exposure ignored, α spent on looks",
    "counter-3": "counter: 3 a station and week",
    "counter-5": "counter: 5",
    "counter-8": "counter: 8",
}
TITLES = {
    "spell": "a spell",
    "spell_among_traps": "a spell among traps",
    "nothing": "nothing is wrong",
    "more_chance": "6 × more by chance",
    "harsh_customers": "harsh customers",
    "far_drivers": "far drivers",
    "spell_of_two": "a spell of one of two stations",
}
BEGIN, END = "<!-- figures -->\n", "<!-- end -->\n"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 820, 360, 60, 180, 24, 44

Firsts = list[dict[str, Any]]
Run = dict[str, dict[str, Any]]
"""Of each contestant: `claims`, how many of them are `wrong`, and the `first` that is right."""


def record(found: dict[str, Any], docs: Path) -> None:
    """Bring page, figures and plot up to date; scenes that were not played keep their figures."""
    known = docs / "slow-loop.json"
    if known.exists() and (old := json.loads(known.read_text()))["seeds"] == found["seeds"]:
        scenes = old["scenes"] | found["scenes"]
        found = {**found, "scenes": {scene: scenes[scene] for scene in TITLES if scene in scenes}}
    known.write_text(json.dumps(rounded(found), indent=None, separators=(",", ":")) + "\n")
    page = docs / "slow-loop.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + table_of_figures(found) + END + after)
    (docs / "slow-loop.svg").write_text(plot(seed=0))


def rounded(what: Any) -> Any:
    """Figures with as many digits as anyone reads."""
    if isinstance(what, dict):
        return {key: rounded(value) for key, value in what.items()}
    if isinstance(what, list):
        return [rounded(value) for value in what]
    return round(what, 3) if isinstance(what, float) else what


def table_of_figures(found: dict[str, Any]) -> str:
    """What is found when something is wrong; who is accused when nothing is; how good forecasts are."""
    scenes: dict[str, list[Run]] = found["scenes"]
    lines = [f"{found['seeds']} seeds a scene.", ""]
    for scene in ("spell", "spell_among_traps", "spell_of_two"):
        if scene in scenes:
            lines += _found(TITLES[scene], scenes[scene])
    lines += _accused({scene: runs for scene, runs in scenes.items() if not scene.startswith("spell")})
    if "spell" in scenes:
        lines += _forecasts(scenes["spell"])
    return "\n".join(lines) + "\n"


def _found(title: str, runs: list[Run]) -> list[str]:
    lines = [
        f"| {title} | named rightly | half alike | wrong claims a seed | vehicles | days after |",
        "|---|---|---|---|---|---|",
    ]
    for which, name in NAMES.items():
        first = _first(runs, which)
        wrong = sum(run[which]["wrong"] for run in runs)
        alike = sum(one["like_truth"] >= 0.5 for one in first)
        cells = [name, f"{len(first)} of {len(runs)}", str(alike), f"{wrong / len(runs):.2f}"]
        cells += [_spread(first, "vehicles"), _spread(first, "waited_days")]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _accused(scenes: dict[str, list[Run]]) -> list[str]:
    if not scenes:
        return []
    lines = [
        f"| seeds with a false accusation | {' | '.join(TITLES[scene] for scene in scenes)} |",
        f"|---|{'---|' * len(scenes)}",
    ]
    for which, name in NAMES.items():
        cells = [f"{sum(run[which]['wrong'] > 0 for run in runs)} of {len(runs)}" for runs in scenes.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _forecasts(runs: list[Run]) -> list[str]:
    made = _first(runs, "both")
    inside = sum(one["more_low"] <= one["more_true"] <= one["more_high"] for one in made)
    off = statistics.mean(one["more"] - one["more_true"] for one in made) if made else 0.0
    text = (
        f"When a spell is named, {_median(made, 'more'):.0f} more vehicles are foreseen (median; to "
        f"{_median(made, 'until_km'):,.0f} km) and {_median(made, 'more_true'):.0f} follow; on average "
        f"{abs(off):.1f} too {'many' if off >= 0 else 'few'} are foreseen. The 95 % interval holds what "
        f"follows in {inside} of {len(made)}."
    )
    return [text]


def _first(runs: list[Run], which: str) -> Firsts:
    return [run[which]["first"] for run in runs if run[which]["first"] is not None]


def _median(those: Firsts, what: str) -> float:
    return statistics.median(one[what] for one in those) if those else float("nan")


def _spread(those: Firsts, what: str) -> str:
    if not those:
        return ""
    values = [one[what] for one in those]
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def plot(seed: int) -> str:
    """How the evidence of one seed grew, as an SVG: the bets' capital, on a logarithmic axis that ends where
    nobody doubts any more."""
    scene = play("spell", seed)
    policy, grid = FieldPolicy(), grid_of(scene.fleet.spec)
    table = table_of(scene, grid)
    claim = betting(table, grid, policy)["both"][0]
    (window,) = np.flatnonzero((grid.windows == (claim.first_bin, claim.end_bin)).all(axis=1))
    run = bets(table, grid, policy)
    others = np.delete(np.minimum(run.fleet, run.within), claim.station, axis=1)
    first = dict(zip(scene.shown.vehicle[::-1], scene.shown.at_h[::-1], strict=True))
    days = np.array([first[vehicle] for vehicle in table.vehicle]) / 24
    offset = (scene.fleet.spec.start - grid.origin).days
    lines = [
        ("#1f6f8b", "with vehicles", "of equal exposure", run.fleet[:, claim.station, window]),
        ("#d97a3a", "with the same", "vehicle's joints", run.within[:, claim.station, window]),
        ("#8a98a3", "best window of", "any other station", others.reshape(len(days), -1).max(axis=1)),
    ]
    return _svg(days, [(c, a, b, v / np.log(10)) for c, a, b, v in lines], claim.look * 7 - offset)


def _svg(days: Any, lines: list[tuple[str, str, str, Any]], named_on: float) -> str:
    low, high = -5.0, 25.0

    def x(day: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * day / DAYS

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - min(max(value, low), high)) / (high - low)

    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="#333"><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    )
    parts = [head]
    for value in range(int(low), int(high) + 1, 5):
        at = y(value)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#e3e6e8"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">1e{value}</text>')
    for day in range(0, DAYS + 1, 40):
        parts.append(f'<text x="{x(day):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{day}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        "days since the first vehicle was built</text>"
        f'<path d="M{x(named_on):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#333" stroke-dasharray="4 3"/>'
        f'<text x="{x(named_on) + 5:.1f}" y="{TOP + 12}">named</text>'
    )
    taken: list[float] = []
    for colour, one, two, values in lines:
        path = f"M{x(0):.1f} {y(0):.1f}"
        for day, value in zip(days, values, strict=True):
            path += f"H{x(day):.1f}V{y(value):.1f}"
        at = y(float(values[-1]))
        while any(abs(at - other) < 30 for other in taken):
            at += 30
        taken.append(at)
        parts.append(f'<path d="{path}H{WIDTH - RIGHT}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{at:.1f}" fill="{colour}">{one}'
            f'<tspan x="{WIDTH - RIGHT + 8}" dy="14">{two}</tspan></text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
