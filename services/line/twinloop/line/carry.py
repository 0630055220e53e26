"""One released change on its way to the device, top to bottom.

    verify -> expired? -> read the device -> guards -> audit -> publish issued -> the last word -> command
           -> read back -> audit and publish the outcome

At most once: `Issued` is acknowledged before the device is called, and a change that was issued is never
commanded again. When its outcome is unknown, after a lost connection or a crash, the device is read until
it tells; until then the station gets no other setpoint, because the next command would cover its traces.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from twinloop.audit.errors import AuditAway
from twinloop.audit.port import Audit
from twinloop.contracts.changes import Applied, Approved, Expired, Failed, Hold, Issued, SetParameter, State
from twinloop.contracts.events import AlarmCode
from twinloop.line.case import Case
from twinloop.line.envelope import Objection, objection
from twinloop.line.errors import PlcRefused, PlcUnavailable
from twinloop.line.guard import LAST_WORD, Refusal, refusal
from twinloop.line.ledger import ENVELOPE, Change, Ledger
from twinloop.line.limits import StationLimits
from twinloop.line.notices import Notices
from twinloop.line.plc import Command, Device, Plc
from twinloop.line.ports import Link, Stops
from twinloop.line.tell import Teller, held
from twinloop.runtime.clock import Clock
from twinloop.runtime.observability import logging, tracing
from twinloop.trust.keys import Trusted

log = logging.logger(__name__)

_READ_EVERY_S: Final = 0.02
_NEVER_TAKEN: Final = timedelta(seconds=1)
"""How long after its expiry a command that the device does not know cannot be on its way any more."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """Carries changes to `plc`. What it tells is folded into the ledger at once."""

    plc: Plc
    trusted: Trusted
    audit: Audit
    stops: Stops
    link: Link
    notices: Notices
    teller: Teller
    clock: Clock

    async def carry(self, change: Change, ledger: Ledger, limits: StationLimits) -> None:
        """Bring a change that is due to its end, or leave it as it is while the device is away."""
        if change.state is State.ISSUED:
            await self._conclude(change, ledger, limits)
            return
        approved, asset = change.approved, change.proposed.asset
        assert approved is not None  # it was released
        if (wrong := self._objection(change, approved, ledger)) is not None:
            await self._refuse(change, ledger, Refusal(ENVELOPE, wrong.reason), forged=wrong.forged)
            return
        if await self._expired(change, approved, ledger):
            return
        if ledger.unknown(asset) and not isinstance(approved.envelope.action, Hold):
            return  # first the outcome of the command before; stopping waits for nothing
        try:
            device = await self.plc.read(limits.station)
        except PlcUnavailable:
            return  # nothing was commanded: again, until it expires
        if await self._expired(change, approved, ledger):
            return  # while the device took its time
        if (refused := refusal(self._case(change, approved, device, ledger, limits))) is not None:
            await self._refuse(change, ledger, refused)
            return
        await self._issue(change, approved, device, ledger, limits)

    async def _issue(
        self, change: Change, approved: Approved, device: Device, ledger: Ledger, limits: StationLimits
    ) -> None:
        """Write it down, say so, look once more, and command. From here on it happens at most once."""
        envelope = approved.envelope
        try:
            await self.teller.record_issue(change, envelope, device)
        except AuditAway as error:
            await self._refuse(change, ledger, Refusal("audit", str(error)))
            self.notices.say_shed(
                ledger, envelope.asset, f"nothing can be written down: {error}", AlarmCode.AUDIT_AWAY
            )
            return
        sequence = device.last_sequence + 1
        issued = await self.teller.tell(
            change, ledger, Issued, command_sequence=sequence, part_counter=device.part_counter
        )
        change = replace(change, told_by=issued.event_id, issued=issued, state=State.ISSUED)
        command = Command(
            command_id=envelope.command_id,
            action=envelope.action,
            sequence=sequence,
            recipe=envelope.recipe,
            issued_at=self.clock.now(),
            expires_at=envelope.expires_at,
        )
        # Kafka may have taken its time. From this line to the call nothing else runs.
        if (refused := self._last_word(change, approved, device, ledger, limits)) is not None:
            await self._refuse(change, ledger, refused)
            return
        began_ns = time.time_ns()
        try:
            await self.plc.command(limits.station, command)
        except PlcRefused as error:
            await self._refuse(change, ledger, Refusal("plc", f"the device said {error.code}"))
        except PlcUnavailable as error:
            log.warning(
                "a command's outcome is unknown",
                change=envelope.command_id,
                problem=str(error),
                trace_id=change.proposed.trace_id,
            )
        else:
            tracing.did("plc_write", issued.trace_id, issued.event_id, began_ns, station=limits.station)
            await self._read_back(change, ledger, limits)

    def _objection(self, change: Change, approved: Approved, ledger: Ledger) -> Objection | None:
        return objection(
            change.proposed,
            approved,
            trusted=self.trusted,
            handled=ledger.standing(change.proposed.asset).sequence,
            out_of_order=change.out_of_order,
            now=self.clock.now(),
        )

    def _case(
        self, change: Change, approved: Approved, device: Device, ledger: Ledger, limits: StationLimits
    ) -> Case:
        asset = change.proposed.asset
        latest = ledger.change(change.proposed.change_id) or change
        return Case(
            approved.envelope,
            device,
            ledger.standing(asset),
            limits,
            self.clock.now(),
            objection=self._objection(change, approved, ledger),
            stopped=latest.stopped,
            link=self.link.problem(asset),
            killed=self.stops.in_force(asset),
            audit=self.audit.problem(),
        )

    def _last_word(
        self, change: Change, approved: Approved, device: Device, ledger: Ledger, limits: StationLimits
    ) -> Refusal | None:
        """What has come since the guards were asked: the kill switch, a shed mode, an operator, time."""
        case = replace(self._case(change, approved, device, ledger, limits), objection=None)
        if case.now >= approved.envelope.expires_at:
            return Refusal(ENVELOPE, "it expired before the device could be called")
        return refusal(case, only=LAST_WORD)

    async def _refuse(
        self, change: Change, ledger: Ledger, refused: Refusal, *, forged: bool = False
    ) -> None:
        failed = await self.teller.tell(change, ledger, Failed, guard=refused.guard, reason=refused.reason)
        if forged:
            text = f"a release of change {change.proposed.change_id} is none: {refused.reason}. "
            text += "Find out who writes to the topic changes."
            asset = change.proposed.asset
            self.notices.say_alarm(asset, AlarmCode.FORGED_COMMAND, text, failed.event_id, failed.trace_id)

    async def _expired(self, change: Change, approved: Approved, ledger: Ledger) -> bool:
        late = self.clock.now() - approved.envelope.expires_at
        if late < timedelta(0):
            return False
        reason = f"released, but {late.total_seconds():.1f} s too late"
        await self.teller.tell(change, ledger, Expired, reason=reason)
        return True

    async def _read_back(self, change: Change, ledger: Ledger, limits: StationLimits) -> None:
        """What the device holds decides, not what it answered; and only if it is of this command."""
        action, issued = change.proposed.action, change.issued
        assert issued is not None
        tolerance = limits.of(action.parameter).tolerance if isinstance(action, SetParameter) else 0.0
        until = self.clock.now() + timedelta(seconds=limits.read_back_s)
        while True:
            try:
                device = await self.plc.read(limits.station)
            except PlcUnavailable:
                return  # issued, and unknown: concluded when the device is back
            taken = device.last_sequence >= issued.command_sequence
            if taken and device.holds(action, tolerance):
                self.link.settled(change.proposed.asset, device)
                actual = held(device, change.proposed)
                await self.teller.tell(
                    change, ledger, Applied, actual=actual, part_counter=device.part_counter
                )
                return
            if self.clock.now() >= until:
                self.link.settled(change.proposed.asset, device)
                reason = f"{limits.read_back_s:g} s after the command the device holds "
                await self._refuse(
                    change, ledger, Refusal("read_back", f"{reason}{held(device, change.proposed)}")
                )
                return
            await asyncio.sleep(_READ_EVERY_S)

    async def _conclude(self, change: Change, ledger: Ledger, limits: StationLimits) -> None:
        """The outcome of a command whose answer was lost. It is never sent again.

        When another command came after it, such as an operator's, the device holds that one's id. Then the
        sequence number tells that ours was taken or never will be, and what the device holds decides.
        """
        try:
            device = await self.plc.read(limits.station)
        except PlcUnavailable:
            return
        issued, approved = change.issued, change.approved
        assert issued is not None
        assert approved is not None
        if device.last_sequence >= issued.command_sequence:
            await self._read_back(change, ledger, limits)
        elif self.clock.now() - approved.envelope.expires_at > _NEVER_TAKEN:
            self.link.settled(change.proposed.asset, device)
            reason = f"the device's last command is {device.last_command_id!r}: it did not take this one"
            await self._refuse(change, ledger, Refusal("outcome", reason))
