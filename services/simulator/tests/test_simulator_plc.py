"""The PLC against everything that may be sent to it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from twinloop.simulator.commands import (
    FOCUS,
    POWER,
    Code,
    Command,
    Hold,
    Outcome,
    Resume,
    SetParameter,
    TakeControl,
)
from twinloop.simulator.plc import REMEMBERED, new_plc, reset
from twinloop.simulator.plc import decide as decide_at
from twinloop.simulator.plc_faults import PlcFaults
from twinloop.simulator.plc_state import Mode, PlcState, Range

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RANGES = {
    POWER: Range(nominal=1000, low=850, high=1350, max_step=30),
    FOCUS: Range(nominal=0, low=-2, high=2, max_step=0.25),
}
RECIPE = "cu-al-tab-7"


def decide(state: PlcState, command: Command, now: datetime) -> tuple[PlcState, Outcome]:
    """At an uptime that stands still: the watchdog is looked at elsewhere."""
    return decide_at(state, command, now, 0.0)


def remote(state: PlcState) -> PlcState:
    return decide(state, TakeControl("take"), NOW)[0]


def plc(faults: PlcFaults | None = None) -> PlcState:
    return remote(reset(new_plc(RANGES, RECIPE), faults or PlcFaults()))


def put(
    value: float = 1020,
    expected: float = 1000,
    *,
    command_id: str = "a",
    parameter: str = POWER,
    sequence: int = 1,
    recipe: str = RECIPE,
    issued_s: float = 0,
    expires_s: float = 10,
) -> SetParameter:
    return SetParameter(
        command_id,
        parameter,
        value,
        expected,
        sequence,
        recipe,
        NOW + timedelta(seconds=issued_s),
        NOW + timedelta(seconds=expires_s),
    )


def hold(sequence: int = 1, command_id: str = "h", issued_s: float = 0, expires_s: float = 10) -> Hold:
    at = (NOW + timedelta(seconds=issued_s), NOW + timedelta(seconds=expires_s))
    return Hold(command_id, "gap", sequence, *at)


def code(state: PlcState, command: Command) -> Code:
    return decide(state, command, NOW)[1].code


def test_a_good_command_changes_its_setpoint_and_nothing_else() -> None:
    state, outcome = decide(plc(), put(), NOW)
    assert (outcome.code, outcome.actual) == (Code.GOOD, 1020)
    assert state.setpoints == {POWER: 1020, FOCUS: 0}
    assert (state.last_sequence, state.last_command_id) == (1, "a")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (put(command_id=""), Code.BAD_INVALID_ARGUMENT),
        (put(parameter="speed_mm_s"), Code.BAD_INVALID_ARGUMENT),
        (put(math.nan), Code.BAD_INVALID_ARGUMENT),
        (put(expected=math.inf), Code.BAD_INVALID_ARGUMENT),
        (put(issued_s=1.001), Code.BAD_INVALID_TIMESTAMP),
        (put(expires_s=0), Code.BAD_REQUEST_TIMEOUT),
        (put(sequence=0), Code.BAD_SEQUENCE_NUMBER_INVALID),
        (put(expected=1000.1), Code.BAD_INVALID_STATE),
        (put(recipe="other"), Code.BAD_INVALID_STATE),
        (put(1030.1), Code.BAD_OUT_OF_RANGE),
        (put(0.26, 0, parameter=FOCUS), Code.BAD_OUT_OF_RANGE),
        (hold(sequence=0), Code.BAD_SEQUENCE_NUMBER_INVALID),
        (hold(issued_s=2), Code.BAD_INVALID_TIMESTAMP),
        (hold(expires_s=-1), Code.BAD_REQUEST_TIMEOUT),
        (hold(command_id=""), Code.BAD_INVALID_ARGUMENT),
        (Resume(""), Code.BAD_INVALID_ARGUMENT),
        # at the edge of what is allowed
        (put(1030), Code.GOOD),
        (put(970), Code.GOOD),
        (put(issued_s=1), Code.GOOD),
        (put(expires_s=0.001), Code.GOOD),
        (put(expected=1000.0009), Code.GOOD),
        (put(0.25, 0, parameter=FOCUS), Code.GOOD),
        (hold(), Code.GOOD),
        (Resume("r"), Code.GOOD),
    ],
)
def test_each_refusal_has_its_code(command: Command, expected: Code) -> None:
    before = plc()
    after, outcome = decide(before, command, NOW)
    assert outcome.code is expected
    if expected is not Code.GOOD:
        assert (after.setpoints, after.mode) == (before.setpoints, before.mode)


@pytest.mark.parametrize(("start", "value"), [(1340.0, 1360.0), (860.0, 840.0)])
def test_the_hard_limits_hold_within_one_step(start: float, value: float) -> None:
    ranges = {**RANGES, POWER: Range(nominal=start, low=850, high=1350, max_step=30)}
    assert code(remote(new_plc(ranges, RECIPE)), put(value, start)) is Code.BAD_OUT_OF_RANGE


def test_a_repeated_id_gets_the_stored_answer_even_late_and_with_other_contents() -> None:
    once, first = decide(plc(), put(), NOW)
    later = NOW + timedelta(hours=1)
    for repeated in (put(), put(1040, 1020, sequence=9)):
        assert decide(once, repeated, later) == (once, first)
    refused, refusal = decide(plc(), put(2000), NOW)
    assert decide(refused, put(), NOW) == (refused, refusal)


def test_an_overtaken_command_never_acts() -> None:
    state, _ = decide(plc(), put(1010, command_id="b", sequence=5), NOW)
    assert code(state, put(1020, 1010, command_id="a", sequence=4)) is Code.BAD_SEQUENCE_NUMBER_INVALID
    state, _ = decide(plc(), put(5000, command_id="b", sequence=5), NOW)  # refused, yet in order
    assert code(state, put(command_id="a", sequence=4)) is Code.BAD_SEQUENCE_NUMBER_INVALID


def test_what_is_expired_or_from_the_future_does_not_use_up_a_sequence() -> None:
    state, _ = decide(plc(), put(sequence=2**64 - 1, issued_s=60), NOW)
    state, _ = decide(state, put(command_id="x", sequence=2**64 - 1, expires_s=-1), NOW)
    assert code(state, put(command_id="b", sequence=1)) is Code.GOOD


def test_held_means_no_setpoint_changes_until_resumed() -> None:
    state, outcome = decide(plc(), hold(), NOW)
    assert (outcome.code, outcome.mode, state.mode) == (Code.GOOD, "Held", Mode.HELD)
    state, outcome = decide(state, hold(2, "again"), NOW)
    assert (outcome.code, state.mode) == (Code.GOOD, Mode.HELD)
    state, outcome = decide(state, put(sequence=3), NOW)
    assert outcome.code is Code.BAD_INVALID_STATE
    state, outcome = decide(state, Resume("r"), NOW)
    assert (outcome.mode, state.mode) == ("Execute", Mode.EXECUTE)
    assert code(state, put(command_id="b", sequence=4)) is Code.GOOD


def test_a_reset_keeps_sequence_and_answers() -> None:
    state, first = decide(plc(), put(sequence=7), NOW)
    state = reset(decide(state, hold(8), NOW)[0], PlcFaults())
    assert (state.setpoints[POWER], state.mode, state.last_sequence) == (1000, Mode.EXECUTE, 8)
    assert decide(state, put(sequence=9), NOW) == (state, first)
    assert code(state, put(command_id="b", sequence=8)) is Code.BAD_SEQUENCE_NUMBER_INVALID


def test_a_plc_that_refuses_writes_still_holds() -> None:
    state = plc(PlcFaults(refuse_writes=True))
    assert code(state, put()) is Code.BAD_USER_ACCESS_DENIED
    assert code(state, put(5000)) is Code.BAD_OUT_OF_RANGE
    assert code(state, hold()) is Code.GOOD


def test_a_plc_that_ignores_writes_says_that_all_is_well() -> None:
    state, outcome = decide(plc(PlcFaults(ignore_writes=True)), put(), NOW)
    assert (outcome.code, outcome.actual, state.setpoints[POWER]) == (Code.GOOD, 1020, 1000)


def test_a_read_back_that_disagrees_stays_within_the_limits() -> None:
    state, outcome = decide(plc(PlcFaults(read_back_offset={POWER: 7})), put(), NOW)
    assert (outcome.actual, state.setpoints[POWER]) == (1020, 1027)
    state, _ = decide(plc(PlcFaults(read_back_offset={POWER: 1000})), put(), NOW)
    assert state.setpoints[POWER] == 1350


def test_memory_is_bounded_and_forgetting_lets_nothing_act_twice() -> None:
    state, _ = decide(plc(), put(), NOW)
    for number in range(REMEMBERED):
        state, _ = decide(state, hold(2 + number, f"h{number}"), NOW)
        state, _ = decide(state, Resume(f"h{number}"), NOW)
    assert len(state.results) == REMEMBERED
    assert "a" not in state.results
    state = reset(state, PlcFaults())
    assert code(state, put()) is Code.BAD_SEQUENCE_NUMBER_INVALID
