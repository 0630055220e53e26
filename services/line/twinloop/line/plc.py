"""What is asked of a PLC; `opcua` is the real one, `fake` the one for unit tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from twinloop.contracts.changes import Action, Parameter, SetParameter

EXECUTE = "Execute"
HELD = "Held"

REMOTE = "Remote"
LOCAL = "Local"
BY_OPERATOR = "operator"
"""A `local_reason`: an operator has turned the key at the panel."""


@dataclass(frozen=True, slots=True)
class Device:
    """What a station's PLC holds, read at once. `mode` is the PackML state, `limit_uohm` the quality gate.

    `control_source` is "Local" or "Remote"; `local_reason` says why Local: "startup", "watchdog", "operator"
    or "released". `beat` counts the PLC's own heartbeats: it stands still when the PLC's program does.
    """

    power_w: float
    focus_mm: float
    limit_uohm: float
    part_counter: int
    mode: str
    recipe: str
    last_sequence: int
    last_command_id: str
    control_source: str
    local_reason: str
    beat: int
    maintenance_lock: bool
    high_alarm: bool

    @property
    def remote(self) -> bool:
        """Whether setpoints may be commanded, as long as there are heartbeats."""
        return self.control_source == REMOTE

    def value(self, parameter: Parameter) -> float:
        """The setpoint of `parameter`, in its unit."""
        return {
            Parameter.LASER_POWER_W: self.power_w,
            Parameter.FOCUS_MM: self.focus_mm,
            Parameter.END_OF_LINE_LIMIT_UOHM: self.limit_uohm,
        }[parameter]

    @property
    def setpoints(self) -> dict[Parameter, float]:
        """All of them."""
        return {one: self.value(one) for one in Parameter}

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

    async def take_control(self, station: str, command_id: str) -> None:
        """Ask for control: the device is Remote then, and its watchdog waits for heartbeats. Raises like
        `command`; `PlcRefused` while an operator has the key or the maintenance lock is on."""
        ...

    async def release_control(self, station: str, command_id: str, reason: str) -> None:
        """Give control back: the device is Local then, and its setpoints stay. Raises like `command`."""
        ...

    async def heartbeat(self, station: str, counter: int) -> int:
        """We are alive; `counter` grows from beat to beat. The device's own beat. Raises like `command`;
        `PlcRefused` while the device is Local."""
        ...
