"""What a PLC is told, and what it answers. Plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

POWER: Final = "laser_power_w"
FOCUS: Final = "focus_mm"
LIMIT: Final = "end_of_line_limit_uohm"
"""The quality gate: a joint that measures more at end of line is scrap."""


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
class Outcome:
    """A method's answer.

    `actual` for `SetParameter`, `mode` for `Hold` and `Resume`, `source` for `TakeControl` and
    `ReleaseControl`, `beat` for `Heartbeat`.
    """

    code: Code
    actual: float = math.nan
    mode: str = ""
    source: str = ""
    beat: int = 0


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


@dataclass(frozen=True, slots=True)
class TakeControl:
    """Take the setpoints over from the station. Whoever has control must send heartbeats."""

    command_id: str


@dataclass(frozen=True, slots=True)
class ReleaseControl:
    """Give control back. The setpoints stay as they are."""

    command_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Whoever has control is alive. `counter` grows from one to the next within a hold of control."""

    counter: int


Change: TypeAlias = SetParameter | Hold | Resume
"""Changes what the station does."""
Control: TypeAlias = TakeControl | ReleaseControl
"""Changes who may change it."""
Command: TypeAlias = Change | Control | Heartbeat
