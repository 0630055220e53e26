"""The verdict can fail: from a record that passes, each thing that must not be is put in, and is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Approved,
    Diagnosis,
    Envelope,
    Failed,
    Hold,
    Issued,
    Parameter,
    Proposed,
    SetParameter,
    Simulated,
    Verified,
)
from twinloop.contracts.deadletters import DeadLetter, Reason
from twinloop.contracts.events import Alarm, AlarmCode, Anomaly, JointWelded, Verdict
from twinloop.contracts.modes import Mode
from twinloop.local.demo.record import Record
from twinloop.local.demo.report import latency
from twinloop.local.demo.scenarios import CLOSED, OPEN, SCENARIOS, Scenario, asset
from twinloop.local.demo.verdict import judge, settled

START = datetime(2026, 1, 1, tzinfo=UTC)
SINCE = {CLOSED: 1, OPEN: 1}


def base(sequence: int, station: str, kind: str) -> dict[str, object]:
    at = START + timedelta(seconds=sequence)
    return {
        "event_id": f"{kind}-{station}-{sequence}",
        "asset": asset(station),
        "at": at + timedelta(seconds=0.2),
        "observed_at": at,
        "trace_id": "t",
    }


def joint(sequence: int, station: str, *, resistance: float = 42.0, power: float = 1000.0) -> JointWelded:
    return JointWelded(
        **base(sequence, station, "joint"),  # type: ignore[arg-type]
        part_id=f"p{sequence}",
        sequence=sequence,
        recipe="r",
        resistance_uohm=resistance,
        power_w=power,
        focus_mm=0.0,
    )


def scored(sequence: int, station: str) -> Verdict:
    return Verdict(
        **base(sequence, station, "verdict"),  # type: ignore[arg-type]
        signal_set="weld.v1",
        part_id="",
        sequence=sequence,
        row=299,
        score=1.0,
        threshold=2.0,
        anomalous=False,
        model="weld",
        model_version=1,
        input_digest="",
    )


def anomaly(sequence: int) -> Anomaly:
    return Anomaly(
        **base(sequence, CLOSED, "anomaly"),  # type: ignore[arg-type]
        signal_set="weld.v1",
        part_id="",
        sequence=sequence,
        row=299,
        score=9.0,
        threshold=2.0,
        features={},
        deviations={},
        model="weld",
        model_version=1,
        input_digest="",
    )


def released(action: SetParameter | Hold, change_id: str) -> Envelope:
    return Envelope(
        command_id=change_id,
        asset=asset(CLOSED),
        action=action,
        unit="",
        recipe="r",
        sequence=1,
        issued_at=START,
        expires_at=START,
        model="weld",
        model_version=1,
        input_digest="",
        mode=Mode.AUTO,
        approver="policy:auto",
    )


def change(sequence: int, action: SetParameter | Hold, *, end: str = "verified") -> list[AnyChange]:
    """A change proposed after part `sequence`, ended as told."""

    def head(kind: str) -> dict[str, object]:
        return {**base(sequence, CLOSED, kind), "change_id": f"c{sequence}"}

    value = action.value if isinstance(action, SetParameter) else "Held"
    events: list[AnyChange] = [
        Proposed(
            **head("proposed"),  # type: ignore[arg-type]
            action=action,
            diagnosis=Diagnosis.DIRTY_WINDOW,
            recipe="r",
            reason="",
            evidence=(),
            expires_at=START,
            model="weld",
            model_version=1,
            input_digest="",
        ),
        Simulated(**head("simulated"), do_nothing=None, do_this=None),  # type: ignore[arg-type]
        Approved(
            **head("approved"),  # type: ignore[arg-type]
            approver="policy:auto",
            reason="",
            envelope=released(action, f"c{sequence}"),
            signature="",
            key_id="",
        ),
    ]
    if end in {"failed", "applied", "verified"}:
        events.append(Issued(**head("issued"), command_sequence=1, part_counter=sequence))  # type: ignore[arg-type]
    if end == "failed":
        events.append(Failed(**head("failed"), guard="device", reason="BadOutOfRange"))  # type: ignore[arg-type]
    if end in {"applied", "verified"}:
        events.append(Applied(**head("applied"), actual=value, part_counter=sequence))  # type: ignore[arg-type]
    if end == "verified":
        events.append(
            Verified(**head("verified"), parts=10, before_uohm=42.0, after_uohm=42.0)  # type: ignore[arg-type]
        )
    return events


def power(value: float, expected: float = 1000.0) -> SetParameter:
    return SetParameter(parameter=Parameter.LASER_POWER_W, value=value, expected=expected)


DRIFT = replace(SCENARIOS["window-drift"], welds=100)


def drift_record() -> Record:
    return Record(
        joints=(
            *(joint(n, CLOSED, power=1000.0 if n <= 50 else 1020.0) for n in range(1, 101)),
            *(joint(n, OPEN, resistance=42.0 if n <= 60 else 80.0) for n in range(1, 101)),
        ),
        verdicts=tuple(scored(n, station) for station in (CLOSED, OPEN) for n in range(1, 101)),
        anomalies=(anomaly(50),),
        changes=tuple(change(50, power(1020.0))),
    )


def test_a_closed_loop_passes_with_the_numbers_of_the_topics() -> None:
    report = judge(DRIFT, drift_record(), SINCE)
    assert report.problems == ()
    assert report.stations[OPEN].bad == 40
    assert report.stations[CLOSED].bad == 0
    assert [step.state for step in report.changes[0].steps] == [
        "proposed",
        "simulated",
        "approved",
        "issued",
        "applied",
        "verified",
    ]
    assert report.to_applied is not None
    assert report.to_applied.p99_s == pytest.approx(0.2)
    assert settled(DRIFT, drift_record(), SINCE, station_held=False)


def with_bad(count: int) -> tuple[JointWelded, ...]:
    joints = list(drift_record().joints)
    for index in range(count):
        joints[index] = msgspec.structs.replace(joints[index], resistance_uohm=90.0)
    return tuple(joints)


LETTER = DeadLetter(
    event_id="d", reason=Reason.NON_FINITE, detail="", source="", at=START, service="ingest", payload=b""
)


@pytest.mark.parametrize(
    ("spoilt", "problem"),
    [
        ({"changes": ()}, "no change was proposed"),
        ({"joints": with_bad(3)}, "3 bad welds, more than 5 %"),
        ({"joints": drift_record().joints[:-1]}, "weld2 made 99 of 100 parts"),
        ({"verdicts": drift_record().verdicts[1:]}, "99 of 100 parts were scored"),
        ({"changes": tuple(change(50, power(1020.0), end="applied"))}, "stands at applied"),
        ({"changes": tuple(change(50, power(1020.0), end="approved"))}, "stands at approved"),
        ({"changes": tuple(change(50, power(1030.0)))}, "called applied, but part 51 has 1020"),
        (
            {
                "changes": tuple(
                    change(50, SetParameter(parameter=Parameter.FOCUS_MM, value=0.1, expected=0.0))
                )
            },
            "not laser_power_w",
        ),
        ({"dead_letters": (LETTER,)}, "dead letters: {'non_finite': 1}"),
        ({"joints": tuple(joint(n, s) for s in (CLOSED, OPEN) for n in range(1, 101))}, "did not drift"),
    ],
)
def test_what_must_not_be_is_named(spoilt: dict[str, object], problem: str) -> None:
    report = judge(DRIFT, msgspec.structs.replace(drift_record(), **spoilt), SINCE)
    assert any(problem in one for one in report.problems), report.problems
    assert not report.closed


def test_a_change_at_the_very_end_may_wait_for_parts() -> None:
    late = msgspec.structs.replace(
        drift_record(),
        changes=(*change(50, power(1020.0)), *change(95, power(1020.0, 1020.0), end="applied")),
    )
    assert judge(DRIFT, late, SINCE).problems == ()
    assert settled(DRIFT, late, SINCE, station_held=False)


def test_repeated_records_count_once() -> None:
    record = drift_record()
    twice = Record(
        joints=record.joints * 2,
        verdicts=record.verdicts * 2,
        anomalies=record.anomalies,
        changes=record.changes * 2,
    )
    report = judge(DRIFT, twice, SINCE)
    assert report.problems == ()
    assert report.stations == judge(DRIFT, record, SINCE).stations


GAP = replace(SCENARIOS["gap"], welds=100)


def gap_record(end: str = "verified", action: SetParameter | Hold | None = None) -> Record:
    alarm = Alarm(**base(60, CLOSED, "alarm"), code=AlarmCode.GAP, text="")  # type: ignore[arg-type]
    return Record(
        joints=tuple(joint(n, CLOSED, resistance=42.0 if n <= 50 else 1500.0) for n in range(1, 61)),
        changes=tuple(change(60, action or Hold(reason="gap"), end=end)),
        alarms=(alarm,),
    )


def test_gap_must_stop_and_alarm_and_touch_nothing() -> None:
    assert judge(GAP, gap_record(), SINCE).problems == ()
    assert any(
        "setpoint was touched" in one for one in judge(GAP, gap_record(action=power(1010.0)), SINCE).problems
    )
    assert any("not stopped" in one for one in judge(GAP, gap_record(end="failed"), SINCE).problems)
    silent = msgspec.structs.replace(gap_record(), alarms=())
    assert any("no alarm" in one for one in judge(GAP, silent, SINCE).problems)


def test_a_stop_is_not_settled_before_it_was_seen_to_stand_still() -> None:
    scored_all = tuple(scored(n, CLOSED) for n in range(1, 61))
    for end, expected in (("applied", False), ("verified", True)):
        record = msgspec.structs.replace(gap_record(end=end), verdicts=scored_all)
        assert settled(GAP, record, SINCE, station_held=True) is expected


REFUSES = replace(SCENARIOS["plc-refuses"], welds=100)


def refused(*proposed_after: int, end: str = "failed") -> Record:
    changes = [event for n in proposed_after for event in change(n, power(1020.0), end=end)]
    return Record(
        joints=tuple(joint(n, CLOSED) for n in range(1, 101)),
        verdicts=tuple(scored(n, CLOSED) for n in range(1, 101)),
        changes=tuple(changes),
    )


def test_refused_changes_fail_and_wait_for_the_cooldown() -> None:
    assert judge(REFUSES, refused(50, 61), SINCE).problems == ()
    assert any("no cooldown" in one for one in judge(REFUSES, refused(50, 55), SINCE).problems)
    assert any("second one was due" in one for one in judge(REFUSES, refused(50), SINCE).problems)
    assert any(
        "called applied" in one for one in judge(REFUSES, refused(50, 70, end="applied"), SINCE).problems
    )


HEALTHY: Scenario = replace(SCENARIOS["healthy"], welds=100)


def test_healthy_tolerates_no_change_and_no_missing_part() -> None:
    whole = msgspec.structs.replace(refused(50), changes=())
    assert judge(HEALTHY, whole, SINCE).problems == ()
    assert judge(HEALTHY, refused(50), SINCE).problems
    assert judge(HEALTHY, Record(), SINCE).problems


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_samples_in_order(seconds: list[float]) -> None:
    found = latency(seconds)
    assert found is not None
    assert found.p50_s in seconds
    assert found.p99_s in seconds
    assert found.p50_s <= found.p99_s <= max(seconds)
    assert sum(one <= found.p50_s for one in seconds) >= len(seconds) / 2
