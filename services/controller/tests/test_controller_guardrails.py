"""One test for each guardrail that the controller enforces, by its number. Each fails without its guard."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace as changed
from support.desk import Desk
from support.weldloop import ASSET, POLICY, START, joint, life, requested

from twinloop.contracts.changes import (
    Applied,
    Diagnosis,
    Expired,
    Failed,
    Hold,
    Inconclusive,
    Parameter,
    Proposed,
    RolledBack,
    SetParameter,
    State,
    Verified,
)
from twinloop.contracts.controls import (
    KillSwitchCleared,
    KillSwitchSet,
    ModeEntered,
    ModeRefused,
    ModeShed,
    Overridden,
)
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.modes import Mode
from twinloop.controller import guard, modes
from twinloop.controller.audited import acts
from twinloop.controller.estimate import Estimate, power_for
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.repeats import AGAIN_PARTS
from twinloop.controller.state import BadInput, Cause, Given, Refused, WouldPropose

T = TypeVar("T")


def control(kind: type[T], number: int = 1, **what: Any) -> T:
    return kind(
        event_id=f"{kind.__name__}-{number}",
        asset=ASSET,
        at=START,
        observed_at=START,
        trace_id="c" * 32,
        **what,
    )


def case(desk: Desk, action: SetParameter | Hold, **what: Any) -> guard.Case:
    """Everything speaks for `action`, apart from `what`."""
    plain = guard.Case(
        action=action,
        diagnosis=Diagnosis.DIRTY_WINDOW,
        station=desk.station,
        mode=Mode.AUTO,
        seen_at=desk.now,
        sequence=desk.number,
        model="weld",
        model_version=1,
        given=Given(desk.policy, desk.now),
    )
    return replace(plain, **what)


def power(value: float, expected: float = 1000.0) -> SetParameter:
    return SetParameter(parameter=Parameter.LASER_POWER_W, value=value, expected=expected)


def limited(**limits: Any) -> AssetPolicy:
    """The shipped policy with other limits on the power."""
    return POLICY.model_copy(update={"laser_power_w": POLICY.laser_power_w.model_copy(update=limits)})


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.SHADOW, Mode.SUPERVISED, Mode.AUTO])
def test_guardrail_02_modes(mode: Mode) -> None:
    desk = Desk().ready(max(mode, Mode.SHADOW, key=lambda one: one.rank))
    if mode is Mode.OFF:
        desk.fold(requested(Mode.OFF, desk.now))
    desk.parts(8, dirty=True)
    assert [one.mode for one in desk.of(Proposed)] == ([mode] if mode.acts else [])
    assert len(desk.of(WouldPropose)) == (2 if mode is Mode.SHADOW else 0)  # once in four parts, not by part
    if mode.acts:
        (proposed,) = desk.of(Proposed)
        allowed_s = (proposed.expires_at - proposed.at).total_seconds()
        assert allowed_s == (30 if mode is Mode.AUTO else 600)
    assert guard.refusal(case(desk, power(1030), mode=Mode.OFF)) == Refused(
        "mode", "the mode is off", power(1030)
    )


def test_guardrail_02_nobody_skips_a_mode_or_passes_the_ceiling() -> None:
    desk = Desk()
    desk.fold(requested(Mode.SUPERVISED, START))
    assert [one.reason for one in desk.of(ModeRefused)] == [
        "no part is known yet, so the setpoints in force are not"
    ]
    desk.parts(1)
    desk.fold(requested(Mode.AUTO, desk.now, 2))
    assert "more than one step" in desk.of(ModeRefused)[-1].reason
    desk.policy = POLICY.model_copy(update={"highest_mode": Mode.SUPERVISED})
    desk.promoted(Mode.SUPERVISED)
    desk.fold(requested(Mode.AUTO, desk.now, 3))
    assert "is above supervised" in desk.of(ModeRefused)[-1].reason
    assert desk.station.governance.actual is Mode.SUPERVISED
    desk.policy = POLICY.model_copy(update={"highest_mode": Mode.SHADOW})
    desk.parts(4, dirty=True)
    assert not desk.of(Proposed)


def test_guardrail_02_a_process_sheds_what_it_did_not_let_in() -> None:
    desk = Desk().ready()
    entered = desk.of(ModeEntered)[-1]
    cause = Cause("start", desk.now, "0" * 32)
    kept, nothing = modes.take_over(desk.station, {entered.event_id}, cause, desk.now)
    assert (kept, nothing) == (desk.station, ())
    desk.station, (shed, alarm) = modes.take_over(desk.station, (), cause, desk.now)
    assert isinstance(shed, ModeShed)
    assert isinstance(alarm, Alarm)
    assert (shed.mode, shed.by, alarm.code) == (Mode.SHADOW, "controller", AlarmCode.MODE_SHED)
    desk.parts(4, dirty=True)  # before it is read back
    assert not desk.of(Proposed)
    _, again = modes.take_over(desk.station, (), cause, desk.now)
    assert not again
    desk.fold(shed)
    assert desk.station.governance.actual is Mode.SHADOW
    lost = modes.unknown(ASSET)
    assert modes.take_over(lost, (), cause, desk.now)[1]


def test_guardrail_02_a_shed_leaves_a_change_to_those_who_end_it() -> None:
    desk = Desk().ready().parts(4, dirty=True)
    (proposed,) = desk.of(Proposed)
    desk.fold(control(ModeShed, mode=Mode.SHADOW, by="line", reason="its audit store is away"))
    assert desk.station.in_flight is not None
    desk.fold(control(Expired, change_id=proposed.change_id, reason="the mode is shadow"))
    desk.fold(life(proposed, desk.now, desk.number)[0])
    assert desk.station.in_flight is None


@pytest.mark.parametrize(
    ("what", "bad"),
    [
        ("quality", {"deviations": {"plasma.mean": float("nan")}}),
        ("age", {"observed_at": START - timedelta(seconds=60)}),
        ("age", {"observed_at": START + timedelta(seconds=60)}),
        ("range", {"depth_mm": 1.6}),
        ("frozen", {"depth_mm": 0.42}),
    ],
)
def test_guardrail_03_input_validity(what: str, bad: dict[str, Any]) -> None:
    desk = Desk().ready()
    before = desk.station.intercept_mm
    desk.parts(4 if what == "frozen" else 3, dirty=True, **bad)
    found = desk.of(BadInput)
    assert {one.what for one in found} == {what}
    if what != "frozen":
        assert desk.station.intercept_mm == before  # nothing is learnt from it
    assert not desk.of(Proposed)
    assert desk.station.governance.actual is Mode.AUTO  # held
    hold_parts = desk.policy.input.hold_parts
    desk.parts(hold_parts - len(found), dirty=True, **bad)
    assert desk.station.governance.actual is Mode.SHADOW
    assert desk.codes() == [AlarmCode.INPUT_INVALID]


def test_guardrail_03_a_jump_of_the_depth_is_no_evidence() -> None:
    desk = Desk().ready().parts(3, dirty=True).parts(1, dirty=True, depth_mm=0.9)
    assert [one.what for one in desk.of(BadInput)] == ["jump"]
    assert not desk.of(Proposed)


@pytest.mark.parametrize(
    ("what", "measured"),
    [("range", [20_000.0 + n for n in range(5)]), ("frozen", [42.25] * 8), ("quality", [float("inf")] * 5)],
)
def test_guardrail_03_bad_parts_hold_everything_up(what: str, measured: list[float]) -> None:
    desk = Desk().ready()
    for uohm in measured:
        desk.number += 1
        desk.now += timedelta(milliseconds=100)
        desk.fold(joint(desk.number, desk.now, uohm, 1000.0))
        desk.dirty()
    assert {one.what for one in desk.of(BadInput)} == {what}
    assert not desk.of(Proposed)
    assert desk.station.governance.actual is Mode.SHADOW
    assert not any(part.trusted for part in desk.station.parts[-5:])


def test_guardrail_03_the_newest_part_must_be_good() -> None:
    desk = Desk().ready()
    assert guard.refusal(case(desk, power(1030))) is None
    desk.number += 1
    desk.fold(joint(desk.number, desk.now, 20_000.0, 1000.0))
    refused = guard.refusal(case(desk, power(1030)))
    assert refused is not None
    assert refused.guard == "input_validity"
    desk.fold(requested(Mode.SHADOW, desk.now, 7))
    desk.fold(requested(Mode.SUPERVISED, desk.now, 8))
    assert "the input is bad" in desk.of(ModeRefused)[-1].reason


def test_guardrail_04_fault_gate() -> None:
    desk = Desk().ready()
    before = desk.station.intercept_mm
    gap = {"deviations": {"plasma.mean": 20.0}}
    defocus = {"deviations": {"window_temperature_c.mean": 0.0}}
    unknown = {"deviations": {"window_temperature_c.mean": 2.0}}
    for what in (gap, defocus, unknown):
        desk.parts(1, dirty=True, **what)
    assert desk.station.intercept_mm == before
    desk.parts(3, dirty=True)
    assert desk.station.intercept_mm != before
    refused = guard.refusal(case(desk, power(1030), sequence=13))
    assert refused is not None
    assert refused.guard == "fault_gate"
    wrong = guard.refusal(case(Desk().ready(), power(1030), diagnosis=Diagnosis.DEFOCUS))
    assert wrong is not None
    assert wrong.guard == "fault_gate"


@pytest.mark.parametrize(
    ("limits", "value", "expected", "name"),
    [
        ({}, 1410.0, 1400.0, "hard_limits"),
        ({}, float("nan"), 1000.0, "hard_limits"),
        ({}, 1010.0, float("nan"), "hard_limits"),
        ({}, 1360.0, 1340.0, "operator_limits"),
        ({"validity": {"low": 950.0, "high": 1100.0}}, 1110.0, 1090.0, "model_validity"),
        ({"authority": 50.0}, 1060.0, 1040.0, "authority"),
    ],
)
def test_guardrail_05_nested_limits(limits: dict[str, Any], value: float, expected: float, name: str) -> None:
    whole = POLICY.laser_power_w.model_dump() | limits
    policy = POLICY.model_copy(update={"laser_power_w": type(POLICY.laser_power_w)(**whole)})
    refused = guard.refusal(case(Desk(policy).ready(), power(value, expected)))
    assert refused is not None
    assert refused.guard == name


def test_guardrail_04_while_sensors_contradict_each_other_no_setpoint_is_changed() -> None:
    desk = Desk().ready()
    for n in range(POLICY.persistence.sensor_fault.parts):
        desk.parts(1, dirty=True, depth_mm=0.499 + 0.0005 * (n % 2))
    refused = guard.refusal(case(desk, power(1030)))
    assert refused is not None
    assert refused.guard == "fault_gate"
    assert desk.codes() == [AlarmCode.INPUT_INVALID]
    assert desk.station.governance.actual is Mode.AUTO


def test_guardrail_05_limits_that_are_not_nested_are_no_policy() -> None:
    whole = POLICY.laser_power_w.model_dump()
    for wrong in ({"operator": {"low": 700, "high": 1350}}, {"validity": {"low": 800, "high": 1350}}):
        with pytest.raises(ValueError, match="must lie within"):
            type(POLICY.laser_power_w)(**(whole | wrong))


def test_guardrail_06_rate() -> None:
    desk = Desk().ready()
    too_far = guard.refusal(case(desk, power(1031)))
    assert too_far is not None
    assert too_far.guard == "step"
    desk.policy = limited(hourly_travel=75.0)
    desk.changed()
    moved = desk.station.travels[0].distance
    assert moved == pytest.approx(abs(desk.power_w - 1000.0))
    desk.parts(30, dirty=True, uohm=41)
    refused = [one.guard for one in desk.of(Refused)]
    assert len(desk.of(Proposed)) == 1
    assert refused.count("hourly_travel") >= 1  # 30 W were moved, and two times 30 do not fit into 75
    desk.now += timedelta(hours=1)
    desk.parts(4, dirty=True)
    assert len(desk.of(Proposed)) == 2


def test_guardrail_06_total_authority_ends_in_a_call_for_maintenance() -> None:
    desk = Desk(limited(authority=45.0)).ready()
    for _ in range(2):
        desk.changed()
        desk.parts(12, uohm=41)
    assert desk.power_w == 1045.0
    assert "saturated: our authority is 955 to 1045" in desk.of(Proposed)[-1].reason
    desk.parts(8, dirty=True)
    assert len(desk.of(Proposed)) == 2
    assert desk.codes() == [AlarmCode.WINDOW_MAINTENANCE]  # once
    assert {one.guard for one in desk.of(Refused)} == {"authority"}


def test_guardrail_07_deadband() -> None:
    desk = Desk().ready().parts(8, dirty=True, depth_mm=None)
    quiet = Desk(power_w=1110.0).ready()
    for n in range(8):
        quiet.parts(1, dirty=True, depth_mm=0.499 + 0.0005 * (n % 2))
    assert desk.of(Proposed)
    assert not quiet.of(Proposed)
    assert {one.guard for one in quiet.of(Refused)} == {"deadband"}


@pytest.mark.parametrize("slow", ["parts", "seconds"])
def test_guardrail_08_cooldown(slow: str) -> None:
    desk = Desk()
    rule = {"parts": 30, "seconds": 0.0} if slow == "parts" else {"parts": 0, "seconds": 2.5}
    desk.policy = POLICY.model_copy(update={"cooldown": POLICY.cooldown.model_copy(update=rule)})
    desk.ready().changed()
    desk.parts(10, uohm=41)
    assert desk.of(Verified)
    desk.parts(4, dirty=True)
    assert len(desk.of(Proposed)) == 1
    assert {one.guard for one in desk.of(Refused)} == {"cooldown"}
    desk.parts(18, dirty=True)
    assert len(desk.of(Proposed)) == 2


def test_guardrail_09_permissive() -> None:
    desk = Desk().ready()
    desk.parts(3, dirty=True)
    desk.recipe = "cu-cu-tab-2"
    before = desk.station.intercept_mm
    desk.parts(3, dirty=True)
    assert desk.station.intercept_mm == before  # another recipe teaches nothing
    assert not desk.of(Proposed)
    assert {one.guard for one in desk.of(Refused)} == {"permissive"}
    refused = guard.refusal(case(desk, power(1030)))
    assert refused is not None
    assert refused.guard == "permissive"
    assert "'cu-al-tab-7' was released" in refused.reason
    assert guard.refusal(case(desk, Hold(reason="gap"), diagnosis=Diagnosis.GAP)) is None
    nothing = POLICY.model_copy(update={"recipe": None})
    refused = guard.refusal(case(Desk(nothing).ready(), power(1030)))
    assert refused is not None
    assert refused.reason == "no recipe was released for the asset"


def test_guardrail_10_a_proposal_says_all_that_its_envelope_must() -> None:
    desk = Desk().ready().parts(4, dirty=True)
    (proposed,) = desk.of(Proposed)
    assert isinstance(proposed.action, SetParameter)
    assert proposed.action.expected == 1000.0  # compare and set
    assert proposed.recipe == "cu-al-tab-7"
    assert (proposed.model, proposed.model_version, proposed.input_digest) == ("weld", 1, "d")
    assert proposed.mode is Mode.AUTO
    assert proposed.expires_at > proposed.at
    assert len(proposed.evidence) == 4


def test_guardrail_11_one_change_is_in_flight() -> None:
    desk = Desk().ready().parts(30, dirty=True)
    assert len(desk.of(Proposed)) == 1
    assert {one.guard for one in desk.of(Refused)} == {"in_flight"}
    events = life(desk.of(Proposed)[0], desk.now, desk.number)
    desk.fold(events[-1])  # applied without being released
    assert desk.station.in_flight is not None
    assert desk.station.in_flight.state is State.PROPOSED


def test_guardrail_11_a_gap_behind_a_change_that_waits_is_alarmed_at_once() -> None:
    desk = Desk().ready(Mode.SUPERVISED).parts(4, dirty=True)
    desk.parts(6, dirty=True, deviations={"plasma.mean": 20.0})
    assert [type(one.action) for one in desk.of(Proposed)] == [SetParameter]
    assert desk.codes() == [AlarmCode.GAP]


def test_guardrail_11_a_stop_overtakes_what_nobody_has_released() -> None:
    desk = Desk().ready().parts(4, dirty=True)
    (first,) = desk.of(Proposed)
    desk.parts(6, dirty=True, uohm=300.0, deviations={"plasma.mean": 20.0})
    assert [type(one.action) for one in desk.of(Proposed)] == [SetParameter, Hold]
    assert desk.codes() == [AlarmCode.GAP]
    hold = desk.of(Proposed)[-1]
    desk.applied(hold)
    events = life(first, desk.now, desk.number, refused=True)  # released all the same: the line refuses
    for event in events:
        desk.fold(event)
    assert desk.station.in_flight is not None
    assert desk.station.in_flight.change_id == hold.change_id


def test_guardrail_12_after_failures_in_a_row_no_setpoint_is_tried_until_a_person_promotes_anew() -> None:
    desk = Desk().ready()
    for _ in range(POLICY.scrap.failures):
        desk.parts(12, dirty=True)
        for event in life(desk.of(Proposed)[-1], desk.now, desk.number, refused=True):
            desk.fold(event)
    tried = len(desk.of(Proposed))
    assert tried == POLICY.scrap.failures
    assert desk.codes() == [AlarmCode.CHANGE_FAILED] * tried + [AlarmCode.PERSON_NEEDED]
    desk.parts(30, dirty=True)
    assert len(desk.of(Proposed)) == tried
    refused = guard.refusal(case(desk, power(1030)))
    assert refused is not None
    assert refused.guard == "failures"
    assert guard.refusal(case(desk, Hold(reason="gap"), diagnosis=Diagnosis.GAP)) is None
    desk.fold(requested(Mode.SHADOW, desk.now, 900))
    desk.promoted().parts(4, dirty=True)
    assert len(desk.of(Proposed)) == tried + 1


def test_guardrail_12_what_counts_is_what_the_device_was_read_back_as() -> None:
    desk = Desk().ready().parts(4, dirty=True)
    (proposed,) = desk.of(Proposed)
    *before, done = life(proposed, desk.now, desk.number)
    assert isinstance(done, Applied)
    for event in (*before, changed(done, actual=1011.0)):
        desk.fold(event)
    desk.power_w = 1030.0  # made with what was commanded, not with what was read
    desk.parts(31)
    assert [one.change_id for one in desk.of(Inconclusive)] == [proposed.change_id]
    assert desk.station.travels[-1].distance == pytest.approx(11.0)


def test_guardrail_13_parts_that_nobody_told_of_shed_and_a_line_that_stands_still_does_not() -> None:
    desk = Desk().ready()
    desk.now += timedelta(hours=8)
    desk.parts(1)
    assert desk.station.governance.actual is Mode.AUTO
    desk.now += timedelta(seconds=5)
    desk.number += POLICY.input.hold_parts
    desk.parts(1)
    assert desk.station.governance.actual is Mode.SHADOW
    assert desk.codes() == [AlarmCode.INPUT_INVALID]
    assert {one.what for one in desk.of(BadInput)} == {"missing"}


def test_guardrail_14_bumpless() -> None:
    desk = Desk().parts(12).parts(30, dirty=True)
    rule = desk.policy.estimator

    def wanted_w() -> float:
        assert desk.station.intercept_mm is not None
        known = Estimate(desk.station.intercept_mm, desk.station.trend_mm)
        return power_for(known, desk.policy.target_depth_mm, rule)

    assert wanted_w() > 1050
    desk.power_w = 1022.0  # an operator helped himself
    desk.parts(1).promoted(Mode.SUPERVISED)
    assert wanted_w() == pytest.approx(1022.0)
    assert desk.of(ModeEntered)[-1].power_w == 1022.0
    desk.parts(3, dirty=True).promoted(Mode.AUTO)
    assert wanted_w() == pytest.approx(1022.0)
    desk.parts(1, dirty=True, model_version=2)
    assert abs(wanted_w() - 1022.0) < 11  # one part since it was calculated back


def test_guardrail_15_what_a_fault_did_at_once_is_not_the_changes_harm() -> None:
    desk = Desk().ready()
    desk.parts(4, dirty=True, uohm=300.0)  # twelve good ones before
    proposed = desk.of(Proposed)[-1]
    assert desk.station.in_flight is not None
    assert desk.station.in_flight.before_parts == 4
    desk.parts(3, uohm=300.0)  # made while it is on its way
    desk.applied(proposed)
    assert (desk.station.in_flight.before_parts, round(desk.station.in_flight.before_uohm)) == (7, 300)
    desk.parts(5, uohm=290.0)
    assert not desk.of(RolledBack)


def test_guardrail_15_rollback() -> None:
    desk = Desk().ready()
    proposed = desk.changed()
    desk.parts(9, uohm=60)
    assert desk.number - 16 == 9
    (rolled_back,) = desk.of(RolledBack)
    restoring = desk.of(Proposed)[-1]
    assert rolled_back.change_id == proposed.change_id
    assert rolled_back.restored_by == restoring.change_id
    assert restoring.rollback_of == proposed.change_id
    assert restoring.caused_by == "joint-19"  # early: three parts are enough
    assert isinstance(proposed.action, SetParameter)
    assert restoring.action == power(1000.0, proposed.action.value)
    assert desk.station.governance.actual is Mode.AUTO  # until it has ended
    desk.applied(restoring)
    assert desk.station.governance.actual is Mode.SHADOW
    assert desk.codes() == [AlarmCode.ROLLED_BACK]
    desk.parts(12)
    assert restoring.change_id in {one.change_id for one in desk.of(Verified)}
    assert len(desk.of(RolledBack)) == 1


@pytest.mark.parametrize("end", ["failed", "expired", "nobody"])
def test_guardrail_15_whatever_becomes_of_a_rollback_ends_in_shadow(end: str) -> None:
    desk = Desk().ready()
    desk.changed()
    desk.parts(4, uohm=60)
    restoring = desk.of(Proposed)[-1]
    first, second, *_ = life(restoring, desk.now, desk.number)
    desk.fold(first)
    desk.fold(second)
    common = {"change_id": restoring.change_id, "reason": "no"}
    if end == "failed":
        desk.fold(control(Failed, guard="device", **common))
    elif end == "expired":
        desk.fold(control(Expired, **common))
    else:
        desk.now += timedelta(minutes=2)
        desk.parts(1)
    assert desk.station.governance.actual is Mode.SHADOW
    assert AlarmCode.ROLLED_BACK in desk.codes()


def test_guardrail_15_two_broken_joints_are_taken_back_and_one_is_not() -> None:
    desk = Desk().ready()
    desk.changed()
    desk.parts(1, uohm=1500)
    assert not desk.of(RolledBack)
    desk.parts(1, uohm=1500)
    assert len(desk.of(RolledBack)) == 1


def test_guardrail_15_what_cannot_be_taken_back_is_inconclusive_and_sheds() -> None:
    desk = Desk().ready()
    desk.changed()
    desk.policy = limited(operator=POLICY.laser_power_w.operator.model_copy(update={"low": 1005.0}))
    desk.parts(4, uohm=60)
    assert len(desk.of(Proposed)) == 1
    assert "cannot be taken back: operator_limits" in desk.of(Inconclusive)[0].reason
    assert desk.station.governance.actual is Mode.SHADOW
    assert desk.codes() == [AlarmCode.NO_EFFECT, AlarmCode.MODE_SHED]


def test_guardrail_15_a_rollback_waits_for_a_quality_gate_on_its_way() -> None:
    desk = Desk().ready()
    change = desk.changed()
    assert desk.station.in_flight is not None
    gate = changed(desk.station.in_flight, change_id="gate", state=State.ISSUED)
    desk.station = changed(desk.station, field_change=gate)
    desk.parts(4, uohm=60)
    assert not desk.of(RolledBack)
    assert not desk.of(Inconclusive)
    desk.station = changed(desk.station, field_change=None)
    desk.parts(1, uohm=60)
    assert [one.change_id for one in desk.of(RolledBack)] == [change.change_id]


@pytest.mark.parametrize("name", ["override", "kill_switch"])
def test_guardrail_16_override_and_kill_switch(name: str) -> None:
    desk = Desk().ready()
    if name == "override":
        what = {
            "parameter": Parameter.LASER_POWER_W,
            "value": 1010.0,
            "expected": 1000.0,
            "reason": "by hand",
        }
        desk.fold(control(Overridden, **what))
    else:
        desk.fold(control(KillSwitchSet, by="person:eva", reason="smoke"))
    desk.parts(4, dirty=True)
    assert not desk.of(Proposed)
    assert not desk.of(WouldPropose)  # not even thought of
    assert {one.guard for one in desk.of(Refused)} == {name}
    assert guard.refusal(case(desk, power(1030))) == Refused(name, desk.of(Refused)[0].reason, power(1030))
    desk.fold(requested(Mode.SUPERVISED, desk.now, 5))
    assert len(desk.of(ModeRefused)) == 1
    if name == "kill_switch":
        desk.fold(control(KillSwitchCleared, by="person:eva", reason="aired"))
        desk.promoted(Mode.SUPERVISED)


def test_guardrail_17_model_swap() -> None:
    desk = Desk().ready().parts(3, dirty=True)
    refused = guard.refusal(case(desk, power(1030), model_version=2))
    assert refused is not None
    assert refused.guard == "model_swap"
    desk.parts(4, dirty=True, model_version=2)
    assert not desk.of(Proposed)
    assert desk.station.governance.actual is Mode.SHADOW
    assert desk.codes() == [AlarmCode.MODE_SHED]
    assert "weld 2 speaks, and the mode was entered with weld 1" in desk.of(ModeShed)[0].reason
    desk.promoted()
    assert desk.of(ModeEntered)[-1].model_version == 2
    desk.parts(4, dirty=True, model_version=2)
    assert [one.model_version for one in desk.of(Proposed)] == [2]


def test_guardrail_18_audit() -> None:
    desk = Desk(away="the disk is full").parts(12)
    desk.fold(requested(Mode.SUPERVISED, desk.now))
    assert "nothing can be audited" in desk.of(ModeRefused)[0].reason
    desk.away = None
    desk.promoted()
    desk.away = "the disk is full"
    desk.parts(4, dirty=True)
    assert not desk.of(Proposed)
    assert {one.guard for one in desk.of(Refused)} == {"audit"}
    desk.away = None
    proposed = desk.changed()
    desk.away = "the disk is full"
    desk.parts(12, uohm=60)
    assert len(desk.of(Proposed)) == 1
    assert not desk.of(RolledBack)  # the verdict waits
    desk.away = None
    desk.parts(1, uohm=60)
    assert [one.change_id for one in desk.of(RolledBack)] == [proposed.change_id]


def written(desk: Desk, what: str) -> list[str]:
    """The reasons of the entries that would be in the audit store."""
    return [one.reason for one in acts(desk.station, desk.outcomes, desk.now) if one.what == what]


def test_guardrail_18_audit_has_one_entry_for_what_is_refused_from_part_to_part() -> None:
    desk = Desk().ready()
    desk.policy = limited(hourly_travel=10.0)
    desk.parts(60, dirty=True)
    assert len(desk.of(Refused)) > 40
    (reason,) = written(desk, "refused")
    assert reason.startswith("hourly_travel: ")
    desk.parts(AGAIN_PARTS)  # nothing is wrong for a while
    desk.parts(10, dirty=True)
    assert len(written(desk, "refused")) == 2
    desk.promoted()  # a person asks anew
    desk.parts(10, dirty=True)
    assert len(written(desk, "refused")) == 3
    desk.away = "the disk is full"
    desk.parts(AGAIN_PARTS, dirty=True)
    desk.outcomes.clear()  # nobody could write them down
    desk.away = None
    desk.parts(10, dirty=True)
    assert len(written(desk, "refused")) == 1


def test_guardrail_18_audit_has_one_entry_for_what_would_be_proposed_from_part_to_part() -> None:
    desk = Desk().parts(12)
    desk.parts(60, dirty=True)
    assert len(desk.of(WouldPropose)) > 10
    assert len(written(desk, "would propose")) <= 2  # the estimate may take another step as it settles
    desk.power_w = 1022.0  # an operator helped himself: that is news
    before = len(written(desk, "would propose"))
    desk.parts(10, dirty=True)
    assert len(written(desk, "would propose")) > before
