"""The field worker on Kafka: who works, and reading from the beginning.

Evidence of the whole fleet is compared, so it cannot be shared out. Membership of a group is the lease: who
holds its first partition works, on a consumer of its own that reads everything, `genealogy` first: minutes
are judged by the vehicle as it is built now, and need not wait for it. What a predecessor publishes in its
last moments says nothing that is not recognised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from prometheus_client import CollectorRegistry

from twinloop.contracts.topics import FIELD_EVIDENCE, GENEALOGY
from twinloop.controller.agents import Record
from twinloop.controller.field.known import Known
from twinloop.controller.field.metrics import FieldMetrics
from twinloop.controller.field.rules import FieldRules
from twinloop.controller.field.worker import FIELD_SOURCES, Worker
from twinloop.controller.settings import ControllerSettings
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka.clients import UNHURRIED, Publisher, consumer
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

GROUP: Final = "controller-field"
_POLL_MS: Final = 100
_STAY_S: Final = 1.0
"""As often the group hears of a member that is at work."""
_AGAIN_S: Final = 5.0
_AT_ONCE: Final = 50
"""Records with a hundred joints each: the stations must not wait for more of them."""


class _Lease(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    held = False

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.held = any(one.partition == 0 for one in assigned)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.held = False


class Office:
    """Keeps a worker at work while this replica holds the lease. Use `run`."""

    def __init__(
        self,
        settings: ControllerSettings,
        rules: FieldRules,
        publisher: Publisher,
        clock: Clock,
        registry: CollectorRegistry,
        stopping: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._publisher = publisher
        self._clock = clock
        self._metrics = FieldMetrics(registry)
        self._stopping = stopping
        self._worker: Worker | None = None
        self._caught_up = False
        self._failed: str | None = None

    def problem(self) -> str | None:
        """Health check. A replica that waits for the lease is ready."""
        if self._failed is not None:
            return f"the field work failed: {self._failed}"
        return "reading what vehicles told" if self._worker is not None and not self._caught_up else None

    def known(self) -> Known | None:
        """All that is known, when the work is ours and everything was read."""
        return self._worker.known if self._worker is not None and self._caught_up else None

    async def run(self) -> None:
        """Work, or wait for the lease, until told to stop."""
        lease = _Lease()
        async with consumer(
            self._settings.kafka_access,
            [FIELD_EVIDENCE],
            self._settings.topic_prefix,
            self._stopping,
            group=GROUP,
            session_timeout_s=self._settings.session_timeout_s,
            listener=lease,
        ) as group:
            while not self._stopping.is_set():
                await _stay(group, _POLL_MS)
                if lease.held:
                    await self._attempt(lease, group)
                else:
                    self._failed = None  # the work is another's, and so is what becomes of it

    async def _attempt(self, lease: _Lease, group: AIOKafkaConsumer) -> None:
        """Work. What ends it is told, and it is begun anew: the stations must not stand still for it."""
        try:
            await self._work(lease, group)
        except Exception as error:  # whatever it was, the fast loop goes on
            if self._stopping.is_set():
                return
            self._failed = repr(error)
            self._metrics.failures.inc()
            log.error("the field work failed and begins anew", problem=repr(error), exc_info=error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _AGAIN_S)

    async def _work(self, lease: _Lease, group: AIOKafkaConsumer) -> None:
        log.info("the field work is ours")
        async with AsyncExitStack() as stack:
            stack.callback(self._leave)
            client = await stack.enter_async_context(
                consumer(
                    self._settings.kafka_access,
                    FIELD_SOURCES,
                    self._settings.topic_prefix,
                    self._stopping,
                    group=None,
                    max_poll_records=_AT_ONCE,
                    fetch=UNHURRIED,
                )
            )
            topics = {topic.named(self._settings.topic_prefix): topic for topic in FIELD_SOURCES}
            worker = Worker(self._rules, self._publisher, self._clock, self._metrics, self._stopping)
            self._worker, self._caught_up = worker, False
            ends = await client.end_offsets(client.assignment())
            first = {one: end for one, end in ends.items() if topics[one.topic] is GENEALOGY}
            later = ends.keys() - first.keys()
            client.pause(*later)
            now = asyncio.get_running_loop().time
            stayed = now()
            while lease.held and not self._stopping.is_set():
                for one, records in (await client.getmany(timeout_ms=_POLL_MS)).items():
                    for got in records:
                        worker.take(Record(topics[one.topic], one.partition, got.offset, got.key, got.value))
                if later:
                    if await _reached(client, first):
                        client.resume(*later)
                        later = set()
                elif not self._caught_up:
                    self._caught_up = await _reached(client, ends)
                if self._caught_up:
                    await worker.further()
                    self._failed = None
                if now() >= stayed + _STAY_S:
                    stayed = now()
                    await _stay(group, 0)

    def _leave(self) -> None:
        self._worker, self._caught_up = None, False
        self._metrics.vehicles.set(0)
        self._metrics.outside.set(0)


async def _reached(client: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    return all([await client.position(one) >= end for one, end in ends.items()])


async def _stay(group: AIOKafkaConsumer, poll_ms: int) -> None:
    """Remain a member; what the group is given is read elsewhere."""
    if held := group.assignment():
        group.pause(*held)
    await group.getmany(timeout_ms=poll_ms)
