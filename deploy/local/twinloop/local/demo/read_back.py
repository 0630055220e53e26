"""Reads whole topics back, committed records only: what the verdict is given."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from twinloop.contracts.codec import decode
from twinloop.contracts.controls import AnyControl
from twinloop.contracts.events import JointWelded
from twinloop.contracts.field import FieldFinding, VehicleBuilt
from twinloop.contracts.topics import (
    ALARMS,
    ANOMALIES,
    CHANGES,
    DEAD_LETTERS,
    FIELD_EVIDENCE,
    GENEALOGY,
    SCORES,
    Topic,
)
from twinloop.local.demo.record import Record
from twinloop.runtime.kafka.access import Kafka, client_of

FAST_LOOP = (GENEALOGY, SCORES, ANOMALIES, CHANGES, ALARMS, DEAD_LETTERS)
SLOW_LOOP = (GENEALOGY, CHANGES, FIELD_EVIDENCE, ALARMS, DEAD_LETTERS)
"""Without what a model says of each minute of each vehicle."""


class Reader:
    """Reads `topics` from the beginning, and goes on where the last `read` ended."""

    def __init__(self, kafka: Kafka, topic_prefix: str, topics: Sequence[Topic] = FAST_LOOP) -> None:
        self._kafka = kafka
        self._prefix = topic_prefix
        self._topics: dict[str, Topic] = {topic.named(topic_prefix): topic for topic in topics}
        self._events: defaultdict[Topic, list[Any]] = defaultdict(list)
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Reader:
        self._consumer = AIOKafkaConsumer(
            **client_of(self._kafka),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
        )
        await self._consumer.start()
        self._consumer.assign(
            [TopicPartition(name, n) for name, topic in self._topics.items() for n in range(topic.partitions)]
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def read(self) -> Record:
        """Everything published up to now."""
        consumer = self._consumer
        if consumer is None:
            raise RuntimeError("enter the reader first")
        ends = await consumer.end_offsets(consumer.assignment())
        while True:
            at = {partition: await consumer.position(partition) for partition in ends}
            if all(at[partition] >= end for partition, end in ends.items()):
                break
            for partition, records in (await consumer.getmany(timeout_ms=100)).items():
                topic = self._topics[partition.topic]
                self._events[topic].extend(decode(topic, one.value) for one in records)
        return Record(
            joints=tuple(one for one in self._events[GENEALOGY] if isinstance(one, JointWelded)),
            vehicles=tuple(one for one in self._events[GENEALOGY] if isinstance(one, VehicleBuilt)),
            findings=tuple(one for one in self._events[FIELD_EVIDENCE] if isinstance(one, FieldFinding)),
            verdicts=tuple(self._events[SCORES]),
            anomalies=tuple(self._events[ANOMALIES]),
            changes=tuple(one for one in self._events[CHANGES] if not isinstance(one, AnyControl)),
            controls=tuple(one for one in self._events[CHANGES] if isinstance(one, AnyControl)),
            alarms=tuple(self._events[ALARMS]),
            dead_letters=tuple(self._events[DEAD_LETTERS]),
        )

    async def forget(self) -> None:
        """Everything published up to now: what is read from here on came after it."""
        await self.read()
        self._events.clear()

    async def until(self, enough: Callable[[Record], bool], timeout_s: float) -> Record:
        """Read until `enough` says so, or for `timeout_s`; the verdict, not this, says what is missing."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            record = await self.read()
            if enough(record) or asyncio.get_running_loop().time() > deadline:
                return record
            await asyncio.sleep(0.2)
