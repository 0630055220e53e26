"""What is asked of a PLC; `opcua` is the real one, `fake` the one for unit tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from twinloop.contracts.changes import Action, Parameter, SetParameter

EXECUTE = "Execute"
HELD = "Held"


@dataclass(frozen=True, slots=True)
class Device:
    """What a station's PLC holds, read at once. `mode` is the PackML state."""

    power_w: float
    focus_mm: float
    part_counter: int
    mode: str
    recipe: str
    last_sequence: int
    last_command_id: str

    def value(self, parameter: Parameter) -> float:
        """The setpoint of `parameter`, in its unit."""
        return self.power_w if parameter is Parameter.LASER_POWER_W else self.focus_mm

    def holds(self, action: Action, tolerance: float) -> bool:
        """Whether `action` has come about."""
        if isinstance(action, SetParameter):
            return abs(self.value(action.parameter) - action.value) <= tolerance
        return self.mode == HELD


@dataclass(frozen=True, slots=True)
class Command:
    """One call of a method: at most once by its id, refused when late, reordered or from the future."""

    command_id: str
    action: Action
    sequence: int
    recipe: str
    issued_at: datetime
    expires_at: datetime


class Plc(Protocol):
    """The PLCs of a line, by station. Every call has a deadline."""

    async def read(self, station: str) -> Device:
        """What the device holds now. Raises `PlcUnavailable`."""
        ...

    async def command(self, station: str, command: Command) -> None:
        """Call the method. Raises `PlcRefused` when the device says no, and `PlcUnavailable` when nothing is
        known: it may have acted."""
        ...
