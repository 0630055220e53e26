"""A PLC without a network: the rules of the device in memory. It passes the suite of the real one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from twinloop.contracts.changes import Parameter, SetParameter
from twinloop.line.errors import PlcRefused, PlcUnavailable
from twinloop.line.plc import BY_OPERATOR, EXECUTE, HELD, LOCAL, REMOTE, Command, Device
from twinloop.runtime.clock import Clock


@dataclass
class Faults:
    """What is wrong with the device, for tests; none of it lifts a limit of the device's own.

    `away`: nothing comes through. `refuse`: the status code of every command. `ignore`: it answers, and does
    nothing. `fraction`: it moves only so much of the way. `drop_command`: never acted on nor answered.
    `lose_answer`: acted on and not answered. `lie`: the setpoint shown is the one asked for, whatever is in
    force. `frozen`: its beat stands still. `deaf`: heartbeats do not come through.
    """

    away: bool = False
    refuse: str | None = None
    ignore: bool = False
    fraction: float = 1.0
    drop_command: bool = False
    lose_answer: bool = False
    lie: bool = False
    frozen: bool = False
    deaf: bool = False


class FakePlc:
    """One station, whatever its name.

    `device` is what it shows, `in_force` the setpoints that it welds with, which differ only when it lies.
    `commands` are the ids of all commands that came, `calls` the names of all other calls.
    """

    def __init__(self, clock: Clock, device: Device) -> None:
        self.device = device
        self.in_force: dict[Parameter, float] = {one: device.value(one) for one in Parameter}
        self.faults = Faults()
        self.commands: list[str] = []
        self.acted: list[Command] = []
        self.calls: list[str] = []
        self._counter: int | None = None
        self._clock = clock

    def by_hand(self, parameter: Parameter, value: float) -> None:
        """An operator sets a value at the panel, and turns the key."""
        self.device = replace(self.device, control_source=LOCAL, local_reason=BY_OPERATOR)
        self._set(parameter, value)

    def fall(self) -> None:
        """The device's watchdog finds no heartbeat."""
        self.device = replace(self.device, control_source=LOCAL, local_reason="watchdog")

    async def read(self, station: str) -> Device:
        """See `Plc`."""
        self._reach()
        if not self.faults.frozen:
            self.device = replace(self.device, beat=self.device.beat + 1)
        return self.device

    async def command(self, station: str, command: Command) -> None:
        """See `Plc`."""
        self._reach()
        self.commands.append(command.command_id)
        if self.faults.drop_command:
            raise PlcUnavailable("the command was lost")
        if (code := self.faults.refuse or self._objection(command)) is not None:
            raise PlcRefused(code)
        if command.command_id != self.device.last_command_id:
            self._act(command)
        if self.faults.lose_answer:
            raise PlcUnavailable("the answer was lost")

    async def take_control(self, station: str, command_id: str) -> None:
        """See `Plc`."""
        self._reach()
        self.calls.append("take")
        if self.device.local_reason == BY_OPERATOR or self.device.maintenance_lock:
            raise PlcRefused("BadInvalidState")
        self._counter = None
        self.device = replace(self.device, control_source=REMOTE, local_reason="")

    async def release_control(self, station: str, command_id: str, reason: str) -> None:
        """See `Plc`."""
        self._reach()
        self.calls.append("release")
        if self.device.remote:
            self.device = replace(self.device, control_source=LOCAL, local_reason="released")

    async def heartbeat(self, station: str, counter: int) -> int:
        """See `Plc`."""
        self._reach()
        self.calls.append("heartbeat")
        if self.faults.deaf:
            raise PlcUnavailable("the heartbeat was lost")
        if not self.device.remote:
            raise PlcRefused("BadInvalidState")
        if self._counter is not None and counter <= self._counter:
            raise PlcRefused("BadSequenceNumberInvalid")
        self._counter = counter
        return self.device.beat

    def _reach(self) -> None:
        if self.faults.away:
            raise PlcUnavailable("the device is away")

    def _objection(self, command: Command) -> str | None:
        device = self.device
        if command.command_id == device.last_command_id:
            return None
        if self._clock.now() >= command.expires_at:
            return "BadRequestTimeout"
        if command.sequence <= device.last_sequence:
            return "BadSequenceNumberInvalid"
        action = command.action
        if isinstance(action, SetParameter):
            ours = device.remote and not device.maintenance_lock and not device.high_alarm
            makes = device.mode == EXECUTE and command.recipe == device.recipe
            if not (ours and makes and device.value(action.parameter) == action.expected):
                return "BadInvalidState"
        return None

    def _act(self, command: Command) -> None:
        self.device = replace(self.device, last_sequence=command.sequence, last_command_id=command.command_id)
        self.acted.append(command)
        action = command.action
        if isinstance(action, SetParameter):
            actual = self.in_force[action.parameter]
            moved = 0.0 if self.faults.ignore else self.faults.fraction * (action.value - actual)
            value = action.value if moved == action.value - actual else actual + moved
            self._set(action.parameter, value, shown=action.value if self.faults.lie else value)
        elif not self.faults.ignore:
            self.device = replace(self.device, mode=HELD)

    def _set(self, parameter: Parameter, value: float, shown: float | None = None) -> None:
        self.in_force[parameter] = value
        shown = value if shown is None else shown
        match parameter:
            case Parameter.LASER_POWER_W:
                self.device = replace(self.device, power_w=shown)
            case Parameter.FOCUS_MM:
                self.device = replace(self.device, focus_mm=shown)
            case Parameter.END_OF_LINE_LIMIT_UOHM:
                self.device = replace(self.device, limit_uohm=shown)
