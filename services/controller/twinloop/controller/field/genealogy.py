"""Which joints a vehicle has, and which vehicles have joints of a station and time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from twinloop.contracts.field import BuiltJoint, VehicleBuilt


class Genealogy:
    """Every vehicle as it was built. Folding is idempotent and knows no order: the newest build counts.

    Of what was told of one build, the same `observed_at`, counts what was told last: it is a correction.
    """

    def __init__(self) -> None:
        self._built: dict[str, VehicleBuilt] = {}
        self._joints: dict[str, dict[int, BuiltJoint]] = {}

    def fold(self, built: VehicleBuilt) -> bool:
        """Take up a vehicle; False when nothing has changed."""
        known = self._built.get(built.vehicle)
        if known is not None and _rank(built) <= _rank(known):
            return False
        self._built[built.vehicle] = built
        if known is not None and (known.observed_at, known.packs) == (built.observed_at, built.packs):
            return False  # told again; `at` counts all the same, or the order of records would
        self._joints[built.vehicle] = {joint.cell_group: joint for joint in built.joints()}
        return True

    def __len__(self) -> int:
        return len(self._built)

    def __contains__(self, vehicle: str) -> bool:
        return vehicle in self._built

    @property
    def vehicles(self) -> tuple[str, ...]:
        """Pseudonyms, sorted: the same whatever the order in which they came."""
        return tuple(sorted(self._built))

    @property
    def stations(self) -> tuple[str, ...]:
        """Every station that has welded a joint of any vehicle, sorted."""
        return tuple(sorted({joint.station for _, joint in self.every_joint()}))

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
        """Vehicles and their joints that `station` welded in [`start`, `end`)."""
        return (
            (vehicle, joint)
            for vehicle, joint in self.every_joint()
            if joint.station == station and start <= joint.welded_at < end
        )


def _rank(built: VehicleBuilt) -> tuple[datetime, datetime, str]:
    return built.observed_at, built.at, built.event_id
