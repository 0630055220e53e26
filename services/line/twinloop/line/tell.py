"""Tells what becomes of a change: writes it down, publishes it, and folds it."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from twinloop.audit.errors import AuditAway
from twinloop.audit.port import Audit
from twinloop.contracts.changes import (
    UNIT,
    AnyChange,
    Applied,
    ChangeEvent,
    Envelope,
    Expired,
    Failed,
    Issued,
    Proposed,
    SetParameter,
)
from twinloop.contracts.codec import message
from twinloop.contracts.ids import event_id
from twinloop.contracts.topics import CHANGES
from twinloop.line.ledger import Change, Ledger
from twinloop.line.metrics import Metrics
from twinloop.line.plc import Device
from twinloop.line.ports import SOURCE
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka.clients import Publisher
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

_BY_THE_DEVICE: Final = ("plc", "read_back", "outcome")

E = TypeVar("E", bound=ChangeEvent)


class Teller:
    """One for all changes."""

    def __init__(self, publisher: Publisher, audit: Audit, clock: Clock, metrics: Metrics) -> None:
        self._publisher = publisher
        self._audit = audit
        self._clock = clock
        self._metrics = metrics

    async def record_issue(self, change: Change, envelope: Envelope, device: Device) -> None:
        """Write down that `envelope` is about to be commanded. Raises `AuditAway`: then it must not be."""
        action = envelope.action
        unit = f" {envelope.unit}" if envelope.unit else ""
        new = f"{action.value:g}{unit}" if isinstance(action, SetParameter) else "Held"
        await self._audit.append(
            asset=envelope.asset,
            who=SOURCE,
            what="issued",
            old=f"{held(device, change.proposed)}{unit}",
            new=new,
            reason=f"released by {envelope.approver} as number {envelope.sequence}, mode {envelope.mode}",
            change_id=envelope.command_id,
        )

    async def tell(self, change: Change, ledger: Ledger, kind: type[E], **what: Any) -> E:
        """Publish an event of `kind`, and return it once it is acknowledged and folded. Outcomes are written
        down before; when they cannot be, they are told all the same: they are facts by then."""
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
        if not isinstance(event, Issued):
            try:
                await self._audit.append(**_entry(event, proposed))
            except AuditAway as error:
                self._metrics.unaudited.inc()
                log.error("told, and not audited", change=proposed.change_id, problem=str(error))
        await self._publisher.publish([message(CHANGES, event, source=SOURCE)])
        ledger.fold(event)
        self._count(event, change)
        told: E = event
        return told

    def _count(self, event: AnyChange, change: Change) -> None:
        name = str(event.__struct_config__.tag)
        self._metrics.changes.labels(name).inc()
        log.info("change", asset=event.asset, change=event.change_id, state=name, trace_id=event.trace_id)
        if isinstance(event, Failed):
            self._metrics.failures.labels(event.guard).inc()
        elif isinstance(event, Applied):
            assert change.approved is not None  # or it would not have been issued
            approver = change.approved.approver.partition(":")[0]
            took_s = (event.at - event.observed_at).total_seconds()
            self._metrics.loop_seconds.labels(approver).observe(took_s)


def held(device: Device, proposed: Proposed) -> float | str:
    """What the device holds of what `proposed` is about."""
    action = proposed.action
    return device.value(action.parameter) if isinstance(action, SetParameter) else device.mode


def _entry(event: AnyChange, proposed: Proposed) -> dict[str, Any]:
    entry = {"asset": event.asset, "who": SOURCE, "change_id": event.change_id}
    action = proposed.action
    unit = f" {UNIT[action.parameter]}" if isinstance(action, SetParameter) else ""
    match event:
        case Applied():
            actual = event.actual if isinstance(event.actual, str) else f"{event.actual:g}{unit}"
            return {**entry, "what": "applied", "new": actual, "result": "read back from the device"}
        case Failed():
            what = "failed" if event.guard in _BY_THE_DEVICE else "refused"
            return {**entry, "what": what, "reason": f"{event.guard}: {event.reason}"}
        case Expired():
            return {**entry, "what": "expired", "reason": event.reason}
        case _:
            raise AssertionError(f"{type(event).__name__} is none of this service's")
