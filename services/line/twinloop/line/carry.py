"""One released change on its way to the device, top to bottom.

    expired? -> read the device -> guards -> publish issued -> command -> read back -> publish the outcome

At most once: `Issued` is acknowledged before the device is called, and a change that was issued is never
commanded again. When its outcome is unknown, after a lost connection or a crash, the device is read until
it tells; until then the station gets no other setpoint, because the next command would cover its traces.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    ChangeEvent,
    Expired,
    Failed,
    Hold,
    Issued,
    SetParameter,
    State,
)
from twinloop.contracts.codec import message
from twinloop.contracts.ids import event_id
from twinloop.contracts.topics import CHANGES
from twinloop.line.errors import PlcRefused, PlcUnavailable
from twinloop.line.guard import Case, refusal
from twinloop.line.ledger import Change, Ledger
from twinloop.line.limits import StationLimits
from twinloop.line.metrics import Metrics
from twinloop.line.plc import Command, Device, Plc
from twinloop.runtime import logging
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka import Publisher

log = logging.logger(__name__)

SOURCE = "line"
_READ_EVERY_S: Final = 0.02
_NEVER_TAKEN: Final = timedelta(seconds=1)
"""How long after its expiry a command that the device does not know cannot be on its way any more."""

E = TypeVar("E", bound=ChangeEvent)


class Carrier:
    """Carries changes to `plc`. What it publishes is folded into the ledger at once."""

    def __init__(self, plc: Plc, publisher: Publisher, clock: Clock, metrics: Metrics) -> None:
        self._plc = plc
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics

    async def carry(self, change: Change, ledger: Ledger, limits: StationLimits) -> None:
        """Bring a change that is due to its end, or leave it as it is while the device is away."""
        if change.state is State.ISSUED:
            await self._conclude(change, ledger, limits)
            return
        proposed = change.proposed
        if await self._expired(change, ledger):
            return
        if ledger.unknown(proposed.asset) and not isinstance(proposed.action, Hold):
            return  # first the outcome of the command before; stopping waits for nothing
        try:
            device = await self._plc.read(limits.station)
        except PlcUnavailable:
            return  # nothing was commanded: again, until it expires
        if await self._expired(change, ledger):
            return  # while the device took its time
        now = self._clock.now()
        refused = refusal(Case(proposed, device, ledger.touched(proposed.asset), limits, now))
        if refused is not None:
            await self._tell(change, ledger, Failed, guard=refused.guard, reason=refused.reason)
            return
        command = Command(
            command_id=proposed.change_id,
            action=proposed.action,
            sequence=device.last_sequence + 1,
            recipe=proposed.recipe,
            issued_at=now,
            expires_at=proposed.expires_at,
        )
        issued = await self._tell(
            change, ledger, Issued, command_sequence=command.sequence, part_counter=device.part_counter
        )
        change = replace(change, told_by=issued.event_id)
        try:
            await self._plc.command(limits.station, command)
        except PlcRefused as error:
            await self._tell(change, ledger, Failed, guard="plc", reason=f"the device said {error.code}")
        except PlcUnavailable as error:
            log.warning(
                "a command's outcome is unknown",
                change=proposed.change_id,
                problem=str(error),
                trace_id=proposed.trace_id,
            )
        else:
            await self._read_back(change, ledger, limits)

    async def _expired(self, change: Change, ledger: Ledger) -> bool:
        late = self._clock.now() - change.proposed.expires_at
        if late < timedelta(0):
            return False
        reason = f"released, but {late.total_seconds():.1f} s too late"
        await self._tell(change, ledger, Expired, reason=reason)
        return True

    async def _read_back(self, change: Change, ledger: Ledger, limits: StationLimits) -> None:
        """What the device holds decides, not what it answered."""
        action = change.proposed.action
        tolerance = limits.of(action.parameter).tolerance if isinstance(action, SetParameter) else 0.0
        until = self._clock.now() + timedelta(seconds=limits.read_back_s)
        while True:
            try:
                device = await self._plc.read(limits.station)
            except PlcUnavailable:
                return  # issued, and unknown: concluded when the device is back
            if device.holds(action, tolerance):
                await self._tell(
                    change, ledger, Applied, actual=_held(device, change), part_counter=device.part_counter
                )
                return
            if self._clock.now() >= until:
                reason = (
                    f"{limits.read_back_s:g} s after the command the device holds {_held(device, change)}"
                )
                await self._tell(change, ledger, Failed, guard="read_back", reason=reason)
                return
            await asyncio.sleep(_READ_EVERY_S)

    async def _conclude(self, change: Change, ledger: Ledger, limits: StationLimits) -> None:
        """The outcome of a command whose answer was lost. It is never sent again.

        When another command came after it, such as an operator's, the device holds that one's id. Then the
        sequence number tells that ours was taken or never will be, and what the device holds decides.
        """
        try:
            device = await self._plc.read(limits.station)
        except PlcUnavailable:
            return
        issued = change.issued
        passed = issued is not None and device.last_sequence >= issued.command_sequence
        if passed or device.last_command_id == change.proposed.change_id:
            await self._read_back(change, ledger, limits)
        elif self._clock.now() - change.proposed.expires_at > _NEVER_TAKEN:
            reason = f"the device's last command is {device.last_command_id!r}: it did not take this one"
            await self._tell(change, ledger, Failed, guard="outcome", reason=reason)

    async def _tell(self, change: Change, ledger: Ledger, kind: type[E], **what: Any) -> E:
        """Publish, and return the event once it is acknowledged and folded."""
        proposed = change.proposed
        name = str(kind.__struct_config__.tag)
        event: Any = kind(
            event_id=event_id(name, proposed.change_id),
            asset=proposed.asset,
            at=self._clock.now(),
            observed_at=proposed.observed_at,
            trace_id=proposed.trace_id,
            caused_by=change.told_by,
            change_id=proposed.change_id,
            **what,
        )
        await self._publisher.publish([message(CHANGES, event, source=SOURCE)])
        ledger.fold(event)
        self._count(event)
        told: E = event
        return told

    def _count(self, event: AnyChange) -> None:
        name = str(event.__struct_config__.tag)
        self._metrics.changes.labels(name).inc()
        log.info("change", asset=event.asset, change=event.change_id, state=name, trace_id=event.trace_id)
        if isinstance(event, Failed):
            self._metrics.failures.labels(event.guard).inc()
        elif isinstance(event, Applied):
            self._metrics.loop_seconds.observe((event.at - event.observed_at).total_seconds())


def _held(device: Device, change: Change) -> float | str:
    action = change.proposed.action
    return device.value(action.parameter) if isinstance(action, SetParameter) else device.mode
