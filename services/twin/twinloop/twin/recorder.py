"""Writes down what was decided, publishes it, and folds it: in this order.

Changes have one writer a state, so ours can be folded as soon as they are acknowledged. Modes have several,
and their order in the log counts: they are folded when they are read.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from twinloop.audit.port import Audit
from twinloop.contracts.changes import ChangeEvent, Forecast, Rejected, SetParameter, Simulated
from twinloop.contracts.codec import message
from twinloop.contracts.controls import ControlEvent, Endorsed
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.ids import event_id
from twinloop.contracts.topics import ALARMS, CHANGES
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka.clients import Publisher
from twinloop.runtime.observability import logging
from twinloop.trust.keys import Signer
from twinloop.twin.ledger import Change, Ledger
from twinloop.twin.metrics import Metrics
from twinloop.twin.release import envelope, released

log = logging.logger(__name__)

SOURCE = "twin"


class Recorder:
    """The one way from a decision to the log. `lock` keeps decisions about one partition apart."""

    def __init__(self, audit: Audit, out: Publisher, signer: Signer, clock: Clock, metrics: Metrics) -> None:
        self._audit = audit
        self._out = out
        self._signer = signer
        self._clock = clock
        self._metrics = metrics
        self._locks: WeakKeyDictionary[Ledger, asyncio.Lock] = WeakKeyDictionary()

    def lock(self, ledger: Ledger) -> asyncio.Lock:
        """Held from looking at a change until what was decided is folded."""
        return self._locks.setdefault(ledger, asyncio.Lock())

    def problem(self) -> str | None:
        """Why nothing may be decided: the audit store is away."""
        return self._audit.problem()

    async def simulated(
        self, ledger: Ledger, change: Change, do_nothing: Forecast | None, do_this: Forecast | None
    ) -> None:
        """Publish forecasts. They decide nothing, so nobody is told by the audit store."""
        event = Simulated(
            **_head("simulated", change, self._clock.now()), do_nothing=do_nothing, do_this=do_this
        )
        await self._tell(ledger, event)

    async def release(self, ledger: Ledger, change: Change, by: str, reason: str, valid_s: float) -> None:
        """Sign and publish the command. Raises `AuditAway`, and then it is not released."""
        proposed = change.proposed
        sequence = ledger.releases(proposed.asset) + 1
        command = envelope(proposed, by, sequence, self._clock.now(), valid_s)
        result = f"release {sequence}, valid until {command.expires_at.isoformat()}"
        await self._write_down(change, by, "approved", reason, result)
        await self._tell(ledger, released(proposed, command, reason, change.steps[-1].event_id, self._signer))

    async def reject(self, ledger: Ledger, change: Change, by: str, reason: str) -> None:
        """Publish that it is not to be done. Raises `AuditAway`."""
        await self._write_down(change, by, "rejected", reason)
        event = Rejected(**_head("rejected", change, self._clock.now()), approver=by, reason=reason)
        await self._tell(ledger, event)

    async def endorse(self, ledger: Ledger, change: Change, by: str, reason: str) -> None:
        """Publish that one of two persons agrees. Raises `AuditAway`."""
        await self._write_down(change, by, "endorsed", reason)
        head = _head("endorsed", change, self._clock.now())
        head["event_id"] = event_id("endorsed", change.proposed.change_id, by)
        await self._publish(Endorsed(**head, by=by, reason=reason), ledger)

    async def control(
        self, event: ControlEvent, *, who: str, what: str, old: str = "", new: str = "", reason: str
    ) -> None:
        """Publish a control event; it is in force once it is read. Raises `AuditAway`."""
        await self._audit.append(
            asset=event.asset, who=who, what=what, old=old, new=new, reason=reason, at=event.at
        )
        await self._publish(event)

    async def alarm(self, asset: str, code: AlarmCode, text: str, change: Change | None, *cause: str) -> None:
        """Call a person. The same cause makes the same alarm, so a repeat is harmless."""
        now = self._clock.now()
        proposed = None if change is None else change.proposed
        event = Alarm(
            event_id=event_id("alarm", code, asset, *cause),
            asset=asset,
            at=now,
            observed_at=now if proposed is None else proposed.observed_at,
            trace_id="" if proposed is None else proposed.trace_id,
            caused_by=cause[-1] if cause else None,
            code=code,
            text=text,
        )
        await self._out.publish([message(ALARMS, event, source=SOURCE)])
        self._metrics.alarms.labels(code).inc()
        log.warning("alarm", asset=asset, code=code, text=text)

    async def _write_down(self, change: Change, by: str, what: str, reason: str, result: str = "") -> None:
        await self._audit.append(
            asset=change.proposed.asset,
            who=by,
            what=what,
            old=_old(change),
            new=_new(change),
            reason=reason,
            result=result,
            change_id=change.proposed.change_id,
        )

    async def _tell(self, ledger: Ledger, event: ChangeEvent) -> None:
        await self._publish(event, ledger)
        self._metrics.changes.labels(_name(event)).inc()

    async def _publish(self, event: Any, fold_into: Ledger | None = None) -> None:
        await self._out.publish([message(CHANGES, event, source=SOURCE)])
        if fold_into is not None:
            fold_into.fold(event)
        log.info(
            "change" if isinstance(event, ChangeEvent) else "control",
            asset=event.asset,
            state=_name(event),
            change=getattr(event, "change_id", None),
            reason=getattr(event, "reason", None),
            trace_id=event.trace_id,
        )


def _name(event: ChangeEvent | ControlEvent) -> str:
    return str(event.__struct_config__.tag)


def _head(name: str, change: Change, at: datetime) -> dict[str, Any]:
    proposed = change.proposed
    return {
        "event_id": event_id(name, proposed.change_id),
        "asset": proposed.asset,
        "at": at,
        "observed_at": proposed.observed_at,
        "trace_id": proposed.trace_id,
        "caused_by": change.steps[-1].event_id,
        "change_id": proposed.change_id,
    }


def _old(change: Change) -> str:
    action = change.proposed.action
    return f"{action.parameter} {action.expected:g}" if isinstance(action, SetParameter) else ""


def _new(change: Change) -> str:
    action = change.proposed.action
    if isinstance(action, SetParameter):
        return f"{action.parameter} {action.value:g}"
    return f"hold: {action.reason}"
