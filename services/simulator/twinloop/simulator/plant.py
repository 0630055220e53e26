"""The plant: its stations, each with a PLC and a part counter, welding campaigns. No I/O.

A station that has welded since the process began keeps counting through every campaign; a campaign resets the
noise, the faults, the setpoints and the state, as an operator at the panel would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from twinloop.simulator import faults as inject
from twinloop.simulator.campaign import Campaign, Run, begin, next_welds, welded
from twinloop.simulator.commands import FOCUS, LIMIT, POWER, Command, Outcome
from twinloop.simulator.faults import Fault
from twinloop.simulator.plc import decide, new_plc, reset
from twinloop.simulator.plc_faults import HEALTHY
from twinloop.simulator.plc_state import WATCHDOG_S, Mode, PlcState, Range, tick
from twinloop.simulator.process import Setpoints, draw_noise, weld
from twinloop.simulator.trials import ends_at, set_at_the_machine, trial_of, under_glass

GATE = Range(nominal=55.0, low=42.0, high=60.0, max_step=15.0)
"""The PLC's limits of the end-of-line limit, µΩ, where the plant's file does not say."""


@dataclass(frozen=True, slots=True)
class StationSpec:
    """A station of the plant: the recipe it runs, the PLC's own limits, and its watchdog's patience."""

    recipe: str
    power_w: Range
    focus_mm: Range
    watchdog_s: float = WATCHDOG_S
    end_of_line_limit_uohm: Range = GATE


@dataclass(frozen=True, slots=True, eq=False)
class MadePart:
    """A weld as the station reports it.

    `signals` float32 [time, signal]; `number` counts from 0 within the campaign, `sequence` is the station's
    part counter. A `rejected` part measured more than `limit_uohm`, the gate in force, and is
    scrap. `missing` signals are not reported. `clock_offset_s`: how wrong the station's clock is.
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
    limit_uohm: float
    rejected: bool
    recipe: str
    clock_offset_s: float
    loses_birth: bool


class Plant:
    """All stations. `first_part` is the first part counter of each; it must grow from process to process."""

    def __init__(self, stations: Mapping[str, StationSpec], first_part: int) -> None:
        self._specs = dict(stations)
        self._plcs = {
            name: new_plc(ranges(spec), spec.recipe, spec.watchdog_s) for name, spec in stations.items()
        }
        self._counters = dict.fromkeys(stations, first_part - 1)
        self._past = dict.fromkeys(stations, first_part)
        self._run: Run | None = None
        self._noise: dict[str, np.random.Generator] = {}

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

    def past_parts(self, station: str, count: int) -> int:
        """The first of `count` part counters that lie before those of this process, and are used now.

        Of parts that were made months ago in event time. Raises `ValueError` when there are not so many.
        """
        if self._past[station] <= count:
            raise ValueError(f"{station} has only made {self._past[station] - 1} parts before")
        self._past[station] -= count
        return self._past[station]

    def spec(self, station: str) -> StationSpec:
        """What `station` is."""
        return self._specs[station]

    def command(self, station: str, command: Command, now: datetime, uptime_s: float) -> Outcome:
        """Let the PLC of `station` decide `command`; what it changes takes effect with the next part."""
        self._plcs[station], outcome = decide(self._plcs[station], command, now, uptime_s)
        return outcome

    def operate(self, station: str, act: Callable[[PlcState], PlcState]) -> PlcState:
        """Let the operator of `station` act (see `by_hand`); what the PLC knows afterwards."""
        self._plcs[station] = act(self._plcs[station])
        return self._plcs[station]

    def tick(self, uptime_s: float) -> None:
        """Time goes on for every PLC: it is `uptime_s` after their start."""
        for name, plc in self._plcs.items():
            self._plcs[name] = tick(plc, uptime_s)

    def start(self, campaign: Campaign) -> Run:
        """Reset the stations of `campaign` and begin it, in place of the one under way.

        Raises `KeyError` for a station that is not of this plant.
        """
        for name in campaign.stations:
            before = self._plcs[name]
            plc = reset(before, campaign.plc.get(name, HEALTHY).at(0))
            if campaign.keep_setpoints:
                plc = replace(plc, setpoints=before.setpoints, local_setpoints=before.local_setpoints)
            self._plcs[name] = replace(plc, recipe=self._specs[name].recipe)
        self._noise = {
            name: np.random.default_rng((campaign.seed, n) if campaign.own_noise else campaign.seed)
            for n, name in enumerate(campaign.stations)
        }
        self._run = begin(campaign)
        return self._run

    def weld_next(self) -> list[MadePart]:
        """Make the next weld at every station of the campaign that is not held; [] when there is none."""
        if self._run is None or self._run.finished:
            return []
        run, stations = next_welds(self._run, self._held())
        for name, faults in run.campaign.plc.items():
            self._plcs[name] = replace(self._plcs[name], faults=faults.at(run.number))
        made = [
            self._weld(name, run.campaign, run.number, draw_noise(self._noise[name])) for name in stations
        ]
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
        limit = plc.setpoints[LIMIT]
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
            limit_uohm=limit,
            rejected=result.measured_uohm > limit,
            recipe=recipe,
            clock_offset_s=inject.clock_offset_s(faults, number),
            loses_birth=inject.loses_its_birth(faults, number),
        )


def ranges(spec: StationSpec) -> dict[str, Range]:
    """The limits of every setpoint that the station's PLC keeps."""
    return {POWER: spec.power_w, FOCUS: spec.focus_mm, LIMIT: spec.end_of_line_limit_uohm}
