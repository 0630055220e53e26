"""The shell around `station.decide`: decode, decide, publish, remember. At least once.

The order matters. What follows from a record is published and acknowledged before the state that says so is
remembered, and both before the record's offset can be committed: a crash in between folds the record again,
from the state before it, into events with the same ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from aiokafka.errors import KafkaError

from twinloop.contracts.changes import ChangeEvent, Proposed, state_of
from twinloop.contracts.codec import Message, Undecodable, decode, message
from twinloop.contracts.deadletters import DeadLetter, Reason
from twinloop.contracts.events import Alarm, Anomaly, Event
from twinloop.contracts.ids import event_id
from twinloop.contracts.topics import ALARMS, CHANGES, DEAD_LETTERS, Topic
from twinloop.controller import lifecycle
from twinloop.controller.errors import MisplacedRecord, TooManyDeadLetters
from twinloop.controller.metrics import Metrics
from twinloop.controller.policy import ControllerPolicy
from twinloop.controller.state import Diagnosed, GaveUp, Ignored, Outcome, Refused, Station
from twinloop.controller.station import decide
from twinloop.runtime import logging
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka import Publisher

log = logging.logger(__name__)

SERVICE = "controller"
_RETRY_S = 0.2
_RETRY_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record of one of the topics that are folded."""

    topic: Topic
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class Table(Protocol):
    """Station states by asset, both as bytes. Written only while a record of the asset is handled."""

    def get(self, key: bytes, /) -> bytes | None:
        """The value, or `None`."""
        ...

    def __setitem__(self, key: bytes, value: bytes, /) -> None: ...

    def values(self) -> Iterable[bytes]:
        """Every value."""
        ...


