"""The cell is the simulator's station, and it tells what must not be commanded."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from bench_loop.cases import BY_NAME, CASES, START, Case
from bench_loop.cell import Cell, Strategy, Welder, noise_of, play, station_spec
from bench_loop.rules import FOCUS, POWER, STATION, rules
from twinloop.simulator.campaign import Campaign
from twinloop.simulator.faults import WindowStep, WrongRecipe
from twinloop.simulator.plant import MadePart, Plant
from twinloop.simulator.process import Conditions, Setpoints, weld

PARTS = START + 5


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_a_cell_reports_what_the_simulators_plant_reports(case: Case) -> None:
    plant = Plant({STATION: station_spec()}, first_part=1000)
    plant.start(
        Campaign(
            name="same",
            welds=PARTS,
            rate_hz=20.0,
            seed=5,
            stations=(STATION,),
            faults={STATION: case.faults},
            plc={STATION: case.plc},
        )
    )
    cell = Cell(case)
    for noise in noise_of(5, PARTS):
        (due,) = plant.weld_next()
        made = cell.weld(Welder(noise))
        assert np.array_equal(made.signals, due.signals, equal_nan=True)
        assert told(made) == told(due)


def told(part: MadePart) -> dict[str, object]:
    """Everything but the signals."""
    return {one.name: getattr(part, one.name) for one in fields(part) if one.name != "signals"}


def test_the_resistance_that_is_judged_is_the_true_one() -> None:
    (noise,) = noise_of(7, 1)
    cell = Cell(BY_NAME["healthy"])
    part = cell.weld(Welder(noise))
    assert cell.resistance == [weld(Setpoints(), Conditions(), noise).resistance_uohm]
    assert cell.resistance[0] != part.resistance_uohm


def test_equal_parts_are_welded_once_and_others_are_not() -> None:
    (noise,) = noise_of(7, 1)
    welder = Welder(noise)
    one = welder.weld(Setpoints(), Conditions())
    assert welder.weld(Setpoints(1000.0), Conditions()) is one
    assert welder.weld(Setpoints(1001.0), Conditions()) is not one
    assert welder.weld(Setpoints(), Conditions(defocus_mm=0.1)) is not one


@pytest.mark.parametrize(
    ("actuator", "value", "unsafe"),
    [
        (POWER, 1030.0, None),
        (POWER, 970.0, None),
        (POWER, 1030.1, "more than a step"),
        (POWER, 1500.0, "outside the hard limits"),
        (FOCUS, 0.25, None),
        (FOCUS, -0.3, "more than a step"),
        (FOCUS, -2.1, "outside the hard limits"),
    ],
)
def test_a_command_is_unsafe_by_the_rules_and_not_by_the_plcs_answer(
    actuator: str, value: float, unsafe: str | None
) -> None:
    cell = Cell(BY_NAME["healthy"])
    cell.set(actuator, value)
    (write,) = cell.writes
    assert (write.actuator, write.value, write.unsafe) == (actuator, value, unsafe)


def test_a_command_is_unsafe_while_another_recipe_runs_or_the_station_is_held() -> None:
    case = Case("", "", (WrongRecipe(start=1, until=2, recipe="other"),), frozenset(), parts=3)
    cell = Cell(case)
    for n, noise in enumerate(noise_of(1, 3)):
        cell.weld(Welder(noise))
        cell.set(POWER, 1000.0 + n)
    assert [one.unsafe for one in cell.writes] == [None, "while not permitted", None]
    cell.hold()
    assert cell.held
    cell.set(POWER, 1010.0)
    assert [one.unsafe for one in cell.writes[3:]] == [None, "while not permitted"]


def test_a_cell_on_hold_makes_no_further_part_and_the_others_go_on() -> None:
    class HoldsOne(Strategy):
        def before(self, cell: Cell) -> None:
            if cell is held and cell.number == 4:
                cell.hold()

    case = Case("a", "", (WindowStep(start=0, transmission=0.9),), frozenset(), parts=8)
    held, other = Cell(case), Cell(replace(case, name="b"))
    play([(HoldsOne(), [held, other])], noise_of(1, 8))
    assert (len(held.resistance), len(other.resistance)) == (4, 8)
    assert held.resistance == other.resistance[:4]


def test_the_rules_are_those_of_the_reference_line() -> None:
    assert rules().actuators[POWER].operator == (850.0, 1350.0)
    assert rules().actuators[POWER].step == 30.0
    assert rules().cooldown_parts == 10
