"""Scrap that nothing mends stops the station; while something is being done it goes on. And who is called."""

from __future__ import annotations

from typing import Any

import pytest
from support.weldloop import ASSET, POLICY, START, Fault, Loop

from twinloop.contracts.changes import Diagnosis, Hold, Parameter, Proposed, SetParameter, Verified
from twinloop.contracts.controls import ModeShed
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.modes import Mode
from twinloop.controller.state import WouldPropose


def scrap(number: int) -> Fault:
    """Bad joints, and no signal says why."""
    return Fault(extra_uohm=30.0) if number > 30 else Fault()


def codes(loop: Loop) -> list[AlarmCode]:
    return [one.code for one in loop.of(Alarm)]


def actions(loop: Loop) -> list[Any]:
    return [one.action for one in loop.of(Proposed)]


def test_scrap_without_a_diagnosis_stops_the_station() -> None:
    loop = Loop(1, scrap).run(80)
    (proposed,) = loop.of(Proposed)
    assert proposed.action == Hold(reason="the station makes scrap that nothing mends")
    assert codes(loop) == [AlarmCode.SCRAP]
    assert loop.held
    rule = POLICY.scrap
    assert 30 + rule.bad <= len(loop.resistances) <= 30 + rule.parts + loop.lag


def test_fewer_bad_parts_stop_nothing() -> None:
    def some(number: int) -> Fault:
        return Fault(extra_uohm=30.0) if number % 4 else Fault()  # 15 of 20

    loop = Loop(1, some).run(200)
    assert not loop.of(Proposed)
    assert not codes(loop)


def test_scrap_that_is_being_mended_stops_nothing() -> None:
    loop = Loop(2, lambda number: Fault(defocus_mm=0.9) if number > 30 else Fault()).run(150)
    assert {type(one) for one in actions(loop)} == {SetParameter}
    assert AlarmCode.SCRAP not in codes(loop)
    assert max(loop.resistances[-20:]) < POLICY.verification.limit_uohm


def test_in_shadow_it_is_written_down_that_it_would_be_stopped_and_not_part_by_part() -> None:
    loop = Loop(1, scrap, mode=Mode.OFF).run(130)
    told = loop.of(WouldPropose)
    assert not loop.of(Proposed)
    assert 1 <= len(told) <= 1 + 100 // POLICY.scrap.parts
    assert all(isinstance(one.proposed.action, Hold) for one in told)
    assert not codes(loop)  # a person keeps it there


def test_an_asset_that_was_shed_calls_a_person_about_scrap() -> None:
    loop = Loop(1, scrap).run(20)
    shed = ModeShed(
        event_id="shed",
        asset=ASSET,
        at=START,
        observed_at=START,
        trace_id="",
        mode=Mode.SHADOW,
        by="line",
        reason="x",
    )
    loop.fold(shed)
    for number in range(21, 60):
        loop._weld(number)
    assert not loop.of(Proposed)
    assert codes(loop) == [AlarmCode.SCRAP]
    assert "is not stopped" in loop.of(Alarm)[0].text


def test_a_device_that_does_not_obey_is_left_alone_and_can_still_be_stopped() -> None:
    def drift(number: int) -> Fault:
        return Fault(tau=max(0.75, 1.0 - 0.001 * max(0, number - 30)))

    loop = Loop(3, drift, refuse=True).run(400)
    setpoints = [one for one in actions(loop) if isinstance(one, SetParameter)]
    holds = [one for one in actions(loop) if isinstance(one, Hold)]
    assert len(setpoints) == POLICY.scrap.failures
    assert holds  # the device refuses that, too
    assert codes(loop).count(AlarmCode.PERSON_NEEDED) == 1
    assert loop.station.failures >= POLICY.scrap.failures
    loop.refuse = False
    loop.promote(Mode.SHADOW)


def test_a_power_error_is_mended_by_power() -> None:
    loop = Loop(4, lambda number: Fault(factor=1.2) if number > 30 else Fault()).run(250)
    assert {one.diagnosis for one in loop.of(Proposed)} == {Diagnosis.POWER_ERROR}
    for one in actions(loop):
        assert one.parameter is Parameter.LASER_POWER_W
        assert one.value < one.expected
    assert len(loop.of(Verified)) == len(loop.of(Proposed)) > 1
    assert 1.2 * loop.power_w == pytest.approx(1000.0, abs=60)


def test_a_sensor_that_is_wrong_changes_nothing_and_a_person_is_called_once() -> None:
    loop = Loop(5, lambda number: Fault(depth_bias_mm=-0.1) if number > 30 else Fault()).run(200)
    assert not loop.of(Proposed)
    assert codes(loop) == [AlarmCode.INPUT_INVALID]
    assert "check the sensors" in loop.of(Alarm)[0].text
    assert loop.station.governance.actual is Mode.AUTO


def test_a_person_is_called_again_once_it_was_gone() -> None:
    loop = Loop(5, lambda number: Fault(depth_bias_mm=-0.1) if 30 < number < 60 or number > 120 else Fault())
    loop.run(200)
    assert codes(loop) == [AlarmCode.INPUT_INVALID] * 2


def test_a_gap_that_makes_bad_joints_stops_and_one_that_does_not_calls_a_person() -> None:
    bad = Loop(6, lambda number: Fault(plasma=0.4, extra_uohm=40.0) if number > 30 else Fault()).run(60)
    assert actions(bad) == [Hold(reason="gap between the sheets: no setpoint closes it")]
    assert set(codes(bad)) == {AlarmCode.GAP}
    good = Loop(6, lambda number: Fault(plasma=0.4) if number > 30 else Fault()).run(100)
    assert not good.of(Proposed)
    assert codes(good) == [AlarmCode.GAP]
    assert "The station goes on" in good.of(Alarm)[0].text