@dataclass
class Agent:
    """Folds records into `table`, one at a time. `stopping` ends waiting for Kafka."""

    policy: ControllerPolicy
    table: Table
    publisher: Publisher
    clock: Clock
    metrics: Metrics
    stopping: asyncio.Event
    dead_letter_limit: int
    _in_a_row: int = 0
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    _encode: msgspec.json.Encoder = field(default_factory=msgspec.json.Encoder)
    _decode: msgspec.json.Decoder[Station] = field(default_factory=lambda: msgspec.json.Decoder(Station))

    async def handle(self, record: Record) -> None:
        """Fold `record`. What cannot be folded goes to `dead-letters`.

        Raises `TooManyDeadLetters`, and `KafkaError` when stopping while nothing can be published.
        """
        async with self._busy:
            try:
                event = _event(record)
                key = event.asset.encode()
                station, outcomes = decide(
                    self._station(event.asset), event, self.policy.of(event.asset), self.clock.now()
                )
                value, messages = self._encode.encode(station), list(_messages(outcomes))
            except Exception as error:  # noqa: BLE001  (a raising agent would acknowledge and lose the record)
                await self._refuse(record, error)
                return
            await self._publish(messages)
            self.table[key] = value
            self._in_a_row = 0
            self._count(record, event, outcomes)

    async def tick(self) -> None:
        """Publish the verdicts that time alone gives; they change a state only when they are read back."""
        async with self._busy:
            now = self.clock.now()
            overdue = []
            for value in self.table.values():
                with suppress(msgspec.MsgspecError):
                    station = self._decode.decode(value)
                    verdict = lifecycle.overdue(station, self.policy.of(station.asset), now)
                    overdue.extend([verdict] if verdict is not None else [])
            await self._publish(list(_messages(overdue)))
            for verdict in overdue:
                self.metrics.changes.labels(state_of(verdict)).inc()

    def _station(self, asset: str) -> Station:
        value = self.table.get(asset.encode())
        if value is None:
            return Station(asset=asset)
        try:
            return self._decode.decode(value)
        except msgspec.MsgspecError as error:
            # Of another version. It is a fold: what is in flight ends by itself, the rest is learnt anew.
            log.error("a station's state cannot be read and begins anew", asset=asset, problem=str(error))
            self.metrics.states_lost.inc()
            return Station(asset=asset)

    async def _publish(self, messages: list[Message]) -> None:
        """Until acknowledged: nothing is folded meanwhile. Ids stay the same, so a repeat is harmless."""
        delay_s = _RETRY_S
        while messages:
            try:
                await self.publisher.publish(messages)
            except KafkaError as error:
                if self.stopping.is_set():
                    raise
                self.metrics.publish_retries.inc()
                log.warning("kafka does not acknowledge", problem=repr(error), again_in_s=delay_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), delay_s)
                delay_s = min(2 * delay_s, _RETRY_MAX_S)
            else:
                return

    async def _refuse(self, record: Record, error: Exception) -> None:
        name, partition, offset = record.topic.name, record.partition, record.offset
        undecodable = isinstance(error, Undecodable)
        log.error(
            "a record cannot be folded",
            topic=name,
            partition=partition,
            offset=offset,
            problem=repr(error),
            exc_info=None if isinstance(error, Undecodable | MisplacedRecord) else error,
        )
        letter = DeadLetter(
            event_id=event_id("dead_letter", SERVICE, name, partition, offset),
            reason=Reason.UNDECODABLE if undecodable else Reason.UNPROCESSABLE,
            detail=str(error) or repr(error),
            source=f"{name}/{partition}/{offset}",
            at=self.clock.now(),
            service=SERVICE,
            asset=(record.key or b"").decode(errors="replace"),
            payload=record.value or b"",
        )
        await self._publish([message(DEAD_LETTERS, letter, source=SERVICE)])
        self.metrics.records.labels(name, "dead_letter").inc()
        self._in_a_row += 1
        if self._in_a_row >= self.dead_letter_limit:
            raise TooManyDeadLetters(
                f"{self._in_a_row} records in a row, the last one {name}/{partition}/{offset}"
            )

    def _count(self, record: Record, event: Any, outcomes: Iterable[Outcome]) -> None:
        fate = "folded"
        for one in outcomes:
            if isinstance(one, Ignored):
                fate = "ignored"
                self.metrics.ignored.labels(one.why).inc()
            elif isinstance(one, Diagnosed):
                self.metrics.findings.labels(one.diagnosis).inc()
            elif isinstance(one, Refused):
                self.metrics.refusals.labels(one.guard).inc()
            elif isinstance(one, GaveUp):
                self.metrics.given_up.labels(one.state).inc()
                log.warning("gave up waiting for a change", change=one.change_id, state=str(one.state))
            else:
                self._count_event(event, one)
        self.metrics.records.labels(record.topic.name, fate).inc()

    def _count_event(self, cause: Any, event: Event) -> None:
        if isinstance(event, Alarm):
            self.metrics.alarms.labels(event.code).inc()
            log.warning(
                "alarm", asset=event.asset, code=str(event.code), text=event.text, trace_id=event.trace_id
            )
        elif isinstance(event, ChangeEvent):
            state = str(event.__struct_config__.tag)
            self.metrics.changes.labels(state).inc()
            log.info(
                "change", asset=event.asset, change=event.change_id, state=state, trace_id=event.trace_id
            )
            if isinstance(event, Proposed) and isinstance(cause, Anomaly):
                delay = self.clock.now() - cause.at
                self.metrics.proposal_seconds.observe(max(0.0, delay.total_seconds()))


def _event(record: Record) -> Any:
    """The event of a record. Raises `Undecodable` or `MisplacedRecord`."""
    event = decode(record.topic, record.value or b"")
    if record.key != event.asset.encode():
        raise MisplacedRecord(f"the record's key is {record.key!r} and its event's asset {event.asset!r}")
    return event


def _messages(outcomes: Iterable[Outcome]) -> Iterator[Message]:
    for one in outcomes:
        if isinstance(one, Alarm):
            yield message(ALARMS, one, source=SERVICE)
        elif isinstance(one, Event):
            yield message(CHANGES, one, source=SERVICE)
