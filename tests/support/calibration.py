"""How the twin's forecasts do against what the simulated plant then makes.

    PYTHONPATH=tests python -m support.calibration

Each case: 10 parts are welded at some setpoints in some state; the twin estimates the state from them and
forecasts without and with a step of power or focus; then 20 parts are welded each way. States, setpoints and
all noise are drawn anew for each case; the model is identified from a commissioning trial at the same plant.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from support.process_models import process_model
from twinloop.simulator import process as plant
from twinloop.twin.estimate import Part, estimate
from twinloop.twin.process import ProcessModel, Setpoints
from twinloop.twin.whatif import forecast, invalid

LIMIT_UOHM = 55.0
_SHOWN = (3, 1, 2, 0)
_PARTS, _AFTER = 10, 20


@dataclass(frozen=True)
class Case:
    """A state, setpoints, and the setpoints after the change."""

    transmission: float
    error_mm: float
    before: Setpoints
    after: Setpoints
    power_factor: float = 1.0


@dataclass(frozen=True)
class Row:
    """What became of the cases of a kind. Shares and micro-ohm; `refused` have a reason and no forecasts."""

    kind: str
    cases: int
    refused: int
    covered: float
    error_uohm: float
    scrap_forecast: float
    scrap_made: float


def _power_step(draw: np.random.Generator, watts: float) -> float:
    return float(np.clip(watts + draw.choice((-30.0, 30.0)), 850, 1350))


def _clean(draw: np.random.Generator) -> Case:
    watts = float(draw.uniform(900, 1300))
    return Case(1.0, 0.0, Setpoints(watts, 0.0), Setpoints(_power_step(draw, watts), 0.0))


def _dirty(draw: np.random.Generator) -> Case:
    glass = float(draw.uniform(0.72, 0.98))
    watts = float(np.clip(draw.uniform(0.8, 1.1) * 1000 / glass, 850, 1320))
    return Case(glass, 0.0, Setpoints(watts, 0.0), Setpoints(_power_step(draw, watts), 0.0))


def _defocused(draw: np.random.Generator) -> Case:
    error, focus = float(draw.uniform(0.2, 0.8) * draw.choice((-1, 1))), float(draw.uniform(-0.1, 0.1))
    step = -0.25 * np.sign(error)
    return Case(1.0, error, Setpoints(1000.0, focus), Setpoints(1000.0, focus + step))


def _both(draw: np.random.Generator) -> Case:
    error = float(draw.uniform(0.2, 0.5) * draw.choice((-1, 1)))
    glass, watts = float(draw.uniform(0.8, 0.95)), float(draw.uniform(1050, 1250))
    step = -0.25 * np.sign(error)
    return Case(glass, error, Setpoints(watts, 0.0), Setpoints(watts, step))


def _misfired(draw: np.random.Generator) -> Case:
    """The laser delivers more, or less, than it is told."""
    factor, watts = float(draw.choice((0.87, 1.1, 1.2, 1.3))), float(draw.uniform(980, 1020))
    return Case(1.0, 0.0, Setpoints(watts, 0.0), Setpoints(_power_step(draw, watts), 0.0), factor)


def _beyond(draw: np.random.Generator) -> Case:
    error = float(draw.uniform(1.4, 2.0) * draw.choice((-1, 1)))
    return Case(float(draw.uniform(0.3, 0.6)), error, Setpoints(1000.0, 0.0), Setpoints(1030.0, 0.0))


KINDS: dict[str, Callable[[np.random.Generator], Case]] = {
    "clean window, in focus": _clean,
    "dirty window": _dirty,
    "out of focus": _defocused,
    "both": _both,
    "power error": _misfired,
    "beyond the trials": _beyond,
}


def table(model: ProcessModel, cases: int, seed: int) -> list[Row]:
    """A row for each kind of case."""
    return [_row(model, kind, cases, np.random.default_rng((seed, n))) for n, kind in enumerate(KINDS)]


def _row(model: ProcessModel, kind: str, cases: int, draw: np.random.Generator) -> Row:
    refused, inside, errors, told, made = 0, [], [], [], []
    for _ in range(cases):
        case = KINDS[kind](draw)
        parts, _ = _weld(case, case.before, _PARTS, draw)
        state = estimate(model, parts)
        if state is None or invalid(model, state, case.before) or invalid(model, state, case.after):
            refused += 1
            continue
        for at in (case.before, case.after):
            one = forecast(model, state, at, LIMIT_UOHM)
            _, measured = _weld(case, at, _AFTER, draw)
            inside += ((one.low_uohm <= measured) & (measured <= one.high_uohm)).tolist()
            errors.append(one.expected_uohm - measured.mean() if measured.mean() < 2 * LIMIT_UOHM else np.nan)
            told.append(one.scrap)
            made.append((measured > LIMIT_UOHM).mean())
    none = float("nan")
    return Row(
        kind,
        cases,
        refused,
        float(np.mean(inside)) if inside else none,
        float(np.nanmean(np.abs(errors))) if inside else none,
        float(np.mean(told)) if inside else none,
        float(np.mean(made)) if inside else none,
    )


def _weld(
    case: Case, at: Setpoints, count: int, draw: np.random.Generator
) -> tuple[list[Part], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    parts, measured = [], []
    for n in range(count):
        weld = plant.weld(
            plant.Setpoints(at.power_w, at.focus_mm),
            plant.Conditions(
                window_transmission=case.transmission,
                defocus_mm=case.error_mm,
                power_factor=case.power_factor,
            ),
            plant.draw_noise(draw),
        )
        means = weld.signals.mean(axis=0)
        parts.append(Part(n, *(float(means[one]) for one in _SHOWN), at))
        measured.append(weld.measured_uohm)
    return parts, np.array(measured)


def render(rows: Sequence[Row]) -> str:
    """The table as Markdown."""
    lines = ["| state of the process | cases | refused | inside 95 % | error | scrap forecast | made |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for one in rows:
        scrap = f"{one.scrap_forecast:.1%} | {one.scrap_made:.1%}"
        figures = f"{one.covered:.1%} | {one.error_uohm:.1f} µΩ | {scrap}"
        if one.refused == one.cases:
            figures = "– | – | – | –"
        lines.append(f"| {one.kind} | {one.cases} | {one.refused} | {figures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(render(table(process_model(), 200, 0)) + "\n")
