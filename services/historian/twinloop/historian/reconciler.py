"""Reads receipts and outputs from Kafka, and counts what `reconcile` finds wrong.

A follower: it belongs to no group and commits nothing. At its start it goes back some minutes, so that what
happened while it was away is judged, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from twinloop.contracts.codec import Undecodable, decode
from twinloop.contracts.receipts import HEADER
from twinloop.contracts.topics import ANOMALIES, DEAD_LETTERS, RECEIPTS, SCORES
from twinloop.historian.metrics import Metrics
from twinloop.historian.reconcile import Reconciliation, Violation
from twinloop.runtime.kafka.access import Kafka
from twinloop.runtime.kafka.clients import UNHURRIED, consumer
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

OUTPUTS = (ANOMALIES, SCORES, DEAD_LETTERS)
"""What a detector publishes. Not `model-memory`, whose older records are compacted away."""

_BACK_S = 600.0
_POLL_MS = 200
_SETTLE_S = 1.0


class Reconciler:
    """`patience_s`: see `Reconciliation`."""

    def __init__(self, kafka: Kafka, topic_prefix: str, patience_s: float, metrics: Metrics) -> None:
        self._kafka = kafka
        self._prefix = topic_prefix
        self._metrics = metrics
        self._receipts = RECEIPTS.named(topic_prefix)
        self._account = Reconciliation({one.named(topic_prefix) for one in OUTPUTS}, patience_s)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until told to stop. While Kafka is away nothing is judged."""
        topics = (RECEIPTS, *OUTPUTS)
        async with consumer(
            self._kafka, topics, self._prefix, stopping, group=None, fetch=UNHURRIED
        ) as client:
            await self._go_back(client, stopping)
            settled_s = 0.0
            while not stopping.is_set():
                for records in (await client.getmany(timeout_ms=_POLL_MS)).values():
                    for record in records:
                        self._read(record)
                if (now_s := time.monotonic()) - settled_s >= _SETTLE_S:
                    settled_s = now_s
                    await self._settle(client)

    async def _go_back(self, client: AIOKafkaConsumer, stopping: asyncio.Event) -> None:
        since_ms = int((time.time() - _BACK_S) * 1000)
        while not stopping.is_set():
            with contextlib.suppress(KafkaError, TimeoutError):
                found = await client.offsets_for_times(dict.fromkeys(client.assignment(), since_ms))
                ends = await client.end_offsets(client.assignment())
                for partition, at in found.items():
                    client.seek(partition, ends[partition] if at is None else at.offset)
                return
            await asyncio.sleep(_SETTLE_S)

    def _read(self, record: ConsumerRecord) -> None:
        now_s = time.monotonic()
        if record.topic == self._receipts:
            with contextlib.suppress(Undecodable):  # from somebody else: the gap that it leaves is told
                self._tell(self._account.receipt(decode(RECEIPTS, record.value), now_s))
            return
        for name, value in record.headers:
            if name == HEADER:
                self._account.output(record.topic, value.decode(), now_s)

    async def _settle(self, client: AIOKafkaConsumer) -> None:
        """Judge, if all that is committed was read."""
        with contextlib.suppress(KafkaError, TimeoutError):
            ends = await client.end_offsets(client.assignment())
            if all([await client.position(one) >= end for one, end in ends.items()]):
                judged, found = self._account.settle(time.monotonic())
                self._tell(found)
                self._metrics.reconciled.inc(judged)
                self._metrics.reconciled_at.set_to_current_time()
        self._metrics.open_receipts.set(self._account.open)

    def _tell(self, found: list[Violation]) -> None:
        for one in found:
            self._metrics.violations.labels(one.kind).inc(one.count)
            log.error(
                "not exactly once", kind=str(one.kind), count=one.count, origin=one.origin, what=one.text
            )
