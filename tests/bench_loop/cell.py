"""One welding station under one case, with everything that a judge must know of it.

It welds with the simulator's own physics, faults and PLC, as the simulator's plant does; beside what the
station reports it keeps the true resistance, and every command that reached the PLC.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench_loop.cases import Case
from bench_loop.rules import CONFIG, FOCUS, HOLD, LIMIT, POWER, RATE_HZ, STATION, rules
from twinloop.simulator import faults as inject
from twinloop.simulator.plant import MadePart, StationSpec, ranges
from twinloop.simulator.plc import (
    ControlSource,
    Hold,
    LocalReason,
    Mode,
    Outcome,
    PlcFaults,
    PlcState,
    SetParameter,
    decide,
    new_plc,
    reset,
)
from twinloop.simulator.process import Conditions, Setpoints, Weld, draw_noise, weld
from twinloop.simulator.settings import PlantTable

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_PART = 1000
_VALID_FOR = timedelta(seconds=5)

_UPTIME_S = 0.0
"""The PLC's own clock stands still: heartbeats are transport, so its watchdog must not fall."""

Noise = NDArray[np.float64]
Command = SetParameter | Hold


@dataclass(frozen=True, slots=True)
class Write:
    """A command that reached the PLC, before part `number`. `unsafe` says why it must not have."""

    number: int
    actuator: str
    value: float
    before: float
    code: str
    unsafe: str | None


@cache
def station_spec() -> StationSpec:
    """The station as the demo's plant has it."""
    table = PlantTable.model_validate(tomllib.loads((CONFIG / "simulator.toml").read_text()))
    return table.stations[STATION].spec()


def commissioned(spec: StationSpec, faults: PlcFaults) -> PlcState:
    """A PLC that may be commanded, as it is before a campaign: control was taken."""
    plc = reset(new_plc(ranges(spec), spec.recipe), faults)
    return replace(plc, control=ControlSource.REMOTE, local_reason=LocalReason.NONE)


def noise_of(seed: int, parts: int) -> list[Noise]:
    """The noise of the first `parts` welds of a campaign with this seed."""
    generator = np.random.default_rng(seed)
    return [draw_noise(generator) for _ in range(parts)]


class Welder:
    """Makes one weld at every cell, from one noise. Equal setpoints under equal conditions make equal parts:
    they are welded once."""

    def __init__(self, noise: Noise) -> None:
        self._noise = noise
        self._under: dict[str, Conditions] = {}
        self._made: dict[tuple[Setpoints, Conditions], Weld] = {}

    def weld(self, at: Setpoints, under: Conditions) -> Weld:
        """The weld; it is shared, and must not be changed."""
        key = (at, under)
        if (made := self._made.get(key)) is None:
            made = self._made[key] = weld(at, under, self._noise)
        return made

    def conditions(self, case: Case, number: int) -> Conditions:
        """What part `number` of `case` is made under."""
        if (under := self._under.get(case.name)) is None:
            under = self._under[case.name] = inject.conditions(case.faults, number)
        return under


