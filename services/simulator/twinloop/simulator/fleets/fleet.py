"""Vehicles, the stations that welded their joints, and how the joints age. Pure, vectorised, illustrative.

A weld's seam width f comes from the plant's own equations (`process.weld`) at the window transmission in
force. While a station's window is slightly dirty, f is marginal: the joint passes the end-of-line limit, and
the chance that a crack starts in it grows with (1/f − 1)². A crack lets the resistance grow with the distance
driven, faster in some joints and vehicles than in others. Cracks start for other reasons, too, at every
station; and cells age each in its own way. The form of all this is ours: it is not validated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twinloop.simulator.process import Conditions, Setpoints, draw_noise, weld

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BAD_UOHM: Final = 55.0
METER_UOHM: Final = 2.0
REFERENCE_KM: Final = 20_000.0

_TAUS: Final = np.array([0.80, 0.83, 0.86, 0.88, 0.90, 0.92, 0.94, 0.97, 1.0])
_DRAWS: Final = 200


@dataclass(frozen=True, slots=True)
class Spell:
    """A while when the window of `station`, an index, passes less light. Hours after the first vehicle."""

    station: int
    from_h: float
    to_h: float
    window_transmission: float = 0.90


@dataclass(frozen=True, slots=True)
class Customers:
    """Who bought the vehicles of these days drives where cracks start `harsh` times as often, or `far` times
    as far: no station's fault, and a trap for who compares vehicles without regard to either."""

    from_day: float
    to_day: float
    harsh: float = 1.0
    far: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetSpec:
    """What is built. Every vehicle has one pack; its modules come in equal numbers from all stations.

    `crack_per_joint` starts cracks anywhere; a marginal joint's chance is more by `crack_marginal`·(1/f − 1)²
    within `REFERENCE_KM`. Times are hours or days since the first vehicle; negative ones are before it.
    """

    stations: tuple[str, ...] = tuple(f"acme.berlin.packs.line1.weld{number}" for number in range(1, 5))
    vehicles: int = 2400
    vehicles_per_day: float = 40.0
    modules: int = 8
    groups_per_module: int = 12
    buffer_h: float = 24.0
    recipe: str = "tab-cu-al/3"
    start: datetime = datetime(2026, 1, 5, tzinfo=UTC)
    crack_per_joint: float = 5e-5
    crack_marginal: float = 0.2
    growth_uohm: float = 150.0
    cell_drift_uohm: float = 3.0
    km_per_day: float = 45.0
    spells: tuple[Spell, ...] = ()
    customers: tuple[Customers, ...] = ()

    @property
    def groups(self) -> int:
        """Cell groups, and so joints, of a vehicle."""
        return self.modules * self.groups_per_module


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """What was built, and how it will age. V vehicles of G joints; the cell group is the second index.

    `station` indexes `spec.stations`; `sequence` is the station's part counter; `welded_h`, `built_h` and
    `on_road_h` are hours since the first vehicle. `width` is f and `measured_uohm` the end-of-line meter's
    reading. `crack_uohm` and `drift_uohm` are what joint and cell gain by `REFERENCE_KM`; `marginal` joints
    were made while their station's window was dirty.
    """

    spec: FleetSpec
    built_h: Floats
    on_road_h: Floats
    km_per_day: Floats
    station: Ints
    sequence: Ints
    welded_h: Floats
    width: Floats
    measured_uohm: Floats
    cracked: NDArray[np.bool_]
    crack_uohm: Floats
    drift_uohm: Floats
    marginal: NDArray[np.bool_]

    def distance_km(self, at_h: float) -> Floats:
        """Odometers at `at_h`, [V]; 0 before a vehicle is on the road."""
        return np.asarray(np.maximum(0.0, at_h - self.on_road_h) / 24 * self.km_per_day)

    def gained_uohm(self, distance_km: Floats) -> Floats:
        """What every joint with its cell has gained on its end-of-line value, [V, G], at distances [V]."""
        relative = distance_km[:, None] / REFERENCE_KM
        return np.asarray(self.crack_uohm * relative**1.5 + self.drift_uohm * relative)

    def joint_uohm(self, distance_km: Floats) -> Floats:
        """Resistance of the joints alone, [V, G]."""
        eol = 30 + 12 / np.maximum(self.width, 0.008)
        return np.asarray(eol + self.crack_uohm * (distance_km[:, None] / REFERENCE_KM) ** 1.5)

    def part_id(self, vehicle: int, group: int) -> str:
        """As the plant names its parts."""
        name = self.spec.stations[self.station[vehicle, group]].rpartition(".")[2]
        return f"{name}-{self.sequence[vehicle, group]:012d}"


