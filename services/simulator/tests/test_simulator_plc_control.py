"""Who may change a setpoint: control is taken, fed by heartbeats, released or lost; the operator is first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from twinloop.simulator import by_hand
from twinloop.simulator.commands import (
    FOCUS,
    POWER,
    Code,
    Command,
    Heartbeat,
    Hold,
    Outcome,
    ReleaseControl,
    SetParameter,
    TakeControl,
)
from twinloop.simulator.plc import REMEMBERED, decide, new_plc, reset
from twinloop.simulator.plc_faults import HEALTHY, PlcFaults
from twinloop.simulator.plc_state import ControlSource, LocalReason, Mode, PlcState, Range, tick

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RANGES = {
    POWER: Range(nominal=1000, low=850, high=1350, max_step=30),
    FOCUS: Range(nominal=0, low=-2, high=2, max_step=0.25),
}
LATER = NOW + timedelta(seconds=10)


class Plc:
    """A PLC whose uptime is said with each command."""

    def __init__(self, faults: PlcFaults = HEALTHY) -> None:
        self.state: PlcState = reset(new_plc(RANGES, "r", watchdog_s=1.5), faults)

    def tell(self, command: Command, uptime_s: float = 0.0) -> Outcome:
        self.state, outcome = decide(self.state, command, NOW, uptime_s)
        return outcome

    def take(self, command_id: str = "t", uptime_s: float = 0.0) -> Code:
        return self.tell(TakeControl(command_id), uptime_s).code

    def put(self, value: float = 1020, command_id: str = "c", uptime_s: float = 0.0) -> Code:
        sequence = self.state.last_sequence + 1
        shown = self.state.shown[POWER]
        return self.tell(
            SetParameter(command_id, POWER, value, shown, sequence, "r", NOW, LATER), uptime_s
        ).code

    def beat(self, counter: int, uptime_s: float) -> Outcome:
        return self.tell(Heartbeat(counter), uptime_s)

    @property
    def who(self) -> tuple[ControlSource, LocalReason]:
        return self.state.control, self.state.local_reason


def local(reason: LocalReason) -> tuple[ControlSource, LocalReason]:
    return ControlSource.LOCAL, reason


REMOTE = (ControlSource.REMOTE, LocalReason.NONE)


def test_a_plc_starts_on_its_own_and_obeys_nobody_but_a_hold() -> None:
    plc = Plc()
    assert plc.who == local(LocalReason.STARTUP)
    assert plc.put() is Code.BAD_INVALID_STATE
    assert plc.tell(Hold("h", "gap", 2, NOW, LATER)).code is Code.GOOD
    assert plc.state.mode is Mode.HELD


def test_control_is_taken_and_released_and_the_setpoints_stay() -> None:
    plc = Plc()
    assert plc.tell(TakeControl("t")) == Outcome(Code.GOOD, source="Remote")
    assert plc.put(1020) is Code.GOOD
    assert plc.tell(ReleaseControl("r", "no longer in AUTO")) == Outcome(Code.GOOD, source="Local")
    assert plc.who == local(LocalReason.RELEASED)
    assert plc.state.setpoints[POWER] == 1020
    assert plc.put(1010, "later") is Code.BAD_INVALID_STATE
    plc.state = tick(plc.state, 1000)
    assert plc.state.setpoints[POWER] == 1020


def test_a_command_id_takes_control_once() -> None:
    plc = Plc()
    plc.take("t")
    plc.tell(ReleaseControl("r", "done"))
    assert plc.tell(TakeControl("t")) == Outcome(Code.GOOD, source="Remote")
    assert plc.who == local(LocalReason.RELEASED)
    assert plc.take("") is Code.BAD_INVALID_ARGUMENT
    assert plc.take("t2") is Code.GOOD


def test_releasing_what_is_local_keeps_the_reason() -> None:
    plc = Plc()
    plc.state = by_hand.set_setpoint(plc.state, POWER, 990)
    assert plc.tell(ReleaseControl("r", "done")).source == "Local"
    assert plc.who == local(LocalReason.OPERATOR)


def test_who_asks_for_control_again_and_again_does_not_wash_out_the_answers_to_changes() -> None:
    plc = Plc()
    plc.take()
    plc.put(1020, "c")
    for number in range(REMEMBERED + 1):
        plc.take(f"again {number}")
    assert len(plc.state.controls) == REMEMBERED
    assert plc.put(1010, "c") is Code.GOOD
    assert (plc.state.setpoints[POWER], plc.state.last_command_id) == (1020, "c")


def test_the_watchdog_falls_back_to_the_local_setpoints_and_stays_there() -> None:
    plc = Plc()
    plc.take(uptime_s=10)
    plc.put(1020, uptime_s=10)
    plc.state = tick(plc.state, 11.499)
    assert plc.who == REMOTE
    plc.state = tick(plc.state, 11.5)
    assert plc.who == local(LocalReason.WATCHDOG)
    assert plc.state.setpoints == {POWER: 1000, FOCUS: 0}
    assert plc.beat(1, 11.6).code is Code.BAD_INVALID_STATE
    assert plc.put(1020, "late", 11.6) is Code.BAD_INVALID_STATE
    assert plc.take("again", 12) is Code.GOOD


def test_a_command_that_comes_after_the_silence_finds_the_watchdog_fallen() -> None:
    """Whatever the pace at which the PLC looks at its clock."""
    plc = Plc()
    plc.take()
    assert plc.put(uptime_s=1.5) is Code.BAD_INVALID_STATE
    assert plc.who == local(LocalReason.WATCHDOG)


def test_heartbeats_keep_control_while_their_counter_grows() -> None:
    plc = Plc()
    plc.take()
    assert plc.beat(7, 1.0) == Outcome(Code.GOOD, beat=10)
    assert plc.beat(7, 1.4).code is Code.BAD_SEQUENCE_NUMBER_INVALID
    assert plc.beat(6, 1.4).code is Code.BAD_SEQUENCE_NUMBER_INVALID
    assert plc.beat(8, 2.4) == Outcome(Code.GOOD, beat=24)
    plc.state = tick(plc.state, 3.8)
    assert plc.who == REMOTE
    plc.beat(8, 3.85)
    plc.state = tick(plc.state, 3.9)
    assert plc.who == local(LocalReason.WATCHDOG)


def test_a_new_hold_of_control_counts_its_heartbeats_anew() -> None:
    """Who restarts within the watchdog's patience takes control again and begins to count from 1."""
    plc = Plc()
    plc.take()
    plc.beat(900, 0.5)
    assert plc.take("after a restart", 1.0) is Code.GOOD
    assert plc.beat(1, 1.5).code is Code.GOOD


