"""The PLC of a station, as a pure decision: `decide(state, command, now, uptime_s) -> (state, outcome)`.

It trusts no one. Whatever the rest of the plant believes, a setpoint changes only by a command that is new,
in order, neither expired nor from the future, meant for the value and recipe in force, within the PLC's own
limits and step, while control is `Remote`, the station executes, and neither maintenance lock nor high alarm
is on. The checks run in that order; the first that fails is the answer. `Hold` needs no control: stopping is
always allowed.

Every command that is in order counts its sequence number, refused or not: an older one that arrives after it
was overtaken, and acting on it would undo the newer one's reasons. Expired commands, those from the future
and malformed ones count nothing: they might not be what they claim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType

from twinloop.simulator.commands import (
    FOCUS,
    LIMIT,
    POWER,
    Change,
    Code,
    Command,
    Control,
    Heartbeat,
    Hold,
    Outcome,
    ReleaseControl,
    Resume,
    SetParameter,
    TakeControl,
)
from twinloop.simulator.plc_faults import PlcFaults
from twinloop.simulator.plc_state import (
    WATCHDOG_S,
    ControlSource,
    LocalReason,
    Mode,
    PlcState,
    Range,
    tick,
    to_local,
)

__all__ = [
    "CLOCK_TOLERANCE",
    "EXPECTED_TOLERANCE",
    "FOCUS",
    "LIMIT",
    "POWER",
    "REMEMBERED",
    "Code",
    "Command",
    "ControlSource",
    "Heartbeat",
    "Hold",
    "LocalReason",
    "Mode",
    "Outcome",
    "PlcFaults",
    "PlcState",
    "Range",
    "ReleaseControl",
    "Resume",
    "SetParameter",
    "TakeControl",
    "decide",
    "new_plc",
    "reset",
]

CLOCK_TOLERANCE = timedelta(seconds=1)
"""How far ahead of the PLC's clock a command may have been issued."""
EXPECTED_TOLERANCE = 1e-6
"""Relative: how far the expected value may be from the actual one."""
REMEMBERED = 256
"""How many answers the PLC remembers of each kind; an older change is refused by its sequence number."""


def new_plc(ranges: Mapping[str, Range], recipe: str, watchdog_s: float = WATCHDOG_S) -> PlcState:
    """A PLC with nominal setpoints, executing, in local control."""
    return PlcState(ranges, _nominal(ranges), _nominal(ranges), recipe, watchdog_s)


def reset(state: PlcState, faults: PlcFaults) -> PlcState:
    """What an operator does at the panel before a campaign.

    Nominal setpoints, also for when the watchdog falls, `Execute`, these faults, no lock, no alarm, and the
    key given back. Who has control stays. The command sequence and the remembered answers stay: a command of
    before the reset must not act after it.
    """
    if state.local_reason is LocalReason.OPERATOR:
        state = to_local(state, LocalReason.RELEASED)
    return replace(
        state,
        setpoints=_nominal(state.ranges),
        local_setpoints=_nominal(state.ranges),
        claimed={},
        mode=Mode.EXECUTE,
        maintenance_lock=False,
        high_alarm=False,
        faults=faults,
    )


def decide(state: PlcState, command: Command, now: datetime, uptime_s: float) -> tuple[PlcState, Outcome]:
    """The PLC's next state and its answer to `command` at `now` (aware, UTC), `uptime_s` after its start.

    A command id that was answered before gets the same answer again, and does nothing. A heartbeat has no id:
    its counter must grow.
    """
    state = tick(state, uptime_s)
    match command:
        case Heartbeat():
            return _heartbeat(state, command)
        case TakeControl() | ReleaseControl():
            return _control(state, command)
        case SetParameter() | Hold() | Resume():
            return _change(state, command, now)


def _heartbeat(state: PlcState, command: Heartbeat) -> tuple[PlcState, Outcome]:
    if state.control is ControlSource.LOCAL:
        return state, Outcome(Code.BAD_INVALID_STATE, beat=state.beat)
    if state.counter is not None and command.counter <= state.counter:
        return state, Outcome(Code.BAD_SEQUENCE_NUMBER_INVALID, beat=state.beat)
    state = replace(state, counter=command.counter, heard_s=state.uptime_s)
    return state, Outcome(Code.GOOD, beat=state.beat)


