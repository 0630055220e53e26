"""What vehicles in the field tell about the stations that made them: the slow loop's events.

A vehicle is known by its pseudonym alone (`vehicle.<pseudonym>` as an asset): only the edge, which holds the
key of the hash, can find the vehicle identification number that belongs to one. Resistances are in
micro-ohm; ΔR is that of a cell group with its joint, less that of the pack's median group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from twinloop.contracts.events import Event
from twinloop.contracts.times import Instant

VEHICLE: Final = "vehicle."
"""How the asset of a vehicle begins; its pseudonym follows."""


class _OfVehicle(Event, frozen=True, kw_only=True):
    @property
    def vehicle(self) -> str:
        """The vehicle's pseudonym."""
        return self.asset.removeprefix(VEHICLE)


class BuiltJoint(msgspec.Struct, frozen=True, kw_only=True):
    """The joint of one cell group, as it left the line.

    `part_id`, `station` (an asset path), `sequence` and `recipe` are those of its `JointWelded`, and
    `resistance_uohm` the four-wire measurement there. `baseline_uohm` is the group's ΔR at the end of the
    pack line, `baseline_se_uohm` its standard error.
    """

    cell_group: int
    part_id: str
    station: str
    sequence: int
    welded_at: Instant
    recipe: str
    resistance_uohm: float
    baseline_uohm: float
    baseline_se_uohm: float


class BuiltModule(msgspec.Struct, frozen=True, kw_only=True):
    """A module and its joints."""

    module_id: str
    joints: tuple[BuiltJoint, ...]


class BuiltPack(msgspec.Struct, frozen=True, kw_only=True):
    """A battery pack and its modules. Cell groups are numbered through the pack, from 0."""

    pack_id: str
    modules: tuple[BuiltModule, ...]


class VehicleBuilt(_OfVehicle, frozen=True, kw_only=True, tag="vehicle_built"):
    """A vehicle left the line with these packs. `observed_at` is when it did. On `genealogy`."""

    packs: tuple[BuiltPack, ...]

    def joints(self) -> Iterator[BuiltJoint]:
        """Every joint of the vehicle."""
        return (joint for pack in self.packs for module in pack.modules for joint in module.joints)


class VehicleScore(_OfVehicle, frozen=True, kw_only=True, tag="vehicle_score"):
    """How far a vehicle has been observed, and how its worst cell group stands: sent about weekly.

    Healthy vehicles are told of, too: they are what the others are compared with. `distance_km` is the
    odometer's at `observed_at`; `snippets` counts the minutes that were judged since the score before.
    `built_at` is that of the vehicle as built by whose baselines it was judged, `None` where that was not
    told: a pack may be replaced.
    """

    distance_km: float
    snippets: int
    worst_cell_group: int
    worst_z: float
    model: str
    model_version: int
    built_at: Instant | None = None


class VehicleAnomaly(_OfVehicle, frozen=True, kw_only=True, tag="vehicle_anomaly"):
    """A cell group's ΔR has grown beyond its own end-of-line baseline, confirmed by the snippet before.

    `delta_r_uohm` is ΔR less the baseline, `se_uohm` the standard error of that difference, `z` their ratio.
    `built_at`: see `VehicleScore`.
    """

    cell_group: int
    delta_r_uohm: float
    se_uohm: float
    z: float
    distance_km: float
    model: str
    model_version: int
    input_digest: str
    built_at: Instant | None = None


class FieldFinding(Event, frozen=True, kw_only=True, tag="field_finding"):
    """More vehicles than chance explains have an anomalous joint that the station `asset` welded in a window.

    The window is [`window_from`, `window_to`). `vehicles` of the `built` ones that have joints from it are
    anomalous there, where `expected` would be by chance. `p` is valid whenever one looks, `q` allows for all
    stations and windows that were looked at; `p_fixed` is the exact test's of this one window, if it had
    been looked at once. `more` further vehicles (95 %: `more_low` to `more_high`) will become anomalous by
    `until_km`. `evidence`: event ids of the anomalies, which `model` judged.

    `remedies` are what a person is asked to do, and `text` says why. `limit_uohm` is a tighter quality gate
    at end of line, `None` when none would help; it would have stopped the share `caught` of the window's
    joints.
    """

    window_from: Instant
    window_to: Instant
    vehicles: int
    built: int
    expected: float
    p: float
    p_fixed: float
    q: float
    more: float
    more_low: int
    more_high: int
    until_km: float
    evidence: tuple[str, ...]
    model: str = ""
    model_version: int = 0
    input_digest: str = ""
    remedies: tuple[str, ...] = ()
    limit_uohm: float | None = None
    caught: float = 0.0
    text: str = ""


AnyFieldEvidence = VehicleScore | VehicleAnomaly | FieldFinding
