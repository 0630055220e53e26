"""Which joints a vehicle has, and which vehicles have joints of a station and time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from twinloop.contracts.field import BuiltJoint, VehicleBuilt
from twinloop.contracts.times import unix_ns
from twinloop.controller.field.policy import HOUR_NS

_DAY_NS = 24 * HOUR_NS


class Genealogy:
    """Every vehicle as it was built. Folding is idempotent and knows no order: the newest build counts.

    Of what was told of one build, the same `observed_at`, counts what was told last: it is a correction.
    """

    def __init__(self) -> None:
        self._built: dict[str, VehicleBuilt] = {}
        self._joints: dict[str, dict[int, BuiltJoint]] = {}
        self._vehicles: dict[str, dict[int, set[str]]] = {}
        """By station and day of welding (UTC, since 1970)."""

    def fold(self, built: VehicleBuilt) -> bool:
        """Take up a vehicle; False when nothing has changed."""
        known = self._built.get(built.vehicle)
        if known is not None and _rank(built) <= _rank(known):
            return False
        self._built[built.vehicle] = built
        if known is not None and (known.observed_at, known.packs) == (built.observed_at, built.packs):
            return False  # told again; `at` counts all the same, or the order of records would
        for station, day in self._places(built.vehicle):
            self._leave(station, day, built.vehicle)
        self._joints[built.vehicle] = {joint.cell_group: joint for joint in built.joints()}
        for station, day in self._places(built.vehicle):
            self._vehicles.setdefault(station, {}).setdefault(day, set()).add(built.vehicle)
        return True

    def _places(self, vehicle: str) -> set[tuple[str, int]]:
        """The stations and days that the vehicle has joints from."""
        return {(one.station, _day(one.welded_at)) for one in self._joints.get(vehicle, {}).values()}

    def _leave(self, station: str, day: int, vehicle: str) -> None:
        days = self._vehicles[station]
        days[day].discard(vehicle)
        if not days[day]:
            del days[day]
        if not days:
            del self._vehicles[station]

    def __len__(self) -> int:
        return len(self._built)

    def __contains__(self, vehicle: str) -> bool:
        return vehicle in self._built

    def built_at(self, vehicle: str) -> datetime | None:
        """When `vehicle` left the line with the pack that it has now, `None` when it is unknown."""
        built = self._built.get(vehicle)
        return None if built is None else built.observed_at

    def current(self, vehicle: str, built_at: datetime | None, observed_at: datetime) -> bool:
        """Whether what was observed at `observed_at`, and judged by the build of `built_at` if that was told,
        is of the pack that `vehicle` has now. False when the vehicle is unknown."""
        now = self.built_at(vehicle)
        if now is None:
            return False
        return observed_at >= now if built_at is None else built_at == now

    @property
    def vehicles(self) -> tuple[str, ...]:
        """Pseudonyms, sorted: the same whatever the order in which they came."""
        return tuple(sorted(self._built))

    @property
    def stations(self) -> tuple[str, ...]:
        """Every station that has welded a joint of any vehicle, sorted."""
        return tuple(sorted(self._vehicles))

    def joint(self, vehicle: str, cell_group: int) -> BuiltJoint | None:
        """The joint of a vehicle's cell group, `None` when it is unknown."""
        return self._joints.get(vehicle, {}).get(cell_group)

    def joints(self, vehicle: str) -> tuple[BuiltJoint, ...]:
        """All joints of a vehicle, by cell group; () when the vehicle is unknown."""
        return tuple(joint for _, joint in sorted(self._joints.get(vehicle, {}).items()))

    def every_joint(self) -> Iterator[tuple[str, BuiltJoint]]:
        """All vehicles' joints."""
        return ((vehicle, joint) for vehicle, mine in self._joints.items() for joint in mine.values())

    def made_in(self, station: str, start: datetime, end: datetime) -> Iterator[tuple[str, BuiltJoint]]:
        """Vehicles and their joints that `station` welded in [`start`, `end`), in no order. How long it takes
        depends on how many vehicles have joints from those days, and not on how many there are."""
        first, last = _day(start), _day(end)
        days = self._vehicles.get(station, {})
        some = set[str]().union(*(those for day, those in days.items() if first <= day <= last))
        return (
            (vehicle, joint)
            for vehicle in some
            for joint in self._joints[vehicle].values()
            if joint.station == station and start <= joint.welded_at < end
        )


def _day(at: datetime) -> int:
    return unix_ns(at) // _DAY_NS


def _rank(built: VehicleBuilt) -> tuple[datetime, datetime, str]:
    return built.observed_at, built.at, built.event_id
