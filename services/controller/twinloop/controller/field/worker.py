"""The field worker: reads what vehicles tell, publishes what follows, looks from time to time.

One replica works; who it is, a consumer group decides (`office.py`). The one at work reads its three topics
from their beginning, and publishes nothing before it has read what was there: until then it does not know
what was said already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from twinloop.contracts.codec import Message, Undecodable, decode, message
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.field import VEHICLE, FieldFinding, VehicleAnomaly, VehicleScore
from twinloop.contracts.topics import ANOMALIES, FIELD_EVIDENCE, GENEALOGY, Topic
from twinloop.controller.agents import SERVICE, Record
from twinloop.controller.field.known import Fate, Known
from twinloop.controller.field.metrics import FieldMetrics
from twinloop.controller.field.rules import FieldRules
from twinloop.controller.publishing import acknowledged
from twinloop.runtime.clock import Clock
from twinloop.runtime.deadletters import dead_letter
from twinloop.runtime.kafka.clients import Publisher
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

_OF_VEHICLE: Final = VEHICLE.encode()
FIELD_SOURCES: Final[tuple[Topic, ...]] = (GENEALOGY, ANOMALIES, FIELD_EVIDENCE)


class Worker:
    """Takes records into `known`, and publishes what follows. `stopping` ends waiting for Kafka."""

    def __init__(
        self,
        rules: FieldRules,
        publisher: Publisher,
        clock: Clock,
        metrics: FieldMetrics,
        stopping: asyncio.Event,
    ) -> None:
        self.known = Known(rules)
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._stopping = stopping
        self._looked_at: datetime | None = None
        self._caught_up = False
        self._letters: list[Message] = []

    def take(self, record: Record) -> None:
        """Fold a record of one of `FIELD_SOURCES`. The agent, which reads the same topics, sends what is none
        to `dead-letters`; what is one and cannot be used is sent there from here."""
        topic, evicted = record.topic, self.known.evicted
        try:
            fate = str(self._folded(record))
        except Undecodable as error:
            fate = "undecodable"
            log.warning("not a record", topic=topic.name, problem=str(error))
        except Exception as error:  # one vehicle's record must not keep the others' from being read
            fate = str(Fate.UNUSABLE)
            log.error("a record cannot be folded", topic=topic.name, problem=repr(error), exc_info=error)
            self._refuse(record, repr(error))
        self._metrics.records.labels(topic.name, fate).inc()
        if self.known.evicted > evicted:
            self._metrics.records.labels(topic.name, str(Fate.EVICTED)).inc(self.known.evicted - evicted)
        self._metrics.vehicles.set(len(self.known.genealogy))
        self._metrics.outside.set(self.known.outside)

    def _folded(self, record: Record) -> Fate:
        key = record.key
        if record.topic is not FIELD_EVIDENCE and key is not None and not key.startswith(_OF_VEHICLE):
            return Fate.OTHERS  # a station's: there are a hundred for each vehicle, and decoding takes time
        fate = self.known.take(decode(record.topic, record.value or b""), self._clock.now())
        if fate is Fate.UNUSABLE:
            self._refuse(record, "it is from the future, or without a distance: it cannot be judged")
        return fate

    def _refuse(self, record: Record, detail: str) -> None:
        """Everything is read again after each start: only what comes after that is told of."""
        if not self._caught_up:
            return
        letter = dead_letter(
            record,
            Reason.UNPROCESSABLE,
            detail,
            topic=record.topic.name,
            partition=record.partition,
            service=SERVICE,
            at=self._clock.now(),
        )
        self._letters.append(letter)

    async def further(self) -> None:
        """Publish what is new, and look if that is due. Call it only when all that was published is read.

        Raises `KafkaError` when stopping while nothing can be published.
        """
        self._caught_up = True
        await self._publish(self._letters)
        self._letters.clear()
        said = self.known.unsaid()
        await self._say(said)
        self.known.said(said)
        now = self._clock.now()
        due = self.known.look_due(now)
        if due is None or (self._looked_at is not None and now < self._looked_at + self._pause):
            return
        self._looked_at = now
        with self._metrics.look_seconds.time():
            found = await asyncio.to_thread(self.known.look, due, now)
        if self.known.outside:
            grid = self.known.rules.grid
            log.warning(
                "joints lie outside of the build windows and are in no finding: a new grid is due",
                joints=self.known.outside,
                windows_from=grid.origin.isoformat(),
                windows_to=grid.end.isoformat(),
            )
        for one in found:
            log.info("finding", asset=one.asset, vehicles=one.vehicles, q=one.q, text=one.text)
        await self._say(found)
        self.known.looked(due, found)

    @property
    def _pause(self) -> timedelta:
        return timedelta(seconds=self.known.rules.look_s)

    async def _say(self, events: Sequence[VehicleAnomaly | VehicleScore | FieldFinding]) -> None:
        await self._publish([message(FIELD_EVIDENCE, one, source=SERVICE) for one in events])
        for one in events:
            self._metrics.published.labels(str(one.__struct_config__.tag)).inc()

    async def _publish(self, messages: Sequence[Message]) -> None:
        await acknowledged(self._publisher, messages, self._stopping, self._metrics.publish_retries)
