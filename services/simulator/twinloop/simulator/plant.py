"""The plant: its stations, each with a PLC and a part counter, welding campaigns. No I/O.

A station that has welded since the process began keeps counting through every campaign; a campaign resets the
noise, the faults, the setpoints and the state, as an operator at the panel would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from twinloop.simulator import faults as inject
from twinloop.simulator.campaign import Campaign, Run, begin, next_welds, welded
from twinloop.simulator.faults import Fault
from twinloop.simulator.plc import (
    FOCUS,
    POWER,
    Command,
    Mode,
    Outcome,
    PlcFaults,
    PlcState,
    Range,
    decide,
    new_plc,
    reset,
)
from twinloop.simulator.process import Setpoints, draw_noise, weld
from twinloop.simulator.trials import ends_at, set_at_the_machine, trial_of, under_glass


@dataclass(frozen=True, slots=True)
class StationSpec:
    """A station of the plant: the recipe it runs, and the PLC's own limits."""

    recipe: str
    power_w: Range
    focus_mm: Range


@dataclass(frozen=True, slots=True, eq=False)
class MadePart:
    """A weld as the station reports it.

    `signals` float32 [time, signal]; `number` counts from 0 within the campaign, `sequence` is the station's
    part counter. `missing` signals are not reported. `clock_offset_s`: how wrong the station's clock is.
    """

    station: str
    number: int
    sequence: int
    part_id: str
    signals: NDArray[np.float32]
    missing: frozenset[str]
    resistance_uohm: float
    power_w: float
    focus_mm: float
    recipe: str
    clock_offset_s: float
    loses_birth: bool


class Plant:
    """All stations. `first_part` is the first part counter of each; it must grow from process to process."""

    def __init__(self, stations: Mapping[str, StationSpec], first_part: int) -> None:
        self._specs = dict(stations)
        self._plcs = {
            name: new_plc({POWER: spec.power_w, FOCUS: spec.focus_mm}, spec.recipe)
            for name, spec in stations.items()
        }
        self._counters = dict.fromkeys(stations, first_part - 1)
        self._run: Run | None = None
        self._noise = np.random.default_rng()

    @property
    def stations(self) -> tuple[str, ...]:
        """The names of the stations."""
        return tuple(self._specs)

    @property
    def run(self) -> Run | None:
        """The campaign at the panel, `None` before the first."""
        return self._run

    def plc(self, station: str) -> PlcState:
        """What the PLC of `station` knows."""
        return self._plcs[station]

    def counter(self, station: str) -> int:
        """The part counter of `station`: the sequence of the last part it made."""
        return self._counters[station]

    def command(self, station: str, command: Command, now: datetime) -> Outcome:
        """Let the PLC of `station` decide `command`; what it changes takes effect with the next part."""
        self._plcs[station], outcome = decide(self._plcs[station], command, now)
        return outcome

    def start(self, campaign: Campaign) -> Run:
        """Reset the stations of `campaign` and begin it, in place of the one under way.

        Raises `KeyError` for a station that is not of this plant.
        """
        for name in campaign.stations:
            plc = reset(self._plcs[name], campaign.plc.get(name, PlcFaults()))
            self._plcs[name] = replace(plc, recipe=self._specs[name].recipe)
        self._noise = np.random.default_rng(campaign.seed)
        self._run = begin(campaign)
        return self._run

    def weld_next(self) -> list[MadePart]:
        """Make the next weld at every station of the campaign that is not held; [] when there is none."""
        if self._run is None or self._run.finished:
            return []
        run, stations = next_welds(self._run, self._held())
        noise = draw_noise(self._noise)
        made = [self._weld(name, run.campaign, run.number, noise) for name in stations]
        self._run = welded(run, {part.station: part.sequence for part in made})
        return made

    def _held(self) -> frozenset[str]:
        return frozenset(name for name, plc in self._plcs.items() if plc.mode is Mode.HELD)

    def _weld(self, station: str, campaign: Campaign, number: int, noise: NDArray[np.float64]) -> MadePart:
        faults: tuple[Fault, ...] = campaign.faults.get(station, ())
        trial = trial_of(campaign.trials, number)
        recipe = inject.recipe_in_force(faults, number, self._specs[station].recipe)
        plc = replace(self._plcs[station], recipe=recipe)
        if trial is not None or ends_at(campaign.trials, number):
            plc = set_at_the_machine(plc, trial)
        self._plcs[station] = plc
        setpoints = Setpoints(plc.setpoints[POWER], plc.setpoints[FOCUS])
        result = weld(setpoints, under_glass(inject.conditions(faults, number), trial), noise)
        sequence = self._counters[station] = self._counters[station] + 1
        return MadePart(
            station=station,
            number=number,
            sequence=sequence,
            part_id=f"{station}-{sequence:012d}",
            signals=inject.disturb_signals(faults, number, result.signals),
            missing=inject.missing_signals(faults, number),
            resistance_uohm=result.measured_uohm,
            power_w=setpoints.power_w,
            focus_mm=setpoints.focus_mm,
            recipe=recipe,
            clock_offset_s=inject.clock_offset_s(faults, number),
            loses_birth=inject.loses_its_birth(faults, number),
        )
