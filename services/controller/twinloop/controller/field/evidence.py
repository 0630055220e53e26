"""What vehicles have told, folded, and laid out as arrays for the tests.

Folding knows neither order nor repetition: of each vehicle the earliest anomaly is kept, for one vehicle
counts once, and of each week the greatest distance. What lies after the time that is looked from has not
happened: a look of last month can be repeated.
"""

from __future__ import annotations

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
        self._first: dict[str, VehicleAnomaly] = {}
        self._km: dict[str, dict[int, float]] = {}

    def fold(self, event: VehicleAnomaly | VehicleScore) -> bool:
        """Take up an event; False when nothing has changed."""
        if isinstance(event, VehicleScore):
            return self._exposed(event)
        known = self._first.get(event.vehicle)
        if known is not None and _rank(known) <= _rank(event):
            return False
        self._first[event.vehicle] = event
        return True

    def anomaly(self, vehicle: str) -> VehicleAnomaly | None:
        """The first anomaly of `vehicle`."""
        return self._first.get(vehicle)

    def _exposed(self, score: VehicleScore) -> bool:
        week = unix_ns(score.observed_at) // WEEK_NS
        mine = self._km.setdefault(score.vehicle, {})
        if score.distance_km <= mine.get(week, -1.0):
            return False
        mine[week] = score.distance_km
        return True

    def table(self, genealogy: Genealogy, grid: Grid, until: datetime) -> Table:
        """Everything observed before `until`, of vehicles that the genealogy knows."""
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
        for vehicle, mine in self._km.items():
            for week, distance in mine.items():
                if vehicle in row and 0 <= week - first_week < weeks:
                    km[row[vehicle], week - first_week] = distance
        found = sorted(
            (one for one in self._first.values() if one.observed_at < until and one.vehicle in row), key=_rank
        )
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
