"""`decide` in a closed loop: drift, defocus, gap and health, part by part, no I/O."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from statistics import fmean

import pytest
from support.weldloop import ASSET, POLICY, START, Fault, Loop

from twinloop.contracts.changes import (
    Diagnosis,
    Hold,
    Inconclusive,
    Parameter,
    Proposed,
    RolledBack,
    SetParameter,
    Verified,
)
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.modes import Mode
from twinloop.controller.state import Ignored, Station
from twinloop.controller.station import decide


def drift(number: int) -> Fault:
    return Fault(tau=1.0 - 0.0004 * max(0, number - 50))


@pytest.mark.parametrize("seed", range(50))
def test_healthy_parts_lead_to_no_proposal(seed: int) -> None:
    loop = Loop(seed).run(2000)
    assert not loop.of(Proposed)
    assert not loop.of(Alarm)


@pytest.mark.parametrize("seed", range(8))
def test_drift_of_the_window_is_followed_with_power_and_every_change_verifies(seed: int) -> None:
    loop = Loop(seed, drift).run(850)
    alone = Loop(seed, drift, mode=Mode.SHADOW).run(850)
    bad, bad_alone = (sum(one > 55 for one in run.resistances) for run in (loop, alone))
    proposals = loop.of(Proposed)
    assert bad_alone > 200
    assert bad == 0
    assert 12 <= len(proposals) <= 60
    assert {one.diagnosis for one in proposals} == {Diagnosis.DIRTY_WINDOW}
    verified = {one.change_id for one in loop.of(Verified)}
    waiting = loop.station.in_flight
    assert {one.change_id for one in proposals} - verified <= ({waiting.change_id} if waiting else set())
    assert not loop.of(Inconclusive)
    assert max(loop.powers) <= 1350


@pytest.mark.parametrize("seed", range(4))
def test_two_averages_leave_less_of_a_drift_than_one(seed: int) -> None:
    def excess_uohm(kind: str) -> float:
        rule = POLICY.estimator.model_copy(update={"kind": kind})
        loop = Loop(seed, drift, policy=POLICY.model_copy(update={"estimator": rule})).run(800)
        assert not any(one > 55 for one in loop.resistances)
        assert not loop.of(RolledBack)
        return fmean(loop.resistances[300:]) - 42.0

    assert excess_uohm("double") < 0.8 * excess_uohm("ewma")


def test_at_the_operators_limit_maintenance_is_called_for_once() -> None:
    loop = Loop(1, drift).run(1050)
    assert 1350 - POLICY.laser_power_w.deadband < loop.power_w <= 1350
    assert [one.code for one in loop.of(Alarm)] == [AlarmCode.WINDOW_MAINTENANCE]


def test_power_once_raised_stays_while_the_window_stays_as_dirty_as_it_is() -> None:
    loop = Loop(3, lambda number: Fault(tau=1.0 - 0.0004 * min(max(0, number - 50), 250))).run(1500)
    late = loop.powers[600:]
    assert max(late) - min(late) <= 25
    assert {one.diagnosis for one in loop.of(Proposed)} == {Diagnosis.DIRTY_WINDOW}
    assert not loop.of(Inconclusive)


@pytest.mark.parametrize("offset_mm", [-0.8, -0.5, -0.3, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_defocus_is_mended_with_focus_alone(offset_mm: float, seed: int) -> None:
    loop = Loop(seed, lambda number: Fault(defocus_mm=offset_mm if number > 50 else 0.0)).run(350)
    actions = [one.action for one in loop.of(Proposed)]
    assert actions
    assert all(isinstance(one, SetParameter) and one.parameter is Parameter.FOCUS_MM for one in actions)
    assert abs(loop.focus_mm + offset_mm) < 0.2
    assert sum(one > 55 for one in loop.resistances[150:]) == 0
    assert len(actions) <= math.ceil(abs(offset_mm) / 0.25) + 2


@pytest.mark.parametrize("seed", range(8))
def test_a_gap_holds_the_station_and_calls_a_person(seed: int) -> None:
    loop = Loop(seed, lambda number: Fault(plasma=0.4, extra_uohm=1500) if number > 50 else Fault()).run(200)
    assert [one.action for one in loop.of(Proposed)] == [
        Hold(reason="gap between the sheets: no setpoint closes it")
    ]
    assert [one.code for one in loop.of(Alarm)] == [AlarmCode.GAP]
    assert len(loop.resistances) <= 58


def test_a_gap_while_the_window_is_dirty_is_a_gap() -> None:
    def both(number: int) -> Fault:
        fault = drift(number)
        return Fault(tau=fault.tau, plasma=0.4, extra_uohm=1500) if number > 300 else fault

    loop = Loop(2, both).run(400)
    last = loop.of(Proposed)[-1]
    assert isinstance(last.action, Hold)
    assert len(loop.resistances) <= 312
    ended = {one.change_id for one in [*loop.of(Verified), *loop.of(Inconclusive)]}
    assert {one.change_id for one in loop.of(Proposed)} - ended == {last.change_id}


def test_refused_changes_are_tried_again_only_after_the_cooldown_and_not_for_ever() -> None:
    loop = Loop(1, drift, refuse=True).run(400)
    proposals = loop.of(Proposed)
    assert len(proposals) == POLICY.scrap.failures
    assert Counter(one.code for one in loop.of(Alarm)) == {
        AlarmCode.CHANGE_FAILED: len(proposals),
        AlarmCode.PERSON_NEEDED: 1,
    }
    assert not loop.of(Verified)
    at = [int(one.trace_id.removeprefix("trace-")) for one in proposals]
    assert all(after - before >= POLICY.cooldown.parts + loop.lag for before, after in pairwise(at))
    assert set(loop.powers) == {1000.0}


@pytest.mark.parametrize("seed", range(5))
def test_single_outliers_do_nothing(seed: int) -> None:
    def odd(number: int) -> Fault:
        wrong = [Fault(plasma=0.5), Fault(tau=0.9), Fault(defocus_mm=-0.5)]
        return wrong[number // 9 % 3] if number % 9 == 0 else Fault()

    loop = Loop(seed, odd).run(600)
    assert not loop.of(Proposed)


def test_folding_every_event_twice_changes_nothing() -> None:
    loop = Loop(5, drift).run(300)
    station, doubled = Station(asset=ASSET), []
    now = START
    for event in loop.folded:
        now = max(now, event.at)
        station, outcomes = decide(station, event, POLICY, now)
        doubled.extend(outcomes)
        before = station
        station, again = decide(station, event, POLICY, now)
        assert station == before
        assert all(isinstance(one, Ignored) for one in again)
    assert [one for one in doubled if isinstance(one, Proposed)] == loop.of(Proposed)
    assert station == loop.station
