"""What the end of the line tells of a vehicle: packs, modules, joints, and each group's baseline. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.field import VEHICLE, BuiltJoint, BuiltModule, BuiltPack, VehicleBuilt
from twinloop.contracts.ids import event_id, trace_id
from twinloop.simulator.fleets.fleet import Fleet

Floats = NDArray[np.float64]


def vehicle_built(
    fleet: Fleet, vehicle: int, pseudonym: str, baseline_uohm: Floats, baseline_se_uohm: Floats
) -> VehicleBuilt:
    """The event of `vehicle`, a row of `fleet`. Baselines are [groups], as the pack tester measured them."""
    at = at_h(fleet, float(fleet.built_h[vehicle]))
    return VehicleBuilt(
        event_id=event_id("vehicle_built", pseudonym),
        asset=VEHICLE + pseudonym,
        at=at,
        observed_at=at,
        trace_id=trace_id("vehicle_built", pseudonym),
        packs=(
            BuiltPack(
                pack_id=f"pack-{vehicle:06d}",
                modules=tuple(
                    BuiltModule(
                        module_id=f"module-{vehicle:06d}-{module}",
                        joints=tuple(
                            _joint(fleet, vehicle, group, baseline_uohm[group], baseline_se_uohm[group])
                            for group in _groups(fleet, module)
                        ),
                    )
                    for module in range(fleet.spec.modules)
                ),
            ),
        ),
    )


def as_json(fleet: Fleet, vehicle: int, vin: str, baseline_uohm: Floats, baseline_se_uohm: Floats) -> bytes:
    """The same as the vehicle line tells it to ingest: with the VIN, for no one there knows pseudonyms."""
    built = vehicle_built(fleet, vehicle, "", baseline_uohm, baseline_se_uohm)
    return msgspec.json.encode({"vin": vin, "built_at": built.observed_at, "packs": built.packs})


def at_h(fleet: Fleet, hours: float) -> datetime:
    """The instant so many hours after the first vehicle."""
    return fleet.spec.start + timedelta(hours=hours)


def _groups(fleet: Fleet, module: int) -> range:
    wide = fleet.spec.groups_per_module
    return range(module * wide, (module + 1) * wide)


def _joint(fleet: Fleet, vehicle: int, group: int, baseline_uohm: float, se_uohm: float) -> BuiltJoint:
    return BuiltJoint(
        cell_group=group,
        part_id=fleet.part_id(vehicle, group),
        station=fleet.spec.stations[fleet.station[vehicle, group]],
        sequence=int(fleet.sequence[vehicle, group]),
        welded_at=at_h(fleet, float(fleet.welded_h[vehicle, group])),
        recipe=fleet.spec.recipe,
        resistance_uohm=float(fleet.measured_uohm[vehicle, group]),
        baseline_uohm=float(baseline_uohm),
        baseline_se_uohm=float(se_uohm),
    )
