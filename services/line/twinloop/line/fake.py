"""A PLC without a network: the rules of the device in memory. It passes the suite of the real one."""

from __future__ import annotations

from dataclasses import replace

from twinloop.contracts.changes import Parameter, SetParameter
from twinloop.line.errors import PlcRefused, PlcUnavailable
from twinloop.line.plc import EXECUTE, HELD, Command, Device
from twinloop.runtime.clock import Clock


class FakePlc:
    """One station, whatever its name.

    A test sets `away` to cut the connection, `lose_answer` to act without an answer, `refuse` to a status
    code, and `ignore` to accept without doing. `commands` are the ids of all commands that came.
    """

    def __init__(self, clock: Clock, device: Device) -> None:
        self.device = device
        self.away = False
        self.lose_answer = False
        self.ignore = False
        self.refuse: str | None = None
        self.commands: list[str] = []
        self._clock = clock

    async def read(self, station: str) -> Device:
        """See `Plc`."""
        if self.away:
            raise PlcUnavailable("the device is away")
        return self.device

    async def command(self, station: str, command: Command) -> None:
        """See `Plc`."""
        if self.away:
            raise PlcUnavailable("the device is away")
        self.commands.append(command.command_id)
        if (code := self.refuse or self._objection(command)) is not None:
            raise PlcRefused(code)
        if command.command_id != self.device.last_command_id:
            self._act(command)
        if self.lose_answer:
            raise PlcUnavailable("the answer was lost")

    def _objection(self, command: Command) -> str | None:
        if command.command_id == self.device.last_command_id:
            return None
        if self._clock.now() >= command.expires_at:
            return "BadRequestTimeout"
        if command.sequence <= self.device.last_sequence:
            return "BadSequenceNumberInvalid"
        action = command.action
        if isinstance(action, SetParameter):
            actual = self.device.value(action.parameter)
            if (
                self.device.mode != EXECUTE
                or command.recipe != self.device.recipe
                or actual != action.expected
            ):
                return "BadInvalidState"
        return None

    def _act(self, command: Command) -> None:
        self.device = replace(self.device, last_sequence=command.sequence, last_command_id=command.command_id)
        action = command.action
        if self.ignore:
            return
        if not isinstance(action, SetParameter):
            self.device = replace(self.device, mode=HELD)
        elif action.parameter is Parameter.LASER_POWER_W:
            self.device = replace(self.device, power_w=action.value)
        else:
            self.device = replace(self.device, focus_mm=action.value)
