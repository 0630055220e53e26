"""What vehicles have told, folded, and laid out as arrays for the tests.

Folding knows neither order nor repetition: of each vehicle the earliest anomaly counts, for one vehicle
counts once, and of each week the greatest distance. What lies after the time that is looked from has not
happened: a look of last month can be repeated. When a vehicle is built anew (its pack was replaced) what was
told of it before tells nothing of the joints that it has now, and is left out.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.field import VehicleAnomaly, VehicleScore
from twinloop.contracts.times import unix_ns
from twinloop.controller.field.genealogy import Genealogy
from twinloop.controller.field.policy import WEEK_NS, Grid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Evidence as arrays: V vehicles, S stations, B bins of build time, W full weeks since the grid's origin.

    `joints` [V, S, B] are the vehicles' joints by station and bin; `total` [V] counts those outside of the
    grid, too. `km` [V, W] is the greatest distance told of in a week, NaN where none was. The first anomalies
    of vehicles, in the order of time: `vehicle`, `station`, `bin` (−1 outside of the grid), `week`,
    `distance_km` and `event_id`.
    """

    stations: tuple[str, ...]
    vehicles: tuple[str, ...]
    joints: NDArray[np.int16]
    total: Ints
    km: Floats
    vehicle: Ints
    station: Ints
    bin: Ints
    week: Ints
    distance_km: Floats
    event_id: tuple[str, ...]


class Evidence:
    """The fold. Anomalies of vehicles that the genealogy does not know yet are kept until it does."""

    def __init__(self) -> None:
        self._anomalies: dict[str, list[VehicleAnomaly]] = {}
        self._km: dict[str, dict[datetime | None, dict[int, float]]] = {}
        """By vehicle, its build and week."""

    def fold(self, event: VehicleAnomaly | VehicleScore) -> bool:
        """Take up an event; False when nothing has changed."""
        if isinstance(event, VehicleScore):
            return self._exposed(event)
        mine = self._anomalies.setdefault(event.vehicle, [])
        if any(one.event_id == event.event_id for one in mine):
            return False
        insort(mine, event, key=_rank)
        return True

    def first(self, vehicle: str, genealogy: Genealogy) -> VehicleAnomaly | None:
        """The first anomaly of the pack that `vehicle` has now."""
        mine = self._anomalies.get(vehicle, ())
        return next((one for one in mine if genealogy.current(vehicle, one.built_at, one.observed_at)), None)

    def _exposed(self, score: VehicleScore) -> bool:
        week = unix_ns(score.observed_at) // WEEK_NS
        mine = self._km.setdefault(score.vehicle, {}).setdefault(score.built_at, {})
        if score.distance_km <= mine.get(week, -1.0):
            return False
        mine[week] = score.distance_km
        return True

    def _driven(self, vehicle: str, genealogy: Genealogy) -> Iterator[tuple[int, float]]:
        """Weeks since 1970, and the distance told of in each, with the pack that `vehicle` has now."""
        now = genealogy.built_at(vehicle)
        for built_at, weeks in self._km.get(vehicle, {}).items():
            if now is None or built_at not in (None, now):
                continue
            since = unix_ns(now) // WEEK_NS if built_at is None else 0
            yield from ((week, distance) for week, distance in weeks.items() if week >= since)

    def table(self, genealogy: Genealogy, grid: Grid, until: datetime) -> Table:
        """Everything observed before `until`, of vehicles that the genealogy knows, as they are built now."""
        vehicles, stations = genealogy.vehicles, genealogy.stations
        place = {station: at for at, station in enumerate(stations)}
        row = {vehicle: at for at, vehicle in enumerate(vehicles)}
        first_week = unix_ns(grid.origin) // WEEK_NS
        weeks = max(0, unix_ns(until) // WEEK_NS - first_week)
        joints = np.zeros((len(vehicles), len(stations), grid.bins), np.int16)
        total = np.zeros(len(vehicles), np.int64)
        for vehicle, joint in genealogy.every_joint():
            total[row[vehicle]] += 1
            if 0 <= (at := grid.bin_of(joint.welded_at)) < grid.bins:
                joints[row[vehicle], place[joint.station], at] += 1
        km = np.full((len(vehicles), weeks), np.nan)
        for vehicle, at in row.items():
            for week, distance in self._driven(vehicle, genealogy):
                if 0 <= week - first_week < weeks:
                    km[at, week - first_week] = np.fmax(km[at, week - first_week], distance)
        firsts = (self.first(vehicle, genealogy) for vehicle in self._anomalies)
        found = sorted((one for one in firsts if one is not None and one.observed_at < until), key=_rank)
        traced = [
            (one, its) for one in found if (its := genealogy.joint(one.vehicle, one.cell_group)) is not None
        ]
        bins = [grid.bin_of(joint.welded_at) for _, joint in traced]
        return Table(
            stations=stations,
            vehicles=vehicles,
            joints=joints,
            total=total,
            km=km,
            vehicle=np.array([row[one.vehicle] for one, _ in traced], np.int64),
            station=np.array([place[joint.station] for _, joint in traced], np.int64),
            bin=np.array([at if 0 <= at < grid.bins else -1 for at in bins], np.int64),
            week=np.array([unix_ns(one.observed_at) // WEEK_NS - first_week for one, _ in traced], np.int64),
            distance_km=np.array([one.distance_km for one, _ in traced]),
            event_id=tuple(one.event_id for one, _ in traced),
        )


def _rank(anomaly: VehicleAnomaly) -> tuple[datetime, float, str]:
    """The earliest first; of one minute's, the clearest."""
    return anomaly.observed_at, -anomaly.z, anomaly.event_id
