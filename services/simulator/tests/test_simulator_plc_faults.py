"""The PLC as an adversary: each fault does what it says, and no more."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from twinloop.simulator.commands import (
    FOCUS,
    POWER,
    Code,
    Command,
    Heartbeat,
    Hold,
    SetParameter,
    TakeControl,
)
from twinloop.simulator.panel import BadCampaign, parse_campaign
from twinloop.simulator.plc import decide, new_plc, reset
from twinloop.simulator.plc_faults import HEALTHY, Fate, PlcFaults, fate
from twinloop.simulator.plc_state import ControlSource, PlcState, Range, tick

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=10)
RANGES = {
    POWER: Range(nominal=1000, low=850, high=1350, max_step=30),
    FOCUS: Range(nominal=0, low=-2, high=2, max_step=0.25),
}


def remote(**faults: Any) -> PlcState:
    state = reset(new_plc(RANGES, "r"), PlcFaults(**faults))
    return decide(state, TakeControl("t"), NOW, 0.0)[0]


def put(value: float = 1020, expected: float = 1000, sequence: int = 1) -> SetParameter:
    return SetParameter(f"c{sequence}", POWER, value, expected, sequence, "r", NOW, LATER)


def healed(state: PlcState) -> PlcState:
    return replace(state, faults=HEALTHY)


HOLD = Hold("h", "gap", 1, NOW, LATER)


@pytest.mark.parametrize(
    ("faults", "in_force", "shown"),
    [
        ({}, 1020, 1020),
        ({"ignore_writes": True}, 1000, 1000),
        ({"apply_fraction": 0.25}, 1005, 1005),
        ({"read_back_offset": {POWER: 7}}, 1027, 1027),
        ({"ignore_writes": True, "echo_read_back": True}, 1000, 1020),
        ({"apply_fraction": 0.5, "echo_read_back": True}, 1010, 1020),
        ({"read_back_offset": {POWER: -7}, "echo_read_back": True}, 1013, 1020),
    ],
    ids=str,
)
def test_what_is_answered_in_force_and_shown(faults: dict[str, Any], in_force: float, shown: float) -> None:
    state, outcome = decide(remote(**faults), put(), NOW, 0.0)
    assert (outcome.code, outcome.actual) == (Code.GOOD, 1020)
    assert (state.setpoints[POWER], state.shown[POWER]) == (in_force, shown)


def test_a_lying_plc_is_addressed_by_what_it_shows() -> None:
    state, _ = decide(remote(ignore_writes=True, echo_read_back=True), put(1020), NOW, 0.0)
    state, outcome = decide(state, put(1040, expected=1020, sequence=2), NOW, 0.0)
    assert (outcome.code, state.shown[POWER], state.setpoints[POWER]) == (Code.GOOD, 1040, 1000)


def test_a_lie_that_ends_is_made_good_one_step_at_a_time() -> None:
    state = remote(ignore_writes=True, echo_read_back=True)
    for number, value in enumerate((1030, 1060, 1090), start=1):
        state, _ = decide(state, put(value, value - 30, number), NOW, 0.0)
    assert state.shown[POWER] == 1090
    state = decide(healed(state), put(1090, 1090, 4), NOW, 0.0)[0]
    assert state.setpoints[POWER] == pytest.approx(1030, abs=0.001)
    assert state.shown == state.setpoints


def test_the_watchdog_ends_a_lie() -> None:
    state, _ = decide(remote(ignore_writes=True, echo_read_back=True), put(1020), NOW, 0.0)
    state = tick(state, 1.5)
    assert state.control is ControlSource.LOCAL
    assert state.shown == state.setpoints == {POWER: 1000, FOCUS: 0}


def test_a_lie_needs_something_to_hide() -> None:
    with pytest.raises(ValueError, match="hides nothing"):
        PlcFaults(echo_read_back=True)


@pytest.mark.parametrize("command", [put(), HOLD], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({}, Fate()),
        ({"drop_commands": True}, Fate(acts=False, answers=False)),
        ({"drop_answers": True}, Fate(answers=False)),
        ({"act_after_s": 2.0}, Fate(acts_after_s=2.0)),
        ({"answer_after_s": 2.0}, Fate(answers_after_s=2.0)),
        ({"lose_heartbeats": True, "freeze_beat": True}, Fate()),
    ],
    ids=str,
)
def test_what_becomes_of_a_change_on_its_way(
    command: Command, faults: dict[str, Any], expected: Fate
) -> None:
    assert fate(PlcFaults(**faults), command) == expected


def test_what_becomes_of_other_calls() -> None:
    lost = PlcFaults(drop_commands=True, act_after_s=1.0, answer_after_s=1.0)
    assert fate(lost, TakeControl("t")) == fate(lost, Heartbeat(1)) == Fate()
    assert fate(PlcFaults(lose_heartbeats=True), Heartbeat(1)) == Fate(acts=False, answers=False)


def test_a_frozen_beat_stands_still_and_its_watchdog_does_not() -> None:
    state = tick(remote(freeze_beat=True), 1.4)
    assert (state.beat, state.control) == (0, ControlSource.REMOTE)
    state, outcome = decide(state, Heartbeat(1), NOW, 1.4)
    assert (outcome.code, outcome.beat) == (Code.GOOD, 0)
    assert tick(state, 2.9).control is ControlSource.LOCAL
    assert tick(healed(state), 2.0).beat == 20


def test_faults_come_and_go_with_the_welds() -> None:
    faults = PlcFaults(start=3, until=5, drop_answers=True)
    assert [faults.at(number).drop_answers for number in range(2, 6)] == [False, True, True, False]


def campaign(faults: dict[str, Any]) -> bytes:
    return json.dumps(
        {"name": "x", "welds": 1, "rate_hz": 1, "seed": 1, "stations": ["weld1"], "plc": {"weld1": faults}}
    ).encode()


@pytest.mark.parametrize(
    "faults",
    [
        {"refuse_writes": True},
        {"ignore_writes": True},
        {"apply_fraction": 0.5},
        {"read_back_offset": {"focus_mm": 0.1}},
        {"ignore_writes": True, "echo_read_back": True},
        {"drop_commands": True},
        {"drop_answers": True, "start": 3, "until": 4},
        {"act_after_s": 6},
        {"answer_after_s": 0.5},
        {"freeze_beat": True},
        {"lose_heartbeats": True},
    ],
    ids=str,
)
def test_every_fault_can_be_asked_for_in_a_campaign(faults: dict[str, Any]) -> None:
    assert parse_campaign(campaign(faults), ["weld1"]).plc == {"weld1": PlcFaults(**faults)}


@pytest.mark.parametrize(
    ("faults", "field"),
    [
        ({"apply_fraction": 1.1}, "plc.weld1.apply_fraction"),
        ({"act_after_s": -1}, "plc.weld1.act_after_s"),
        ({"answer_after_s": 61}, "plc.weld1.answer_after_s"),
        ({"read_back_offset": {"speed": 1}}, "plc.weld1.read_back_offset.speed.[key]"),
        ({"echo_read_back": True}, "plc.weld1"),
        ({"drop_comands": True}, "plc.weld1.drop_comands"),
    ],
    ids=str,
)
def test_a_fault_that_cannot_be_is_named(faults: dict[str, Any], field: str) -> None:
    with pytest.raises(BadCampaign) as caught:
        parse_campaign(campaign(faults), ["weld1"])
    assert [one["field"] for one in caught.value.problems] == [field]
