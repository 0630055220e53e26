"""Fleets with a known fault, or with none, and the evidence that they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from twinloop.contracts.field import (
    VEHICLE,
    VehicleAnomaly,
    VehicleBuilt,
    VehicleScore,
)
from twinloop.contracts.ids import event_id, trace_id
from twinloop.contracts.times import unix_ns
from twinloop.controller.field.evidence import Table
from twinloop.controller.field.policy import WEEK_NS, Grid
from twinloop.simulator.fleets.built import vehicle_built
from twinloop.simulator.fleets.fleet import Customers, Fleet, FleetSpec, Spell, build, seams
from twinloop.simulator.fleets.months import BASELINE_SE_UOHM, SE_UOHM, Anomalies, anomalies

DAYS = 240
"""So long the fleet is followed, from the first vehicle on."""
SPEC = FleetSpec()
_SEAMS = seams()

Draw = Callable[[np.random.Generator], FleetSpec]


@dataclass(frozen=True)
class Scene:
    """A fleet, what it showed, and its spell, if it has one."""

    fleet: Fleet
    shown: Anomalies

    @property
    def spell(self) -> Spell | None:
        """The fault that is to be found."""
        return self.fleet.spec.spells[0] if self.fleet.spec.spells else None


def a_spell(draw: np.random.Generator, spec: FleetSpec = SPEC) -> FleetSpec:
    """One to four days at one station with 88 to 92 % of the light."""
    start = draw.uniform(5, 52) * 24
    return replace(
        spec,
        spells=(
            Spell(
                int(draw.integers(len(spec.stations))),
                start,
                start + draw.uniform(1, 4) * 24,
                draw.uniform(0.88, 0.92),
            ),
        ),
    )


def nothing(_: np.random.Generator) -> FleetSpec:
    """Cracks come by chance, at all stations alike."""
    return SPEC


def more_chance(_: np.random.Generator) -> FleetSpec:
    """Six times as many of them, at all stations alike: a bad batch of foil, say."""
    return replace(SPEC, crack_per_joint=6 * SPEC.crack_per_joint)


def harsh_customers(draw: np.random.Generator) -> FleetSpec:
    """Three days' vehicles went where cracks start sixty times as often, whoever welded them."""
    start = draw.uniform(5, 52)
    return replace(SPEC, customers=(Customers(start, start + 3, harsh=60.0),))


def far_drivers(draw: np.random.Generator) -> FleetSpec:
    """A week's vehicles drive four times as far, and so show sooner what all would show."""
    start = draw.uniform(5, 48)
    return replace(more_chance(draw), customers=(Customers(start, start + 7, far=4.0),))


def spell_among_traps(draw: np.random.Generator) -> FleetSpec:
    """A spell, while cracks come six times as often by chance and a week's vehicles drive far."""
    return replace(far_drivers(draw), spells=a_spell(draw).spells)


def spell_of_two(draw: np.random.Generator) -> FleetSpec:
    """A spell where only two stations weld: half of a vehicle's joints are from the one that has it."""
    return a_spell(draw, replace(SPEC, stations=SPEC.stations[:2]))


SCENES: dict[str, Draw] = {
    "spell": a_spell,
    "spell_among_traps": spell_among_traps,
    "nothing": nothing,
    "more_chance": more_chance,
    "harsh_customers": harsh_customers,
    "far_drivers": far_drivers,
    "spell_of_two": spell_of_two,
}


def play(name: str, seed: int) -> Scene:
    """The scene of this name, drawn from `seed`."""
    draw = np.random.default_rng([seed, list(SCENES).index(name)])
    fleet = build(SCENES[name](draw), draw, _SEAMS)
    return Scene(fleet, anomalies(fleet, draw, DAYS * 24.0))


def grid_of(spec: FleetSpec) -> Grid:
    """A quarter from five days before the first vehicle on: modules are older than their vehicles."""
    return Grid(origin=spec.start - timedelta(days=5))


