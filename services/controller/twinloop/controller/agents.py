"""The shell around `station.decide`: decode, decide, write down, publish, remember. At least once.

The order matters. What follows from a record is in the audit store before it is published, and published and
acknowledged before the state that says so is remembered, and all of it before the record's offset can be
committed: a crash in between folds the record again, from the state before it, into events with the same ids.

When the audit store is away the same record is decided on once more, knowing that: then nothing is proposed,
entered or concluded. What takes something away (a refusal, a shed) is published all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from twinloop.audit.errors import AuditAway
from twinloop.audit.port import Audit
from twinloop.contracts.codec import Message, Undecodable, decode, message
from twinloop.contracts.controls import ModeEntered
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.events import Alarm, Event
from twinloop.contracts.field import VEHICLE
from twinloop.contracts.ids import event_id, trace_id
from twinloop.contracts.topics import ALARMS, CHANGES, Topic
from twinloop.controller import modes, verdicts
from twinloop.controller.accounts import Accounts
from twinloop.controller.errors import MisplacedRecord, TooManyDeadLetters
from twinloop.controller.metrics import Metrics
from twinloop.controller.policy import ControllerPolicy
from twinloop.controller.publishing import acknowledged
from twinloop.controller.state import Cause, Given, Outcome, Station, Step
from twinloop.controller.station import StationEvent, decide
from twinloop.controller.writing import Writing
from twinloop.runtime.clock import Clock
from twinloop.runtime.deadletters import dead_letter
from twinloop.runtime.kafka.clients import Publisher
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

SERVICE = "controller"


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
    auditor: Audit
    clock: Clock
    metrics: Metrics
    stopping: asyncio.Event
    dead_letter_limit: int
    _in_a_row: int = 0
    _let_in: set[str] = field(default_factory=set)
    """Our entries into modes: what is above SHADOW by another's is shed."""
    _told: dict[str, frozenset[str]] = field(default_factory=dict)
    """By asset, what the last tick told of: it is not told again until it is read back."""
    _accounts: Accounts = field(init=False)
    _writing: Writing = field(init=False)
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    _encode: msgspec.json.Encoder = field(default_factory=msgspec.json.Encoder)
    _decode: msgspec.json.Decoder[Station] = field(default_factory=lambda: msgspec.json.Decoder(Station))

    def __post_init__(self) -> None:
        self._accounts = Accounts(self.metrics, self.clock)
        self._writing = Writing(self.auditor, self.metrics, self.clock)

    async def handle(self, record: Record) -> None:
        """Fold `record`. What cannot be folded goes to `dead-letters`.

        Raises `TooManyDeadLetters`, and `KafkaError` when stopping while nothing can be published.
        """
        async with self._busy:
            try:
                event = _event(record)
                if event.asset.startswith(VEHICLE):  # the field worker's
                    self.metrics.records.labels(record.topic.name, "vehicle").inc()
                    self._in_a_row = 0
                    return
                before = self._station(event.asset)
                station, outcomes = await self._decided(before, event)
                value, messages = self._encode.encode(station), list(_messages(outcomes))
            except Exception as error:  # noqa: BLE001  (a raising agent would acknowledge and lose the record)
                await self._refuse(record, error)
                return
            await self._publish(messages)
            self._let_in.update(one.event_id for one in outcomes if isinstance(one, ModeEntered))
            self.table[event.asset.encode()] = value
            self._in_a_row = 0
            self._accounts.count(record.topic, event, outcomes)

    async def tick(self) -> None:
        """Publish what time, or our start, leads to; it changes a state only when it is read back."""
        async with self._busy:
            await self._writing.settled()
            for value in self.table.values():
                with suppress(msgspec.MsgspecError):
                    station = self._decode.decode(value)
                    await self._tell(station)

    def _by_time(self, station: Station, away: str | None) -> tuple[Outcome, ...]:
        given = Given(self.policy.of(station.asset), self.clock.now(), away)
        shed: tuple[Outcome, ...] = ()
        if modes.above_shadow(station):
            mark = event_id("taken over", station.asset, station.entered)
            cause = Cause(mark, given.now, trace_id(mark))
            _, shed = modes.take_over(station, self._let_in, cause, given.now)
        verdict = None if away is not None else verdicts.overdue(station, given)
        return shed if verdict is None else (*shed, verdict)

    async def _tell(self, station: Station) -> None:
        outcomes = self._by_time(station, self._writing.away())
        if _ids(outcomes) <= self._told.get(station.asset, frozenset()):
            return
        try:
            await self._writing.write(station, outcomes)
        except AuditAway as error:
            outcomes = self._by_time(station, str(error))
            self._writing.leave_out(station, outcomes)
        await self._publish(list(_messages(outcomes)))
        self._told[station.asset] = _ids(outcomes)
        self._accounts.count(None, None, outcomes)

    async def _decided(self, before: Station, event: StationEvent) -> Step:
        """What follows from `event`, written down; without the store, what may be done without it."""
        away = self._writing.away()
        if away is None:
            station, outcomes = self._decide(before, event, None)
            try:
                await self._writing.write(station, outcomes)
            except AuditAway as error:
                away = str(error)
            else:
                return station, outcomes
        station, outcomes = self._decide(before, event, away)
        self._writing.leave_out(station, outcomes)
        return station, outcomes

    def _decide(self, station: Station, event: StationEvent, away: str | None) -> Step:
        now = self.clock.now()
        station, shed = modes.take_over(station, self._let_in, Cause.of(event), now)
        if _ids(shed) <= self._told.get(event.asset, frozenset()):
            shed = ()  # a tick has published it, and could not remember it
        station, outcomes = decide(station, event, self.policy.of(event.asset), now, away)
        return station, (*shed, *outcomes)

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
            return modes.unknown(asset)

    async def _publish(self, messages: list[Message]) -> None:
        """Nothing is folded meanwhile."""
        await acknowledged(self.publisher, messages, self.stopping, self.metrics.publish_retries)

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
        letter = dead_letter(
            record,
            Reason.UNDECODABLE if undecodable else Reason.UNPROCESSABLE,
            str(error) or repr(error),
            topic=name,
            partition=partition,
            service=SERVICE,
            at=self.clock.now(),
        )
        await self._publish([letter])
        self.metrics.records.labels(name, "dead_letter").inc()
        self._in_a_row += 1
        if self._in_a_row >= self.dead_letter_limit:
            raise TooManyDeadLetters(
                f"{self._in_a_row} records in a row, the last one {name}/{partition}/{offset}"
            )


def _event(record: Record) -> Any:
    """The event of a record. Raises `Undecodable` or `MisplacedRecord`."""
    event = decode(record.topic, record.value or b"")
    if record.key != event.asset.encode():
        raise MisplacedRecord(f"the record's key is {record.key!r} and its event's asset {event.asset!r}")
    return event


def _ids(outcomes: Iterable[Outcome]) -> frozenset[str]:
    return frozenset(one.event_id for one in outcomes if isinstance(one, Event))


def _messages(outcomes: Iterable[Outcome]) -> Iterator[Message]:
    for one in outcomes:
        if isinstance(one, Alarm):
            yield message(ALARMS, one, source=SERVICE)
        elif isinstance(one, Event):
            yield message(CHANGES, one, source=SERVICE)
