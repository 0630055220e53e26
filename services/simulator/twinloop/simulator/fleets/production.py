"""From a line's welds to vehicles: which joint went into which module, pack and vehicle. Pure.

Every joint is welded by the plant's own equations (`process.weld_joints`), at the setpoints in force at its
station and under its faults, one after the other at the line's pace. What measures more than the station's
gate is scrap and goes nowhere. Twelve good joints in a row are a module; modules wait in a buffer for as long
as chance has it; a pack takes as many from each station, in an order of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twinloop.simulator import faults as inject
from twinloop.simulator.faults import Fault
from twinloop.simulator.fleets.fleet import REFERENCE_KM, Fleet, FleetSpec, aged
from twinloop.simulator.fleets.vehicle import cells, frames, measured_delta_uohm
from twinloop.simulator.process import Conditions, Setpoints, weld_joints

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_WELDS_A_JOINT: Final = 3
TESTER_MINUTES: Final = 5
"""So many minutes a pack is driven on the tester at the end of its line."""
_CHUNK: Final = 2400
_PACKS_AT_ONCE: Final = 50


class TooMuchScrap(Exception):
    """Raised when a station welds and welds and hardly a joint passes its gate.

    Operator action: let the fault end, or open the gate.
    """


@dataclass(frozen=True, slots=True)
class Station:
    """A station as the fleet's joints are welded: its asset, setpoints, gate (µΩ) and faults.

    Faults are by weld, from 0 within this production. Its part counter begins at `first_sequence`.
    """

    asset: str
    setpoints: Setpoints
    limit_uohm: float
    faults: tuple[Fault, ...]
    first_sequence: int


@dataclass(frozen=True, slots=True, eq=False)
class Welds:
    """What a station has welded, in order: hours, f, resistances (µΩ), what was scrap or under a fault."""

    welded_h: Floats
    width: Floats
    resistance_uohm: Floats
    measured_uohm: Floats
    rejected: NDArray[np.bool_]
    faulty: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Production:
    """The fleet, what every station has welded for it, and what its packs are.

    `cell_ohm` and `joint_uohm` [V, G] are the resistances as built; the pack line's tester has measured
    `baseline_uohm`, each group's ΔR, with the standard error `baseline_se_uohm`.
    """

    fleet: Fleet
    welds: Mapping[str, Welds]
    cell_ohm: Floats
    joint_uohm: Floats
    baseline_uohm: Floats
    baseline_se_uohm: Floats

    def group_ohm(self, vehicles: Ints, distance_km: Floats) -> Floats:
        """Cells with joints, [N, G], of these vehicles [N] at these distances [N]."""
        fleet = self.fleet
        relative = distance_km[:, None] / REFERENCE_KM
        gained = fleet.crack_uohm[vehicles] * relative**1.5 + fleet.drift_uohm[vehicles] * relative
        return np.asarray(self.cell_ohm[vehicles] + 1e-6 * (self.joint_uohm[vehicles] + gained))


def produce(spec: FleetSpec, stations: Sequence[Station], generator: np.random.Generator) -> Production:
    """Weld, scrap, assemble. `spec.stations` are the stations' assets. Raises `TooMuchScrap`."""
    turn = np.arange(spec.modules) % len(stations)
    slots = generator.permuted(np.tile(turn, (spec.vehicles, 1)), axis=1)
    shape = (spec.vehicles, spec.modules, spec.groups_per_module)
    period_h = 24 / (spec.vehicles_per_day * spec.groups)
    sequence, welded_h = np.empty(shape, np.int64), np.empty(shape)
    width, resistance, measured = np.empty(shape), np.empty(shape), np.empty(shape)
    faulty, available_h = np.empty(shape, np.bool_), np.empty(shape[:2])
    welds = {}
    for number, station in enumerate(stations):
        mine = slots == number
        modules = int(mine.sum())
        share = modules / slots.size
        made = _weld(station, modules * spec.groups_per_module, period_h / share, generator)
        good = np.flatnonzero(~made.rejected).reshape(modules, spec.groups_per_module)
        waited_h = generator.gamma(4.0, spec.buffer_h / 4, modules)
        ready_h = made.welded_h[good[:, -1]] + waited_h
        taken = good[order := np.argsort(ready_h, kind="stable")]
        sequence[mine] = station.first_sequence + taken
        available_h[mine] = ready_h[order]
        for into, what in (
            (welded_h, made.welded_h),
            (width, made.width),
            (resistance, made.resistance_uohm),
            (measured, made.measured_uohm),
            (faulty, made.faulty),
        ):
            into[mine] = what[taken]
        welds[station.asset] = made
    flat = (spec.vehicles, spec.groups)
    fleet = aged(
        spec,
        generator,
        built_h=np.maximum.accumulate(available_h.max(axis=1)),
        station=np.repeat(slots, spec.groups_per_module, axis=1),
        sequence=sequence.reshape(flat),
        welded_h=welded_h.reshape(flat),
        width=width.reshape(flat),
        measured_uohm=measured.reshape(flat),
        marginal=faulty.reshape(flat),
    )
    joint_uohm = resistance.reshape(flat)
    cell_ohm = cells(generator, *flat)
    baseline, se = _tested(cell_ohm + 1e-6 * joint_uohm, generator)
    return Production(fleet, welds, cell_ohm, joint_uohm, baseline, se)


def _tested(group_ohm: Floats, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """ΔR of every group and its standard error, [V, G], as the pack line's tester finds them.

    Through voltages, as on the road: what the pack's median voltage is beside its median group is then in
    both, and drops out of their difference.
    """
    deltas, errors = [], []
    for first in range(0, len(group_ohm), _PACKS_AT_ONCE):
        packs = group_ohm[first : first + _PACKS_AT_ONCE]
        minutes = np.repeat(packs, TESTER_MINUTES, axis=0)
        delta, se = measured_delta_uohm(frames(generator, minutes, np.zeros(len(minutes))))
        deltas.append(delta.reshape(len(packs), TESTER_MINUTES, -1).mean(axis=1))
        errors.append(np.sqrt(np.square(se.reshape(len(packs), -1)).sum(axis=1)) / TESTER_MINUTES)
    return np.concatenate(deltas), np.repeat(np.concatenate(errors)[:, None], group_ohm.shape[1], axis=1)


def _weld(station: Station, wanted: int, period_h: float, generator: np.random.Generator) -> Welds:
    """As many welds as it takes for `wanted` good ones, and none after the last of them."""
    parts: list[tuple[Floats, Floats, Floats]] = []
    faulty: list[bool] = []
    good = 0
    healthy = Conditions()
    while good < wanted:
        first = len(faulty)
        if first >= MOST_WELDS_A_JOINT * wanted + _CHUNK:
            raise TooMuchScrap(
                f"{station.asset}: {good} of {first} joints pass the gate of {station.limit_uohm:g} µΩ"
            )
        count = min(_CHUNK, max(12, wanted - good))
        where = [inject.conditions(station.faults, first + number) for number in range(count)]
        made = weld_joints(station.setpoints, where, generator)
        faulty += [one != healthy for one in where]
        good += int((made[2] <= station.limit_uohm).sum())
        parts.append(made)
    width, resistance, measured = (np.concatenate(part) for part in zip(*parts, strict=True))
    rejected = measured > station.limit_uohm
    last = int(np.flatnonzero(~rejected)[wanted - 1]) + 1
    return Welds(
        np.arange(last, dtype=np.float64) * period_h,
        width[:last],
        resistance[:last],
        measured[:last],
        rejected[:last],
        np.array(faulty[:last]),
    )