def seams(seed: int = 0) -> tuple[Floats, Floats]:
    """Seam width f and resistance of welds at the transmissions `_TAUS`, each [taus, draws].

    One row's welds have the same noise as another's, so what lies between two rows can be interpolated.
    """
    draw = np.random.default_rng(seed)
    noise = [draw_noise(draw) for _ in range(_DRAWS)]
    made = [[weld(Setpoints(), Conditions(window_transmission=tau), one) for one in noise] for tau in _TAUS]
    return (
        np.array([[one.width for one in row] for row in made]),
        np.array([[one.resistance_uohm for one in row] for row in made]),
    )


def build(spec: FleetSpec, generator: np.random.Generator, table: tuple[Floats, Floats]) -> Fleet:
    """Build the fleet; `table` is that of `seams`. What exceeds the end-of-line limit is welded anew."""
    count, groups = spec.vehicles, spec.groups
    built_h = np.arange(count) * 24 / spec.vehicles_per_day
    turn = np.arange(spec.modules) % len(spec.stations)
    stations = generator.permuted(np.tile(turn, (count, 1)), axis=1)
    started = built_h[:, None] - generator.gamma(4.0, spec.buffer_h / 4, (count, spec.modules))
    station = np.repeat(stations, spec.groups_per_module, axis=1)
    within = np.tile(np.arange(spec.groups_per_module), spec.modules) * 40 / 3600
    welded_h = np.repeat(started, spec.groups_per_module, axis=1) + within

    tau = np.ones((count, groups))
    for spell in spec.spells:
        inside = (station == spell.station) & (welded_h >= spell.from_h) & (welded_h < spell.to_h)
        tau[inside] = spell.window_transmission
    width, resistance = _weld(generator, tau, table)
    measured = resistance + METER_UOHM * generator.standard_normal((count, groups))
    again = measured > BAD_UOHM
    width[again], resistance[again] = _weld(generator, np.ones(int(again.sum())), table)
    measured[again] = resistance[again] + METER_UOHM * generator.standard_normal(int(again.sum()))

    return aged(
        spec,
        generator,
        built_h=built_h,
        station=station,
        sequence=_sequences(station, welded_h, len(spec.stations)),
        welded_h=welded_h,
        width=width,
        measured_uohm=measured,
        marginal=(tau < 1.0) & ~again,
    )


def aged(
    spec: FleetSpec,
    generator: np.random.Generator,
    *,
    built_h: Floats,
    station: Ints,
    sequence: Ints,
    welded_h: Floats,
    width: Floats,
    measured_uohm: Floats,
    marginal: NDArray[np.bool_],
) -> Fleet:
    """Vehicles built at `built_h` [V] with these joints, each [V, G], and what will become of them."""
    count, groups = width.shape
    everywhere = np.full(count, spec.crack_per_joint)
    farther = np.ones(count)
    for some in spec.customers:
        theirs = (built_h >= some.from_day * 24) & (built_h < some.to_day * 24)
        everywhere[theirs] *= some.harsh
        farther[theirs] *= some.far
    chance = everywhere[:, None] + spec.crack_marginal * np.square(np.maximum(0.0, 1 / width - 1))
    cracked = generator.random((count, groups)) < chance
    severity = np.exp(0.3 * generator.standard_normal((count, 1)))
    pace = np.exp(0.6 * generator.standard_normal((count, groups)))
    return Fleet(
        spec=spec,
        built_h=built_h,
        on_road_h=built_h + 24 * generator.uniform(7, 35, count),
        km_per_day=farther * spec.km_per_day * np.exp(0.4 * generator.standard_normal(count)),
        station=station,
        sequence=sequence,
        welded_h=welded_h,
        width=width,
        measured_uohm=measured_uohm,
        cracked=cracked,
        crack_uohm=np.where(cracked, spec.growth_uohm * severity * pace, 0.0),
        drift_uohm=spec.cell_drift_uohm * generator.standard_normal((count, groups)),
        marginal=marginal,
    )


def _weld(generator: np.random.Generator, tau: Floats, table: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Width and resistance of welds at transmissions `tau`, by interpolation between welds of equal noise."""
    draw = generator.integers(0, _DRAWS, tau.shape)
    above = np.clip(np.searchsorted(_TAUS, tau), 1, len(_TAUS) - 1)
    share = (tau - _TAUS[above - 1]) / (_TAUS[above] - _TAUS[above - 1])
    width, resistance = ((1 - share) * rows[above - 1, draw] + share * rows[above, draw] for rows in table)
    return width, resistance


def _sequences(station: Ints, welded_h: Floats, stations: int) -> Ints:
    """Part counters: each station's welds in the order of their making, from 1."""
    sequence = np.empty_like(station)
    for one in range(stations):
        mine = station == one
        sequence[mine] = 1 + np.argsort(np.argsort(welded_h[mine], kind="stable"), kind="stable")
    return sequence
