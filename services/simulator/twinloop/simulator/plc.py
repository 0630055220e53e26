"""The PLC of a station, as a pure decision: `decide(state, command, now) -> (state, outcome)`.

It trusts no one. Whatever the rest of the plant believes, a setpoint changes only by a command that is new,
in order, neither expired nor from the future, meant for the value and recipe in force, within the PLC's own
limits and step, while the station executes. The checks run in that order; the first that fails is the answer.

Every command that is in order counts its sequence number, refused or not: an older one that arrives after it
was overtaken, and acting on it would undo the newer one's reasons. Expired commands, those from the future
and malformed ones count nothing: they might not be what they claim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, TypeAlias

from pydantic import ConfigDict, Field

POWER: Final = "laser_power_w"
FOCUS: Final = "focus_mm"

CLOCK_TOLERANCE = timedelta(seconds=1)
"""How far ahead of the PLC's clock a command may have been issued."""
EXPECTED_TOLERANCE = 1e-6
"""Relative: how far the expected value may be from the actual one."""
REMEMBERED = 256
"""How many command ids the PLC remembers; an older one is refused by its sequence number."""


class Mode(StrEnum):
    """The PackML states that this PLC knows."""

    EXECUTE = "Execute"
    HELD = "Held"


class Code(StrEnum):
    """The OPC UA status codes that a method answers with."""

    GOOD = "Good"
    BAD_INVALID_ARGUMENT = "BadInvalidArgument"
    BAD_INVALID_TIMESTAMP = "BadInvalidTimestamp"
    BAD_REQUEST_TIMEOUT = "BadRequestTimeout"
    BAD_SEQUENCE_NUMBER_INVALID = "BadSequenceNumberInvalid"
    BAD_INVALID_STATE = "BadInvalidState"
    BAD_OUT_OF_RANGE = "BadOutOfRange"
    BAD_USER_ACCESS_DENIED = "BadUserAccessDenied"


@dataclass(frozen=True, slots=True)
class Range:
    """The PLC's own limits of one setpoint, inclusive, and the most that one command may change it."""

    nominal: float
    low: float
    high: float
    max_step: float


@dataclass(frozen=True)
class PlcFaults:
    """What is wrong with the PLC itself, for tests.

    `refuse_writes`: every `SetParameter` that would act is answered `BadUserAccessDenied` (the key switch is
    on "local"). `ignore_writes`: it answers `Good` with the value asked for, and nothing changes.
    `read_back_offset`, by parameter: the value that gets in force is off by this much (within the limits),
    while the answer repeats the value asked for.
    """

    refuse_writes: bool = False
    ignore_writes: bool = False
    read_back_offset: Mapping[
        Annotated[str, Field(pattern="^(laser_power_w|focus_mm)$")],
        Annotated[float, Field(allow_inf_nan=False)],
    ] = field(default_factory=dict)

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A method's answer: `actual` for `SetParameter`, `mode` for `Hold` and `Resume`."""

    code: Code
    actual: float = math.nan
    mode: str = ""


@dataclass(frozen=True, slots=True)
class PlcState:
    """All that the PLC knows. `results` holds the last `REMEMBERED` answers by command id, oldest first."""

    ranges: Mapping[str, Range]
    setpoints: Mapping[str, float]
    recipe: str
    mode: Mode = Mode.EXECUTE
    last_sequence: int = 0
    last_command_id: str = ""
    results: Mapping[str, Outcome] = field(default_factory=lambda: MappingProxyType({}))
    faults: PlcFaults = PlcFaults()


@dataclass(frozen=True, slots=True)
class SetParameter:
    """Change one setpoint from `expected` to `value`."""

    command_id: str
    parameter: str
    value: float
    expected: float
    sequence: int
    recipe: str
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """Stop before the next part. Held already: nothing to do, and the answer is good."""

    command_id: str
    reason: str
    sequence: int
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Resume:
    """An operator lets the station execute again."""

    command_id: str


Command: TypeAlias = SetParameter | Hold | Resume


def new_plc(ranges: Mapping[str, Range], recipe: str) -> PlcState:
    """A PLC with nominal setpoints, executing."""
    return PlcState(ranges, {name: one.nominal for name, one in ranges.items()}, recipe)


def reset(state: PlcState, faults: PlcFaults) -> PlcState:
    """What an operator does at the panel before a campaign: nominal setpoints, `Execute`, these faults.

    The command sequence and the remembered answers stay: a command of before the reset must not act after it.
    """
    nominal = {name: one.nominal for name, one in state.ranges.items()}
    return replace(state, setpoints=nominal, mode=Mode.EXECUTE, faults=faults)


def decide(state: PlcState, command: Command, now: datetime) -> tuple[PlcState, Outcome]:
    """The PLC's next state and its answer to `command` at `now` (aware, UTC).

    A command id that was answered before gets the same answer again, and nothing changes.
    """
    if (stored := state.results.get(command.command_id)) is not None:
        return state, stored
    refusal = _refusal(state, command, now)
    in_order = refusal is None
    if refusal is None:
        state, outcome = _act(state, command)
    else:
        outcome = Outcome(refusal)
    if in_order and not isinstance(command, Resume):
        state = replace(state, last_sequence=command.sequence)
    if command.command_id:
        state = _remember(state, command.command_id, outcome)
    return state, outcome


def _refusal(state: PlcState, command: Command, now: datetime) -> Code | None:
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


def _act(state: PlcState, command: Command) -> tuple[PlcState, Outcome]:
    match command:
        case SetParameter():
            return _set_parameter(state, command)
        case Hold():
            state = replace(state, mode=Mode.HELD)
        case Resume():
            state = replace(state, mode=Mode.EXECUTE)
    return state, Outcome(Code.GOOD, mode=state.mode)


def _set_parameter(state: PlcState, command: SetParameter) -> tuple[PlcState, Outcome]:
    actual, limits = state.setpoints[command.parameter], state.ranges[command.parameter]
    expected = math.isclose(command.expected, actual, rel_tol=EXPECTED_TOLERANCE, abs_tol=EXPECTED_TOLERANCE)
    if not expected or command.recipe != state.recipe or state.mode is not Mode.EXECUTE:
        return state, Outcome(Code.BAD_INVALID_STATE, actual)
    step = abs(command.value - actual)
    if not limits.low <= command.value <= limits.high or step > limits.max_step * (1 + EXPECTED_TOLERANCE):
        return state, Outcome(Code.BAD_OUT_OF_RANGE, actual)
    if state.faults.refuse_writes:
        return state, Outcome(Code.BAD_USER_ACCESS_DENIED, actual)
    answer = Outcome(Code.GOOD, command.value)
    if state.faults.ignore_writes:
        return state, answer
    value = command.value + state.faults.read_back_offset.get(command.parameter, 0.0)
    value = min(limits.high, max(limits.low, value))
    setpoints = {**state.setpoints, command.parameter: value}
    return replace(state, setpoints=setpoints), answer


def _remember(state: PlcState, command_id: str, outcome: Outcome) -> PlcState:
    results = {**state.results, command_id: outcome}
    while len(results) > REMEMBERED:
        del results[next(iter(results))]
    return replace(state, last_command_id=command_id, results=MappingProxyType(results))
