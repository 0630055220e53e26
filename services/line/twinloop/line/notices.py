"""What this service says of its own accord: modes it sheds, operators it meets, alarms.

    say -> in force here at once -> audited -> published

Nobody waits for it: a heartbeat must not stand still because a disk or Kafka does. What cannot be published
yet is published later, in its order; what cannot be audited is said all the same, because it only stops.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError

from twinloop.audit.errors import AuditAway
from twinloop.audit.port import Audit
from twinloop.contracts.codec import Message, message
from twinloop.contracts.controls import AnyControl, Governance, ModeShed, Overridden
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.ids import event_id, trace_id
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import ALARMS, CHANGES
from twinloop.line.ledger import Ledger
from twinloop.line.metrics import Metrics
from twinloop.line.ports import SOURCE
from twinloop.line.watch import Overriding
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka.clients import Publisher
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class _Notice:
    messages: tuple[Message, ...]
    entry: dict[str, Any] | None


class Notices:
    """Use `say_*` at any time, and let `record` and `publish` run."""

    def __init__(self, audit: Audit, clock: Clock, metrics: Metrics) -> None:
        self._audit = audit
        self._clock = clock
        self._metrics = metrics
        self._to_record: asyncio.Queue[_Notice] = asyncio.Queue()
        self._to_publish: asyncio.Queue[_Notice] = asyncio.Queue()
        self._waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def say_shed(
        self, ledger: Ledger, asset: str, reason: str, code: AlarmCode = AlarmCode.MODE_SHED
    ) -> None:
        """Take `asset` down to SHADOW, if it is above."""
        state = ledger.governance(asset)
        if state.actual.rank <= Mode.SHADOW.rank:
            return
        event = ModeShed(
            **self._head("mode_shed", asset, SOURCE, state.since), mode=Mode.SHADOW, by=SOURCE, reason=reason
        )
        self._metrics.sheds.labels(code).inc()
        self._say(ledger, event, code, f"{reason}. The mode is shadow; find the cause, then promote again.")

    def say_overridden(self, ledger: Ledger, asset: str, found: Overriding) -> None:
        """An operator has `asset` in hand."""
        state = ledger.governance(asset)
        event = Overridden(
            **self._head("overridden", asset, state.since, self._clock.now().isoformat()),
            parameter=found.parameter,
            value=found.value,
            expected=found.expected,
            reason=found.reason,
        )
        text = f"{found.parameter} is {found.value:g}, {found.expected:g} was expected: {found.reason}. "
        self._say(ledger, event, AlarmCode.OVERRIDDEN, text + "Manual until a person hands the asset back.")

    def say_alarm(self, asset: str, code: AlarmCode, text: str, cause: str, trace: str = "") -> None:
        """Call a person to `asset`; `cause` is the id of the event that led to it."""
        alarm = self._alarm(asset, code, text, cause, trace)
        self._queue((message(ALARMS, alarm, source=SOURCE),), None)

    async def record(self) -> None:
        """Write down what was said; for ever."""
        while True:
            await self.record_next()

    async def publish(self, publisher: Publisher) -> None:
        """Publish what was said, again until Kafka has it; for ever."""
        while True:
            await self.publish_next(publisher)

    async def record_next(self) -> None:
        """Wait for something to be said, and write it down."""
        notice = await self._to_record.get()
        if notice.entry is not None:
            try:
                await self._audit.append(**notice.entry)
            except AuditAway as error:
                self._metrics.unaudited.inc()
                log.error("said, and not audited", entry=notice.entry["what"], problem=str(error))
        self._to_publish.put_nowait(notice)

    async def publish_next(self, publisher: Publisher) -> None:
        """Wait for something to be written down, and publish it."""
        notice = await self._to_publish.get()
        while True:
            try:
                await publisher.publish(notice.messages)
                break
            except KafkaError as error:
                log.warning("a notice waits for kafka", problem=repr(error))
                await asyncio.sleep(_AGAIN_S)
        self._waiting -= 1
        if self._waiting == 0:
            self._idle.set()

    @property
    def idle(self) -> bool:
        """Whether everything that was said is published."""
        return self._waiting == 0

    async def said(self, timeout_s: float) -> None:
        """Wait for what was said to be published; no longer than that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()

    def _say(self, ledger: Ledger, event: AnyControl, code: AlarmCode, text: str) -> None:
        before = ledger.governance(event.asset)
        ledger.say(event)
        after = ledger.governance(event.asset)
        log.warning("control", what=event.__struct_config__.tag, asset=event.asset, why=after.why)
        alarm = self._alarm(event.asset, code, text, event.event_id, event.trace_id)
        messages = (message(CHANGES, event, source=SOURCE), message(ALARMS, alarm, source=SOURCE))
        self._queue(messages, _entry(event, before, after, text))

    def _queue(self, messages: Sequence[Message], entry: dict[str, Any] | None) -> None:
        self._waiting += 1
        self._idle.clear()
        self._to_record.put_nowait(_Notice(tuple(messages), entry))

    def _head(self, kind: str, asset: str, *parts: object) -> dict[str, Any]:
        now = self._clock.now()
        one = event_id(kind, asset, *parts)
        cause = parts[-1] if kind == "mode_shed" else parts[0]
        return {
            "event_id": one,
            "asset": asset,
            "at": now,
            "observed_at": now,
            "trace_id": trace_id(one),
            "caused_by": cause,
        }

    def _alarm(self, asset: str, code: AlarmCode, text: str, cause: str, trace: str) -> Alarm:
        now = self._clock.now()
        self._metrics.alarms.labels(code).inc()
        return Alarm(
            event_id=event_id("alarm", code, cause),
            asset=asset,
            at=now,
            observed_at=now,
            trace_id=trace or trace_id(cause),
            caused_by=cause,
            code=code,
            text=text,
        )


def _entry(event: AnyControl, before: Governance, after: Governance, reason: str) -> dict[str, Any]:
    return {
        "asset": event.asset,
        "who": SOURCE,
        "what": str(event.__struct_config__.tag),
        "old": _words(before),
        "new": _words(after),
        "reason": reason,
    }


def _words(state: Governance) -> str:
    return f"{state.actual}{', manual' if state.manual else ''}{', killed' if state.killed else ''}"
