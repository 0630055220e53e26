"""What the end of the vehicle line tells of a vehicle, as JSON over HTTP. Pure.

    {"vin": "WVWZZZ1JZXW000001", "built_at": "2026-01-05T10:00:00Z",
     "packs": [{"pack_id": "pack-1",
                "modules": [{"module_id": "module-1",
                             "joints": [{"cell_group": 0, "part_id": "weld1-000000000017",
                                         "station": "acme.berlin.packs.line1.weld1", "sequence": 17,
                                         "welded_at": "2026-01-04T08:00:00Z", "recipe": "cu-al-tab-7",
                                         "resistance_uohm": 42.1,
                                         "baseline_uohm": -3.2, "baseline_se_uohm": 1.3}, ...]}]}]}

The VIN ends here: what goes on is its pseudonym. The same vehicle with the same `built_at` and content has
the same event id whenever it is sent, so sending it again does no harm. With other content it is another
event, a correction of the one before.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.field import VEHICLE, BuiltJoint, BuiltModule, BuiltPack, VehicleBuilt
from twinloop.contracts.ids import event_id, trace_id
from twinloop.ingest.errors import Refused
from twinloop.ingest.pseudonyms import is_vin, names_vin, pieces, pseudonym
from twinloop.ingest.withhold import said

MOST_JOINTS: Final = 2048
_STATION: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", re.ASCII)
_MODEL: Final = 2
"""Pieces of a VIN from here on reach its tenth character: those before tell the model and not the vehicle."""
_OLDEST: Final = datetime(1970, 1, 1, tzinfo=UTC)

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class JointJson(_Strict, frozen=True, kw_only=True):
    """A joint of one cell group: who welded it, what it measured there, and the group's ΔR as built."""

    cell_group: Annotated[int, msgspec.Meta(ge=0, lt=MOST_JOINTS)]
    part_id: Text
    station: Text
    sequence: Count
    welded_at: Instant
    recipe: Text
    resistance_uohm: Annotated[float, msgspec.Meta(gt=0)]
    baseline_uohm: float
    baseline_se_uohm: Annotated[float, msgspec.Meta(gt=0)]


class ModuleJson(_Strict, frozen=True, kw_only=True):
    """A module and its joints."""

    module_id: Text
    joints: Annotated[list[JointJson], msgspec.Meta(min_length=1, max_length=MOST_JOINTS)]


class PackJson(_Strict, frozen=True, kw_only=True):
    """A pack and its modules. Cell groups are numbered through the vehicle, from 0."""

    pack_id: Text
    modules: Annotated[list[ModuleJson], msgspec.Meta(min_length=1, max_length=256)]


class VehicleJson(_Strict, frozen=True, kw_only=True):
    """A vehicle as it left its line."""

    vin: str
    built_at: Instant
    packs: Annotated[list[PackJson], msgspec.Meta(min_length=1, max_length=16)]

    def joints(self) -> Iterator[JointJson]:
        """Every joint of the vehicle."""
        return (joint for pack in self.packs for module in pack.modules for joint in module.joints)


_DECODER = msgspec.json.Decoder(VehicleJson)


def vehicle_built(item: bytes, key: bytes, max_ahead_s: float, now: datetime) -> VehicleBuilt:
    """The event in `item`, under the pseudonym that `key` makes of its VIN.

    Raises `Refused`: `undecodable`, `unprocessable`, `in_future`, `too_old` (before 1970), `non_finite`, or
    `vin_in_clear` when a VIN, nearly one, or a piece of its own stands where none belongs. The detail names
    the field and repeats no text that stands there.
    """
    try:
        told = _DECODER.decode(item)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refused(Reason.UNDECODABLE, f"no vehicle in JSON: {said(error)}") from error
    _check(told, now + timedelta(seconds=max_ahead_s))
    name, built_at = pseudonym(told.vin, key), told.built_at.astimezone(UTC)
    packs = tuple(_pack(pack) for pack in told.packs)
    content = hashlib.sha256(msgspec.json.encode(packs)).hexdigest()
    return VehicleBuilt(
        event_id=event_id("vehicle_built", name, built_at.isoformat(), content),
        asset=VEHICLE + name,
        at=now,
        observed_at=built_at,
        trace_id=trace_id("vehicle_built", name),
        packs=packs,
    )


def _pack(told: PackJson) -> BuiltPack:
    return BuiltPack(
        pack_id=told.pack_id,
        modules=tuple(
            BuiltModule(module_id=module.module_id, joints=tuple(_joint(joint) for joint in module.joints))
            for module in told.modules
        ),
    )


def _joint(told: JointJson) -> BuiltJoint:
    return BuiltJoint(**(_fields(told) | {"welded_at": told.welded_at.astimezone(UTC)}))


def _fields(told: JointJson) -> dict[str, Any]:
    return {name: getattr(told, name) for name in told.__struct_fields__}


def _check(told: VehicleJson, latest: datetime) -> None:
    if not is_vin(told.vin):
        raise Refused(Reason.UNPROCESSABLE, "vin: not the 17 characters of a VIN (ISO 3779)")
    if told.built_at > latest:
        raise Refused(Reason.IN_FUTURE, f"built_at: {told.built_at.isoformat()} has not come yet")
    joints = list(told.joints())
    if len(joints) > MOST_JOINTS:
        raise Refused(Reason.UNPROCESSABLE, f"{len(joints)} joints, at most {MOST_JOINTS}")
    rest = told.vin[_MODEL:].upper()
    own = pieces(rest) | {rest}  # a number with many zeros has no piece that gives it away
    once = {
        "part_id": [joint.part_id for joint in joints],
        "pack_id": [pack.pack_id for pack in told.packs],
        "module_id": [module.module_id for pack in told.packs for module in pack.modules],
    }
    again = {"station": {joint.station for joint in joints}, "recipe": {joint.recipe for joint in joints}}
    for what, names in (once | again).items():
        if not all(name.isprintable() for name in names):
            raise Refused(Reason.UNPROCESSABLE, f"{what}: a character that cannot be printed")
        if names_vin("\n".join(names), own):
            raise Refused(Reason.VIN_IN_CLEAR, f"{what}: a VIN in clear, nearly one, or a part of its own")
    for joint in joints:
        _check_joint(joint, told.built_at)
    groups = Counter(joint.cell_group for joint in joints)
    group, times = groups.most_common(1)[0]
    if times > 1:
        raise Refused(Reason.UNPROCESSABLE, f"cell_group: {group} is there {times} times")
    for what, each in once.items():
        if len(set(each)) < len(each):
            raise Refused(Reason.UNPROCESSABLE, f"{what}: one is there {max(Counter(each).values())} times")


def _check_joint(joint: JointJson, built_at: datetime) -> None:
    where = f"cell_group {joint.cell_group}"
    if not _STATION.fullmatch(joint.station):
        raise Refused(Reason.UNPROCESSABLE, f"{where}: station is no asset path")
    if joint.welded_at > built_at:
        raise Refused(Reason.UNPROCESSABLE, f"{where}: welded_at is later than built_at")
    if joint.welded_at < _OLDEST:
        raise Refused(Reason.TOO_OLD, f"{where}: welded_at is before 1970")
    numbers = (joint.resistance_uohm, joint.baseline_uohm, joint.baseline_se_uohm)
    if not all(math.isfinite(one) for one in numbers):
        raise Refused(Reason.NON_FINITE, f"{where}: a number that is infinite")
