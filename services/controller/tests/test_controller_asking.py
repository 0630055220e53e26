"""A finding at its station: a person is called at once, and asked for a tighter gate when guards allow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as changed
from support import desk as controller_desk
from support.weldloop import ASSET, POLICY, START, joint, life, requested

from twinloop.contracts.changes import (
    Applied,
    Diagnosis,
    Failed,
    Hold,
    Inconclusive,
    Parameter,
    Proposed,
    Rejected,
    RolledBack,
    SetParameter,
    State,
    Verified,
)
from twinloop.contracts.controls import KillSwitchSet, ModeShed
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.field import FieldFinding
from twinloop.contracts.modes import Mode
from twinloop.controller import guard
from twinloop.controller.audited import acts
from twinloop.controller.state import (
    Found,
    Given,
    Ignored,
    InFlight,
    Outcome,
    Refused,
    Station,
    WouldPropose,
)
from twinloop.controller.station import StationEvent

GATE = Parameter.END_OF_LINE_LIMIT_UOHM
T = TypeVar("T")


def finding(number: int = 1, limit_uohm: float | None = 49.5, **what: Any) -> FieldFinding:
    at = START - timedelta(days=90)
    made = FieldFinding(
        event_id=f"finding-{number}",
        asset=ASSET,
        at=START,
        observed_at=START - timedelta(days=1),
        trace_id="f" * 32,
        window_from=at,
        window_to=at + timedelta(days=2),
        vehicles=11,
        built=80,
        expected=0.4,
        p=1e-6,
        p_fixed=1e-9,
        q=0.004,
        more=16.0,
        more_low=9,
        more_high=25,
        until_km=4888.0,
        evidence=("a-1", "a-2"),
        model="cells",
        model_version=3,
        input_digest="d" * 32,
        remedies=("inspect_station",),
        limit_uohm=limit_uohm,
        caught=0.3,
        text="11 of 80 vehicles (q = 0.004). 16 more are expected.",
    )
    return changed(made, **what)


@dataclass
class Desk(controller_desk.Desk):
    """A station with a quality gate."""

    limit_uohm: float = 55.0

    def fold(self, event: StationEvent) -> list[Outcome]:
        # Through bytes: what is remembered must survive the table.
        self.station = msgspec.json.decode(msgspec.json.encode(self.station), type=Station)
        return super().fold(event)

    def parts(self, count: int, uohm: float = 42.0, **what: Any) -> Desk:
        """So many parts are made, under the gate in force."""
        for _ in range(count):
            self.now += timedelta(milliseconds=100)
            self.number += 1
            made = joint(self.number, self.now, uohm + 0.5 * (self.number % 3), 1000.0)
            self.fold(changed(made, **{"limit_uohm": self.limit_uohm, **what}))
        return self

    def agreed(self) -> Desk:
        """A person agreed with the only proposal, and `line` has set the gate."""
        (proposed,) = self.of(Proposed)
        for event in life(proposed, self.now, self.number):
            self.fold(event)
        assert isinstance(proposed.action, SetParameter)
        self.limit_uohm = proposed.action.value
        return self


# ---- asking


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.SUPERVISED, Mode.AUTO])
def test_guardrail_02_field_evidence_never_acts_by_itself(mode: Mode) -> None:
    """What vehicles tell is weeks old: it is put before a person in every mode, and released by none."""
    desk = Desk().ready(mode)
    desk.fold(finding())
    desk.parts(40)
    (call,) = desk.of(Alarm)
    assert (call.code, call.asset) == (AlarmCode.FIELD_EVIDENCE, ASSET)
    assert "A person is needed" in call.text
    assert "16 more" in call.text
    proposals = desk.of(Proposed)
    if mode is Mode.SHADOW:
        assert proposals == []
        assert len(desk.of(WouldPropose)) == 1
        assert len(desk.station.field_asking) == 1
        return
    (proposed,) = proposals
    assert proposed.mode is Mode.SUPERVISED
    assert proposed.action == SetParameter(parameter=GATE, value=49.5, expected=55.0)
    assert (proposed.diagnosis, proposed.evidence) == (Diagnosis.MARGINAL_JOINTS, ("a-1", "a-2"))
    assert proposed.expires_at == START + timedelta(seconds=1.2, days=7)
    assert "16 more" in proposed.reason
    assert "q = 0.004" in proposed.reason
    assert (proposed.model, proposed.model_version, proposed.recipe) == ("cells", 3, desk.station.recipe)
    assert desk.station.in_flight is None
    assert desk.station.field_change is not None


def test_a_finding_is_taken_up_once_however_often_it_is_read() -> None:
    desk = Desk().ready()
    for _ in range(3):
        desk.fold(finding())
        desk.parts(3)
    assert len(desk.of(Proposed)) == len(desk.of(Alarm)) == len(desk.of(Found)) == 1
    assert desk.of(Ignored).count(Ignored("repeated")) >= 2


def test_a_finding_and_what_follows_are_written_down() -> None:
    desk = Desk().ready()
    written = acts(desk.station, desk.fold(finding()), desk.now)
    assert [one.what for one in written] == ["found field evidence", "proposed"]
    assert written[0].reason == finding().text
    assert written[1].new == "end_of_line_limit_uohm 49.5 µΩ"


def test_without_a_gate_that_helps_a_person_is_called_and_nothing_proposed() -> None:
    desk = Desk().ready()
    desk.fold(finding(limit_uohm=None))
    desk.parts(20)
    assert len(desk.of(Alarm)) == 1
    assert not desk.of(Proposed)
    assert not desk.station.field_asking


def test_what_a_guard_refuses_waits_and_is_asked_when_the_state_changes() -> None:
    desk = Desk().ready(Mode.SHADOW)
    desk.fold(finding())
    desk.parts(5)
    assert not desk.of(Proposed)
    for mode in (Mode.SUPERVISED, Mode.AUTO):
        desk.fold(requested(mode, desk.now, 200 + len(desk.outcomes)))
    (proposed,) = desk.of(Proposed)
    assert proposed.mode is Mode.SUPERVISED
    desk.parts(5)
    assert len(desk.of(Proposed)) == 1


def _in_flight(state: State = State.PROPOSED) -> InFlight:
    return InFlight(
        change_id="other",
        state=state,
        action=SetParameter(parameter=Parameter.LASER_POWER_W, value=1020.0, expected=1000.0),
        observed_at=START,
        trace_id="t",
        expires_at=START + timedelta(hours=1),
        before_uohm=42.0,
        before_parts=10,
        diagnosis=Diagnosis.DIRTY_WINDOW,
        recipe="tab-a",
        model="weld",
        model_version=1,
        input_digest="d",
    )


def test_a_change_in_flight_keeps_it_waiting_and_a_refusal_is_told_once() -> None:
    desk = Desk().ready()
    desk.station = changed(desk.station, in_flight=_in_flight())
    desk.fold(finding())
    desk.parts(10)
    assert [one.guard for one in desk.of(Refused)] == ["in_flight"]
    desk.station = changed(desk.station, in_flight=None)
    desk.parts(1)
    assert len(desk.of(Proposed)) == 1


def _rejected(proposed: Proposed, desk: Desk) -> Rejected:
    return Rejected(
        event_id="no",
        asset=ASSET,
        at=desk.now,
        observed_at=desk.now,
        trace_id="t",
        change_id=proposed.change_id,
        approver="person:eva",
        reason="the window was cleaned",
    )


def test_two_findings_are_asked_about_one_after_the_other() -> None:
    desk = Desk().ready()
    desk.fold(finding(1))
    desk.fold(finding(2, limit_uohm=47.0))
    desk.parts(12)
    (proposed,) = desk.of(Proposed)
    desk.fold(_rejected(proposed, desk))
    desk.parts(12)
    assert [one.action.value for one in desk.of(Proposed) if isinstance(one.action, SetParameter)] == [
        49.5,
        47.0,
    ]


@pytest.mark.parametrize("limit", [55.0, 54.5, 60.0])
def test_a_gate_that_is_as_tight_already_is_not_asked_for(limit: float) -> None:
    desk = Desk().ready()
    desk.fold(finding(limit_uohm=limit))
    assert [one.guard for one in desk.of(Refused)] == ["deadband"]
    assert not desk.station.field_asking
    assert not desk.of(Proposed)


def test_it_asks_for_no_more_than_our_limits_allow() -> None:
    desk = Desk().ready()
    desk.fold(finding(limit_uohm=30.0))
    (proposed,) = desk.of(Proposed)
    assert proposed.action == SetParameter(parameter=GATE, value=45.0, expected=55.0)
    assert "45 µΩ" in proposed.reason


def test_without_the_audit_store_it_waits_and_the_call_is_made_all_the_same() -> None:
    desk = Desk().ready()
    desk.away = "the disk is full"
    desk.fold(finding())
    assert len(desk.of(Alarm)) == 1
    assert [one.guard for one in desk.of(Refused)] == ["audit"]
    desk.away = None
    desk.parts(1)
    assert len(desk.of(Proposed)) == 1


def test_the_kill_switch_keeps_it_waiting() -> None:
    desk = Desk().ready()
    desk.fold(
        KillSwitchSet(
            event_id="kill",
            asset=ASSET,
            at=desk.now,
            observed_at=desk.now,
            trace_id="t",
            by="person:eva",
            reason="stop",
        )
    )
    desk.fold(finding())
    desk.parts(5)
    assert not desk.of(Proposed)


def test_nobody_is_asked_about_what_has_waited_too_long() -> None:
    desk = Desk().ready(Mode.SHADOW)
    desk.fold(finding())
    desk.now += timedelta(days=8)
    desk.parts(1)
    assert desk.of(Refused)[-1].guard == "expiry"
    assert not desk.station.field_asking


# ---- what waits for a person is in nobody's way


def _case(desk: Desk, diagnosis: Diagnosis, *, hold: bool = False) -> guard.Case:
    newest = desk.station.newest
    assert newest is not None
    up = SetParameter(parameter=Parameter.LASER_POWER_W, value=1020.0, expected=1000.0)
    return guard.Case(
        action=Hold(reason="gap") if hold else up,
        diagnosis=diagnosis,
        station=desk.station,
        mode=Mode.AUTO,
        seen_at=newest.made_at,
        sequence=newest.sequence,
        model="weld",
        model_version=1,
        given=Given(desk.policy, desk.now),
    )


def test_the_process_is_controlled_and_stopped_while_a_person_decides() -> None:
    desk = Desk().ready()
    desk.fold(finding())
    assert guard.in_flight(_case(desk, Diagnosis.DIRTY_WINDOW)) is None
    asked = desk.station.field_change
    assert asked is not None
    desk.station = changed(desk.station, field_change=changed(asked, state=State.ISSUED))
    assert guard.in_flight(_case(desk, Diagnosis.DIRTY_WINDOW)) is not None
    assert guard.in_flight(_case(desk, Diagnosis.GAP, hold=True)) is None


# ---- a gate changes nothing in the process


def _of_gate(desk: Desk) -> Proposed:
    (proposed,) = [one for one in desk.of(Proposed) if one.diagnosis is Diagnosis.MARGINAL_JOINTS]
    return proposed


def _holds(desk: Desk) -> list[Proposed]:
    return [one for one in desk.of(Proposed) if isinstance(one.action, Hold)]


def test_parts_that_a_tighter_gate_rejects_are_scrap_that_stops_the_station() -> None:
    desk = Desk().ready()
    desk.fold(finding(limit_uohm=46.0))
    desk.agreed().parts(12)
    assert len(desk.of(Verified)) == 1
    desk.parts(POLICY.scrap.parts, uohm=50.0, rejected=True)
    (hold,) = _holds(desk)
    assert "the limit, 46 µΩ now" in hold.reason
    assert AlarmCode.SCRAP in [one.code for one in desk.of(Alarm)]


@pytest.mark.parametrize("what", [{"rejected": True}, {"limit_uohm": 46.0}])
def test_scrap_is_what_the_gate_in_force_rejects_or_should(what: dict[str, Any]) -> None:
    desk = Desk().ready()
    desk.parts(POLICY.scrap.parts, uohm=50.0)
    assert not _holds(desk)
    desk.parts(POLICY.scrap.parts, uohm=50.0, **what)
    assert len(_holds(desk)) == 1


@pytest.mark.parametrize("gate_uohm", [55.0, 46.0])
def test_a_setpoint_whose_parts_the_gate_rejects_is_not_verified(gate_uohm: float) -> None:
    desk = Desk(limit_uohm=gate_uohm).ready()
    applied = changed(
        _in_flight(State.APPLIED),
        actual=1020.0,
        part_counter=desk.number,
        before_uohm=52.0,
        applied_at=desk.now,
    )
    desk.station = changed(desk.station, in_flight=applied)
    desk.parts(10, uohm=50.0, power_w=1020.0, rejected=gate_uohm < 50.0)
    assert len(desk.of(Verified)) == (gate_uohm > 50.0)
    assert [one.reason for one in desk.of(Inconclusive)] == (
        ["50.5 µΩ on 10 parts, over the limit of 46 µΩ"] if gate_uohm < 50.0 else []
    )


def test_a_gate_does_not_make_up_for_changes_that_failed() -> None:
    desk = Desk().ready()
    desk.fold(finding())
    desk.station = changed(desk.station, failures=POLICY.scrap.failures)
    desk.parts(5).agreed()
    assert desk.station.failures == POLICY.scrap.failures


def test_a_gate_that_fails_is_no_failure_of_the_process() -> None:
    desk = Desk().ready()
    desk.fold(finding())
    desk.station = changed(desk.station, failures=POLICY.scrap.failures - 1)
    for event in life(_of_gate(desk), desk.now, desk.number, refused=True):
        desk.fold(event)
    assert desk.station.failures == POLICY.scrap.failures - 1
    assert [one.code for one in desk.of(Alarm)] == [AlarmCode.FIELD_EVIDENCE, AlarmCode.CHANGE_FAILED]


def test_scrap_is_stopped_no_later_because_a_gate_was_set_meanwhile() -> None:
    def stopped_after(gate: bool) -> int:
        desk = Desk().ready()
        desk.fold(finding())
        desk.parts(30)
        good = desk.number
        while not _holds(desk):
            desk.parts(1, uohm=70.0, rejected=True)
            if gate and desk.number == good + 5:
                desk.agreed()
            assert desk.number < good + 100
        return desk.number - good

    assert stopped_after(True) == stopped_after(False)


@pytest.mark.parametrize("end", ["rejected", "applied", "given up"])
def test_whatever_becomes_of_a_gate_no_cooldown_of_the_process_begins(end: str) -> None:
    desk = Desk().ready()
    desk.fold(finding())
    desk.parts(20)
    proposed = _of_gate(desk)
    if end == "applied":
        desk.agreed()
    elif end == "given up":
        desk.now += timedelta(days=14)
    else:
        desk.fold(_rejected(proposed, desk))
    desk.parts(1)
    if end == "given up":
        assert desk.station.field_change is None
    assert desk.station.settled is None
    assert guard.cooldown(_case(desk, Diagnosis.DIRTY_WINDOW)) is None


# ---- measuring


def test_a_gate_is_verified_on_joints_that_passed_it() -> None:
    desk = Desk().ready()
    desk.fold(finding())
    desk.agreed().parts(9)
    assert not desk.of(Verified)
    desk.parts(3, uohm=58.0, rejected=True)  # scrap says that it works, and does not count
    assert not desk.of(Verified)
    desk.parts(1)
    (verified,) = desk.of(Verified)
    assert verified.parts == 10
    assert desk.station.field_change is None
    assert not desk.of(RolledBack)


def test_a_gate_that_lets_through_what_it_must_not_is_inconclusive_and_never_taken_back() -> None:
    desk = Desk().ready()
    desk.fold(finding())
    desk.agreed().parts(2).parts(1, uohm=52.0)
    (verdict,) = desk.of(Inconclusive)
    assert "passed the gate of 49.5" in verdict.reason
    assert len(desk.of(Proposed)) == 1
    assert not desk.of(RolledBack)
    assert not desk.of(ModeShed)
    assert desk.of(Alarm)[-1].code is AlarmCode.NO_EFFECT


def test_a_gate_that_is_not_in_force_on_parts_is_inconclusive() -> None:
    desk = Desk().ready()
    desk.fold(finding())
    desk.agreed()
    desk.limit_uohm = 55.0
    desk.parts(POLICY.verification.patience_parts)
    (verdict,) = desk.of(Inconclusive)
    assert "in force on 0 of" in verdict.reason


def test_scrap_far_above_the_gate_is_no_harm_that_it_did() -> None:
    desk = Desk().ready()
    desk.fold(finding())
    desk.agreed().parts(8, uohm=140.0, rejected=True)
    assert not desk.of(RolledBack)
    desk.parts(12)
    assert len(desk.of(Verified)) == 1


def test_what_line_refuses_ends_it_and_is_not_asked_again() -> None:
    desk = Desk().ready()
    desk.fold(finding())
    (proposed,) = desk.of(Proposed)
    events = life(proposed, desk.now, desk.number, refused=True)
    assert isinstance(events[-1], Failed)
    for event in events:
        desk.fold(event)
    assert desk.station.field_change is None
    desk.parts(30)
    assert len(desk.of(Proposed)) == 1


def test_a_part_counter_that_begins_anew_ends_the_measurement() -> None:
    desk = Desk().ready()
    desk.fold(finding())
    desk.agreed().parts(2)
    desk.number = 0
    desk.parts(1)
    (verdict,) = desk.of(Inconclusive)
    assert "began anew" in verdict.reason


# ---- replay


@settings(max_examples=40)
@given(data=st.data())
def test_any_repetition_of_what_was_read_asks_once(data: st.DataObject) -> None:
    """At least once: whatever was folded already may come again, in its order, at any point."""
    desk = Desk().ready()
    read: list[StationEvent] = [finding(1), finding(2, limit_uohm=48.0)]
    for event in read:
        desk.fold(event)
    (proposed,) = desk.of(Proposed)
    log: list[StationEvent] = [finding(1), proposed, *life(proposed, desk.now, desk.number)]
    done: list[StationEvent] = []
    for event in log:
        desk.fold(event)
        done.append(event)
        since = data.draw(st.integers(0, len(done)))
        for again in done[since:]:
            desk.fold(again)
    assert isinstance(log[-1], Applied)
    desk.limit_uohm = 49.5
    desk.parts(12)
    for event in done:
        desk.fold(event)
    assert len(desk.of(Verified)) == 1
    mine = [one for one in desk.of(Proposed) if one.caused_by == "finding-1"]
    assert {one.event_id for one in mine} == {proposed.event_id}
    assert len([one for one in desk.of(Alarm) if one.code is AlarmCode.FIELD_EVIDENCE]) == 2
