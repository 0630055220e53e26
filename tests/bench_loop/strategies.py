"""What Twinloop is compared with: a plain threshold controller, and an oracle that shows what is possible."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from functools import lru_cache
from statistics import median
from typing import Final

import numpy as np

from bench_loop.cell import Cell, Strategy
from bench_loop.rules import FOCUS, LIMIT_UOHM, POWER, rules
from twinloop.simulator.plant import MadePart
from twinloop.simulator.process import (
    NOISE_VALUES,
    NOMINAL_POWER_W,
    RAYLEIGH_LENGTH_MM,
    Conditions,
    Setpoints,
    weld,
)


class Naive(Strategy):
    """Raise power by one step while the resistance is high: what a line has without a diagnosis.

    It is given every fair chance. It acts well before scrap, at `THRESHOLD_UOHM` (nominal is 42, the meter's
    standard deviation 2), on the median of `PARTS` parts, so that no outlier moves it; it has Twinloop's
    step, limits, cooldown and latency; it writes only while the station produces by its own recipe. It has
    one actuator and one direction, and takes every high resistance for a lack of power.
    """

    name = "naive"
    THRESHOLD_UOHM: Final = 48.0
    PARTS: Final = 5

    def __init__(self, latency_parts: int) -> None:
        self._latency = latency_parts
        self._measured: defaultdict[Cell, deque[float]] = defaultdict(lambda: deque(maxlen=self.PARTS))
        self._due: dict[Cell, int] = {}
        self._detected: dict[Cell, int] = {}

    def before(self, cell: Cell) -> None:
        """Write what is due."""
        if self._due.get(cell) != cell.number:
            return
        del self._due[cell]
        self._measured[cell].clear()  # parts from before the change do not speak for another one
        known = rules().actuators[POWER]
        power_w = cell.plc.setpoints[POWER]
        value = min(power_w + known.step, known.operator[1])
        if cell.permitted() and value - power_w >= known.deadband:
            cell.set(POWER, value)

    def after(self, made: Sequence[tuple[Cell, MadePart]], number: int) -> None:
        """Measure."""
        for cell, part in made:
            seen = self._measured[cell]
            seen.append(part.resistance_uohm)
            if len(seen) < self.PARTS or median(seen) <= self.THRESHOLD_UOHM:
                continue
            if number >= cell.case.start:
                self._detected.setdefault(cell, cell.number - cell.case.start)
            if cell not in self._due and cell.cooled():
                self._due[cell] = cell.number + self._latency

    def detected(self, cell: Cell) -> int | None:
        """See `Strategy`."""
        return self._detected.get(cell)


class Oracle(Strategy):
    """The best that anybody could do with these actuators, limits, step and cooldown.

    It knows the true conditions of the next weld before it is made, and its commands are in force at once.
    Whenever the cooldown allows it takes the step that brings the coupled power nearest to nominal: that
    minimises the resistance of every part to come, because each further step of a setpoint gains less than
    the one before. It stops the station only when no setpoint within the operator's limits would make a good
    part in the end, and then before the first bad one.
    """

    name = "oracle"

    def before(self, cell: Cell) -> None:
        """Take the best step, or stop."""
        if cell.held:
            return
        known, at = cell.conditions, _setpoints(cell)
        if expected_uohm(at, known) > LIMIT_UOHM and not self._mendable(cell, known):
            cell.hold()
            return
        if cell.case.plc.ignore_writes or not (cell.permitted() and cell.cooled()):
            return
        best = min(_moves(at), key=lambda one: off_nominal(one, known))
        gain = off_nominal(at, known) - off_nominal(best, known)
        if gain < _DEADBAND:
            return
        if best.power_w != at.power_w:
            offset = cell.case.plc.read_back_offset.get(POWER, 0.0)
            cell.set(POWER, best.power_w - offset if best.power_w > at.power_w else best.power_w)
        else:
            cell.set(FOCUS, best.focus_mm)

    def detected(self, cell: Cell) -> int | None:
        """It knows at once."""
        return 0

    @staticmethod
    def _mendable(cell: Cell, known: Conditions) -> bool:
        if cell.case.plc.ignore_writes:
            return False
        return expected_uohm(best_setpoints(known), known) <= LIMIT_UOHM


_DEADBAND: Final = 0.005
"""Of coupled power, relative: the deadband of power is 5 W of 1000."""


def _setpoints(cell: Cell) -> Setpoints:
    return Setpoints(cell.plc.setpoints[POWER], cell.plc.setpoints[FOCUS])


def _coupling(z_mm: float) -> float:
    return math.pow(1 + (z_mm / RAYLEIGH_LENGTH_MM) ** 2, -0.75)


def off_nominal(at: Setpoints, known: Conditions) -> float:
    """How far the coupled power is from nominal, relative."""
    delivered = known.window_transmission * known.power_factor * at.power_w / NOMINAL_POWER_W
    return abs(delivered * _coupling(known.defocus_mm + at.focus_mm) - 1)


def best_setpoints(known: Conditions) -> Setpoints:
    """Within the operator's limits, however many steps away."""
    low, high = rules().actuators[FOCUS].operator
    focus_mm = min(max(-known.defocus_mm, low), high)
    reached = known.window_transmission * known.power_factor * _coupling(known.defocus_mm + focus_mm)
    low, high = rules().actuators[POWER].operator
    return Setpoints(min(max(NOMINAL_POWER_W / max(reached, 1e-3), low), high), focus_mm)


@lru_cache(maxsize=65536)
def expected_uohm(at: Setpoints, known: Conditions) -> float:
    """The resistance of a part without noise."""
    return weld(at, known, np.zeros(NOISE_VALUES)).resistance_uohm


def _moves(at: Setpoints) -> list[Setpoints]:
    """Where one command can lead: up to a step of either setpoint, in thirds."""
    moves = [at]
    for part in (-1.0, -2 / 3, -1 / 3, 1 / 3, 2 / 3, 1.0):
        power, focus = rules().actuators[POWER], rules().actuators[FOCUS]
        power_w, focus_mm = at.power_w + part * power.step, at.focus_mm + part * focus.step
        if power.operator[0] <= power_w <= power.operator[1]:
            moves.append(Setpoints(power_w, at.focus_mm))
        if focus.operator[0] <= focus_mm <= focus.operator[1]:
            moves.append(Setpoints(at.power_w, focus_mm))
    return moves
