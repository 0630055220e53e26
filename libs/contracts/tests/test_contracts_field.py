"""The slow loop's events read back equal, and beside those that were on their topic before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from twinloop.contracts import codec, topics
from twinloop.contracts.events import Event, JointWelded
from twinloop.contracts.field import (
    VEHICLE,
    BuiltJoint,
    BuiltModule,
    BuiltPack,
    FieldFinding,
    VehicleAnomaly,
    VehicleBuilt,
    VehicleScore,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STATION = "acme.berlin.packs.line1.weld1"
PSEUDONYM = "0" * 31 + "a"


def head(event_id: str, asset: str) -> dict[str, object]:
    return {"event_id": event_id, "asset": asset, "at": AT, "observed_at": AT, "trace_id": "t"}


def built_joint(group: int) -> BuiltJoint:
    return BuiltJoint(
        cell_group=group,
        part_id=f"weld1-{group:012d}",
        station=STATION,
        sequence=group,
        welded_at=AT,
        recipe="tab-cu-al/3",
        resistance_uohm=42.5,
        baseline_uohm=-3.25,
        baseline_se_uohm=1.25,
    )


def vehicle_built() -> VehicleBuilt:
    modules = tuple(
        BuiltModule(module_id=f"m{m}", joints=(built_joint(2 * m), built_joint(2 * m + 1))) for m in range(2)
    )
    packs = (BuiltPack(pack_id="p", modules=modules),)
    return VehicleBuilt(**head("b", VEHICLE + PSEUDONYM), packs=packs)  # type: ignore[arg-type]


JOINT = JointWelded(
    **head("j", STATION),  # type: ignore[arg-type]
    part_id="weld1-000000000001",
    sequence=1,
    recipe="tab-cu-al/3",
    resistance_uohm=42.0,
    power_w=1000.0,
    focus_mm=0.0,
)
SCORE = VehicleScore(
    **head("s", VEHICLE + PSEUDONYM),  # type: ignore[arg-type]
    distance_km=1234.5,
    snippets=7,
    worst_cell_group=3,
    worst_z=2.5,
    model="cells",
    model_version=1,
)
ANOMALY = VehicleAnomaly(
    **head("a", VEHICLE + PSEUDONYM),  # type: ignore[arg-type]
    cell_group=3,
    delta_r_uohm=25.0,
    se_uohm=3.0,
    z=8.3,
    distance_km=1234.5,
    model="cells",
    model_version=1,
    input_digest="00",
)
FINDING = FieldFinding(
    **head("f", STATION),  # type: ignore[arg-type]
    window_from=AT,
    window_to=AT + timedelta(days=2),
    vehicles=9,
    built=80,
    expected=0.3,
    p=1e-7,
    p_fixed=1e-9,
    q=1e-3,
    more=14.5,
    more_low=6,
    more_high=27,
    until_km=12000.0,
    evidence=("a", "b"),
)


@pytest.mark.parametrize(
    ("topic", "event"),
    [
        (topics.GENEALOGY, JOINT),
        (topics.GENEALOGY, vehicle_built()),
        (topics.FIELD_EVIDENCE, SCORE),
        (topics.FIELD_EVIDENCE, ANOMALY),
        (topics.FIELD_EVIDENCE, FINDING),
    ],
)
def test_an_event_of_the_slow_loop_reads_back_equal_under_its_asset(
    topic: topics.Topic, event: Event
) -> None:
    record = codec.message(topic, event, source="test")
    assert codec.decode(topic, record.value) == event
    assert record.key == event.asset.encode()


def test_a_vehicle_is_known_by_its_pseudonym_and_has_all_its_joints() -> None:
    assert vehicle_built().vehicle == SCORE.vehicle == ANOMALY.vehicle == PSEUDONYM
    assert [joint.cell_group for joint in vehicle_built().joints()] == [0, 1, 2, 3]


def test_evidence_is_no_genealogy() -> None:
    with pytest.raises(codec.Undecodable, match="genealogy"):
        codec.decode(topics.GENEALOGY, codec.message(topics.FIELD_EVIDENCE, SCORE, source="test").value)