class Cell:
    """The station. `number` is the next weld; parts are numbered from 0, as faults count them."""

    def __init__(self, case: Case) -> None:
        spec = station_spec()
        self.case = case
        self.number = 0
        self.resistance: list[float] = []
        self.writes: list[Write] = []
        self._own_recipe = spec.recipe
        self._plc = commissioned(spec, case.plc)

    @property
    def plc(self) -> PlcState:
        """What the PLC knows."""
        return self._plc

    @property
    def held(self) -> bool:
        """Whether the station was stopped: it makes no further part."""
        return self._plc.mode is Mode.HELD

    @property
    def counter(self) -> int:
        """The part counter: the sequence of the last part made."""
        return FIRST_PART + self.number - 1

    @property
    def conditions(self) -> Conditions:
        """What the next weld will be made under: for an oracle alone."""
        return inject.conditions(self.case.faults, self.number)

    @property
    def now(self) -> datetime:
        """When the last part was finished."""
        return BEGAN + timedelta(seconds=self.number / RATE_HZ)

    def weld(self, welder: Welder) -> MadePart:
        """Make the next part."""
        case, number = self.case, self.number
        recipe = inject.recipe_in_force(case.faults, number, self._own_recipe)
        if recipe != self._plc.recipe:
            self._plc = replace(self._plc, recipe=recipe)
        at = Setpoints(self._plc.setpoints[POWER], self._plc.setpoints[FOCUS])
        limit = self._plc.setpoints[LIMIT]
        result = welder.weld(at, welder.conditions(case, number))
        self.resistance.append(result.resistance_uohm)
        self.number += 1
        return MadePart(
            station=STATION,
            number=number,
            sequence=self.counter,
            part_id=f"{STATION}-{self.counter:012d}",
            signals=inject.disturb_signals(case.faults, number, result.signals),
            missing=inject.missing_signals(case.faults, number),
            resistance_uohm=result.measured_uohm,
            power_w=at.power_w,
            focus_mm=at.focus_mm,
            limit_uohm=limit,
            rejected=result.measured_uohm > limit,
            recipe=recipe,
            clock_offset_s=inject.clock_offset_s(case.faults, number),
            loses_birth=inject.loses_its_birth(case.faults, number),
        )

    def command(self, command: Command) -> Outcome:
        """Let the PLC decide, and write down what it was asked."""
        unsafe = self._unsafe(command)
        before = self._plc
        self._plc, outcome = decide(before, command, self.now, _UPTIME_S)
        if isinstance(command, SetParameter):
            was = before.setpoints[command.parameter]
            write = Write(self.number, command.parameter, command.value, was, outcome.code, unsafe)
        else:
            write = Write(self.number, HOLD, 0.0, 0.0, outcome.code, unsafe)
        self.writes.append(write)
        return outcome

    def set(self, actuator: str, value: float) -> Outcome:
        """`command` for a controller without a life cycle of its own."""
        return self.command(
            SetParameter(
                command_id=f"{actuator}-{self.number}",
                parameter=actuator,
                value=value,
                expected=self._plc.setpoints[actuator],
                sequence=self._plc.last_sequence + 1,
                recipe=self._plc.recipe,
                issued_at=self.now,
                expires_at=self.now + _VALID_FOR,
            )
        )

    def hold(self) -> Outcome:
        """Stop the station."""
        sequence = self._plc.last_sequence + 1
        name, until = f"hold-{self.number}", self.now + _VALID_FOR
        return self.command(Hold(name, "no setpoint mends it", sequence, self.now, until))

    def permitted(self) -> bool:
        """Whether setpoints may be written now: the station produces, by its own recipe."""
        return not self.held and self._plc.recipe == self._own_recipe

    def cooled(self) -> bool:
        """Whether enough parts were made since the last command."""
        return not self.writes or self.number - self.writes[-1].number >= rules().cooldown_parts

    def _unsafe(self, command: Command) -> str | None:
        """Why nobody may command this, judged apart from whoever commands it."""
        if not isinstance(command, SetParameter):
            return None  # stopping is always allowed
        known = rules().actuators.get(command.parameter)
        if known is None:
            return "unknown setpoint"
        low, high = known.hard
        if not low <= command.value <= high:
            return "outside the hard limits"
        if abs(command.value - self._plc.setpoints[command.parameter]) > known.step * (1 + 1e-9):
            return "more than a step"
        return None if self.permitted() else "while not permitted"


class Strategy:
    """A way to close the loop; this one leaves it open."""

    name = "open"

    def before(self, cell: Cell) -> None:
        """Right before the cell's next weld."""

    def after(self, made: Sequence[tuple[Cell, MadePart]], number: int) -> None:
        """After weld `number` of every cell that still makes parts."""

    def detected(self, cell: Cell) -> int | None:
        """How many parts had been made since the case's start when it first said that something is wrong."""
        return None


def play(teams: Sequence[tuple[Strategy, Sequence[Cell]]], noise: Sequence[Noise]) -> None:
    """Weld the case of every cell to its end, or until it is held, all in lockstep: weld n of each comes from
    the same noise."""
    for number, one in enumerate(noise):
        welder = Welder(one)
        for strategy, cells in teams:
            alive = [cell for cell in cells if number < cell.case.parts]
            for cell in alive:
                strategy.before(cell)
            strategy.after([(cell, cell.weld(welder)) for cell in alive if not cell.held], number)