def _control(state: PlcState, command: Control) -> tuple[PlcState, Outcome]:
    if not command.command_id:
        return state, Outcome(Code.BAD_INVALID_ARGUMENT)
    if (stored := state.controls.get(command.command_id)) is not None:
        return state, stored
    code = Code.GOOD
    if isinstance(command, ReleaseControl):
        if state.control is ControlSource.REMOTE:  # else the reason why it is local must stay
            state = to_local(state, LocalReason.RELEASED)
    elif state.local_reason is LocalReason.OPERATOR or state.maintenance_lock:
        code = Code.BAD_INVALID_STATE
    else:
        state = replace(
            state,
            control=ControlSource.REMOTE,
            local_reason=LocalReason.NONE,
            heard_s=state.uptime_s,
            counter=None,
        )
    outcome = Outcome(code, source=state.control)
    return replace(state, controls=_remembered(state.controls, command.command_id, outcome)), outcome


def _change(state: PlcState, command: Change, now: datetime) -> tuple[PlcState, Outcome]:
    if (stored := state.results.get(command.command_id)) is not None:
        return state, stored
    refusal = _refusal(state, command, now)
    if refusal is None:
        state, outcome = _act(state, command)
        if not isinstance(command, Resume):
            state = replace(state, last_sequence=command.sequence)
    else:
        outcome = Outcome(refusal)
    if command.command_id:
        results = _remembered(state.results, command.command_id, outcome)
        state = replace(state, last_command_id=command.command_id, results=results)
    return state, outcome


def _refusal(state: PlcState, command: Change, now: datetime) -> Code | None:
    """Why the command is not even considered, or `None`."""
    if not command.command_id or (isinstance(command, SetParameter) and _is_malformed(state, command)):
        return Code.BAD_INVALID_ARGUMENT
    if isinstance(command, Resume):
        return None
    if command.issued_at > now + CLOCK_TOLERANCE:
        return Code.BAD_INVALID_TIMESTAMP
    if command.expires_at <= now:
        return Code.BAD_REQUEST_TIMEOUT
    if command.sequence <= state.last_sequence:
        return Code.BAD_SEQUENCE_NUMBER_INVALID
    return None


def _is_malformed(state: PlcState, command: SetParameter) -> bool:
    numbers = (command.value, command.expected)
    return command.parameter not in state.ranges or not all(math.isfinite(one) for one in numbers)


def _act(state: PlcState, command: Change) -> tuple[PlcState, Outcome]:
    match command:
        case SetParameter():
            return _set_parameter(state, command)
        case Hold():
            state = replace(state, mode=Mode.HELD)
        case Resume():
            state = replace(state, mode=Mode.EXECUTE)
    return state, Outcome(Code.GOOD, mode=state.mode)


def _set_parameter(state: PlcState, command: SetParameter) -> tuple[PlcState, Outcome]:
    name, faults = command.parameter, state.faults
    # A PLC that lies knows no better itself: it compares with what it shows.
    shown, limits = state.shown[name], state.ranges[name]
    expected = math.isclose(command.expected, shown, rel_tol=EXPECTED_TOLERANCE, abs_tol=EXPECTED_TOLERANCE)
    if not expected or command.recipe != state.recipe or not state.permissive:
        return state, Outcome(Code.BAD_INVALID_STATE, shown)
    max_step = limits.max_step * (1 + EXPECTED_TOLERANCE)
    if not limits.low <= command.value <= limits.high or abs(command.value - shown) > max_step:
        return state, Outcome(Code.BAD_OUT_OF_RANGE, shown)
    if faults.refuse_writes:
        return state, Outcome(Code.BAD_USER_ACCESS_DENIED, shown)
    value = faults.moved(name, state.setpoints[name], command.value, max_step)
    setpoints = {**state.setpoints, name: min(limits.high, max(limits.low, value))}
    claimed = {**state.claimed, name: command.value}
    if not faults.echo_read_back:
        del claimed[name]
    return replace(state, setpoints=setpoints, claimed=claimed), Outcome(Code.GOOD, command.value)


def _nominal(ranges: Mapping[str, Range]) -> dict[str, float]:
    return {name: one.nominal for name, one in ranges.items()}


def _remembered(known: Mapping[str, Outcome], command_id: str, outcome: Outcome) -> Mapping[str, Outcome]:
    results = {**known, command_id: outcome}
    while len(results) > REMEMBERED:
        del results[next(iter(results))]
    return MappingProxyType(results)