def test_the_operators_value_wins_and_is_what_the_watchdog_falls_back_to() -> None:
    plc = Plc()
    plc.take()
    plc.put(1020)
    plc.state = by_hand.set_setpoint(plc.state, POWER, 900)
    assert plc.who == local(LocalReason.OPERATOR)
    assert plc.state.setpoints == {POWER: 900, FOCUS: 0}
    assert plc.put(910, "no") is Code.BAD_INVALID_STATE
    assert plc.take("no") is Code.BAD_INVALID_STATE
    plc.state = by_hand.give_back(plc.state)
    assert plc.who == local(LocalReason.RELEASED)
    assert plc.take("yes") is Code.GOOD
    assert plc.put(910, "yes") is Code.GOOD
    plc.state = tick(plc.state, 1.5)
    assert plc.state.setpoints[POWER] == 900


@pytest.mark.parametrize("value", [849.9, 1350.1, float("nan"), float("inf")])
def test_the_operator_is_held_to_the_limits_too(value: float) -> None:
    plc = Plc()
    with pytest.raises(by_hand.OutOfLimits, match="from 850 to 1350"):
        by_hand.set_setpoint(plc.state, POWER, value)


def test_a_key_that_nobody_turned_cannot_be_given_back() -> None:
    with pytest.raises(by_hand.KeyNotTurned, match="Local startup"):
        by_hand.give_back(Plc().state)
    plc = Plc()
    plc.take()
    with pytest.raises(by_hand.KeyNotTurned):
        by_hand.give_back(plc.state)


def test_a_maintenance_lock_lets_nothing_in_from_afar_but_a_hold() -> None:
    plc = Plc()
    plc.take()
    plc.state = by_hand.lock(plc.state)
    assert plc.put() is Code.BAD_INVALID_STATE
    assert plc.take("again") is Code.BAD_INVALID_STATE
    assert plc.beat(1, 1.0).code is Code.GOOD
    assert plc.tell(Hold("h", "gap", 9, NOW, LATER), 1.0).code is Code.GOOD
    plc.state = by_hand.unlock(plc.state)
    assert plc.take("unlocked", 1.0) is Code.GOOD


def test_a_high_alarm_stops_changes_and_not_control() -> None:
    plc = Plc()
    plc.state = by_hand.raise_alarm(plc.state)
    assert plc.take() is Code.GOOD
    assert plc.put() is Code.BAD_INVALID_STATE
    plc.state = by_hand.clear_alarm(plc.state)
    assert plc.put(1020, "now") is Code.GOOD


def test_a_reset_keeps_who_has_control_and_clears_what_the_operator_did() -> None:
    plc = Plc()
    plc.take()
    plc.beat(1, 1.0)
    plc.state = by_hand.raise_alarm(by_hand.lock(plc.state))
    plc.state = reset(plc.state, HEALTHY)
    assert plc.who == REMOTE
    assert plc.put(uptime_s=1.0) is Code.GOOD
    plc.state = by_hand.set_setpoint(plc.state, FOCUS, 1.0)
    plc.state = reset(plc.state, HEALTHY)
    assert plc.who == local(LocalReason.RELEASED)
    assert plc.state.local_setpoints == plc.state.setpoints == {POWER: 1000, FOCUS: 0}


def test_the_beat_is_the_plcs_own_time() -> None:
    plc = Plc()
    plc.state = tick(plc.state, 12.39)
    assert plc.state.beat == 123
    plc.state = tick(plc.state, 5.0)
    assert (plc.state.beat, plc.state.uptime_s) == (123, 12.39)