def table_of(scene: Scene, grid: Grid) -> Table:
    """All evidence, laid out without the detour through events; a test holds the two against each other."""
    fleet, shown = scene.fleet, scene.shown
    spec = fleet.spec
    offset_h = (spec.start - grid.origin) / timedelta(hours=1)
    bins = np.floor((fleet.welded_h + offset_h) / grid.bin_h).astype(np.int64)
    inside = (bins >= 0) & (bins < grid.bins)
    joints = np.zeros((spec.vehicles, len(spec.stations), grid.bins), np.int16)
    rows = np.broadcast_to(np.arange(spec.vehicles)[:, None], bins.shape)
    np.add.at(joints, (rows[inside], fleet.station[inside], bins[inside]), 1)
    weeks = week_of(spec, grid, DAYS * 24.0) + 1
    km = np.full((spec.vehicles, weeks), np.nan)
    for week, at_h in reports(spec, grid):
        driven = fleet.distance_km(at_h)
        km[:, week] = np.where(driven > 0, driven, np.nan)
    clearest = np.lexsort((-shown.z, shown.at_h))
    _, first = np.unique(shown.vehicle[clearest], return_index=True)
    kept = clearest[np.sort(first)]
    vehicle, group = shown.vehicle[kept], shown.group[kept]
    where = bins[vehicle, group]
    return Table(
        stations=spec.stations,
        vehicles=tuple(name(one) for one in range(spec.vehicles)),
        joints=joints,
        total=np.full(spec.vehicles, spec.groups),
        km=km,
        vehicle=vehicle,
        station=fleet.station[vehicle, group],
        bin=np.where(inside[vehicle, group], where, -1),
        week=np.array([week_of(spec, grid, at) for at in shown.at_h[kept]], np.int64),
        distance_km=shown.distance_km[kept],
        event_id=tuple(event_id("vehicle_anomaly", name(v), g) for v, g in zip(vehicle, group, strict=True)),
    )


def name(vehicle: int) -> str:
    """A pseudonym."""
    return f"{vehicle:032x}"


def week_of(spec: FleetSpec, grid: Grid, at_h: float) -> int:
    """Weeks since that of the grid's origin."""
    at = unix_ns(spec.start) + int(at_h * 3.6e12)
    return at // WEEK_NS - unix_ns(grid.origin) // WEEK_NS


def reports(spec: FleetSpec, grid: Grid) -> Iterator[tuple[int, float]]:
    """When vehicles send their scores: week, and hours since the first vehicle, the last of each week."""
    for at_h in range(0, DAYS * 24, 24):
        week = week_of(spec, grid, at_h)
        if week_of(spec, grid, at_h + 24) > week:
            yield week, float(at_h)


def events_of(scene: Scene, grid: Grid) -> Iterator[VehicleBuilt | VehicleScore | VehicleAnomaly]:
    """The same as it comes through Kafka."""
    fleet, shown = scene.fleet, scene.shown
    spec = fleet.spec
    for vehicle in range(spec.vehicles):
        level, se = np.zeros(spec.groups), np.full(spec.groups, BASELINE_SE_UOHM)
        yield vehicle_built(fleet, vehicle, name(vehicle), level, se)
    for _, at_h in reports(spec, grid):
        at = spec.start + timedelta(hours=at_h)
        for vehicle, km in enumerate(fleet.distance_km(at_h)):
            if km > 0:
                yield VehicleScore(
                    event_id=event_id("vehicle_score", name(vehicle), at_h),
                    asset=VEHICLE + name(vehicle),
                    at=at,
                    observed_at=at,
                    trace_id=trace_id("vehicle_score", name(vehicle)),
                    distance_km=float(km),
                    snippets=7,
                    worst_cell_group=0,
                    worst_z=0.0,
                    model="cells",
                    model_version=1,
                )
    for row, (vehicle, group) in enumerate(zip(shown.vehicle, shown.group, strict=True)):
        at = spec.start + timedelta(hours=float(shown.at_h[row]))
        yield VehicleAnomaly(
            event_id=event_id("vehicle_anomaly", name(vehicle), group),
            asset=VEHICLE + name(vehicle),
            at=at,
            observed_at=at,
            trace_id=trace_id("vehicle_anomaly", name(vehicle)),
            cell_group=int(group),
            delta_r_uohm=float(shown.gained_uohm[row]),
            se_uohm=float(np.hypot(SE_UOHM, BASELINE_SE_UOHM)),
            z=float(shown.z[row]),
            distance_km=float(shown.distance_km[row]),
            model="cells",
            model_version=1,
            input_digest="",
        )
