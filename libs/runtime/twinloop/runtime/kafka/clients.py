"""Kafka in and out: producers that publish contract messages, consumers that read committed records only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.partitioner import murmur2

from twinloop.contracts.codec import Message
from twinloop.contracts.topics import Topic
from twinloop.runtime.kafka import mends
from twinloop.runtime.kafka.access import Kafka, client_of
from twinloop.runtime.observability import logging, tracing
from twinloop.runtime.observability.metrics import ConsumerMetrics, Lags, Place

log = logging.logger(__name__)

Batch = Mapping[TopicPartition, Sequence[ConsumerRecord]]

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
MAX_BATCH_BYTES = 1024 * 1024
"""One batch a partition is on its way at a time: at the client's 16 KiB a burst for one key waits for it."""
UNACKNOWLEDGED = "Kafka did not acknowledge ({}): look what is in force before you ask again"
"""What to tell whoever asked for something that had to be published."""
_MEASURE_S = 2.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """When Kafka answers a fetch: once `min_bytes` are there for it, and after `max_wait_ms` in any case.

    One fetch is on its way to a broker at a time, so that what a consumer asks for meanwhile waits for it: a
    partition whose records were just taken, an end offset. One that asks for every partition holds up none,
    and waits for `mends.IDLE_MS` if that is longer.
    """

    min_bytes: int
    max_wait_ms: int


PROMPT = Fetch(min_bytes=1, max_wait_ms=100)
"""Each record as soon as it is there: for whoever acts on it."""
UNHURRIED = Fetch(min_bytes=256 * 1024, max_wait_ms=500)
"""Few answers: for whoever keeps or counts records. The fetches of many small answers cost a consumer and
the broker several times what the records do."""


@lru_cache(maxsize=65_536)
def _hash(key: bytes) -> int:
    """murmur2 of a key, remembered: in pure Python it costs more than the rest of sending a small record."""
    return int(murmur2(key)) & 0x7FFFFFFF


def partition_of_key(key: bytes, every: list[int], available: list[int]) -> int:
    """The partition of `key`, as Kafka's own clients choose it; every record has a key."""
    return every[_hash(key) % len(every)]


class Publisher(Protocol):
    """Publishes messages and returns once every one of them is acknowledged by all replicas in sync."""

    async def publish(self, messages: Iterable[Message]) -> None:
        """Raises `aiokafka.errors.KafkaError` when one could not be delivered."""
        ...


class KafkaPublisher:
    """The `Publisher` on a real producer (idempotent, acks=all)."""

    def __init__(self, producer: AIOKafkaProducer, topic_prefix: str) -> None:
        self._producer = producer
        self._prefix = topic_prefix

    async def publish(self, messages: Iterable[Message]) -> None:
        """Send all, then wait for all acknowledgements."""
        messages = list(messages)
        futures = [
            await self._producer.send(
                one.topic.named(self._prefix),
                value=one.value,
                key=one.key,
                partition=one.partition,
                headers=list(one.headers),
            )
            for one in messages
        ]
        if futures:
            await asyncio.gather(*futures)
            tracing.published(messages)


class MemoryPublisher:
    """The `Publisher` that keeps messages in a list, for unit tests."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def publish(self, messages: Iterable[Message]) -> None:
        """Keep them."""
        self.messages.extend(messages)


_not_started: dict[object, str] = {}
"""Of each client that could not be started and is tried again: why."""


def not_started() -> str | None:
    """Health check: what keeps the clients of this process from being started, if anything does."""
    return next(iter(_not_started.values()), None)


async def started(make: Callable[[], Any], stopping: asyncio.Event, what: str) -> Any:
    """Start a client, trying again while the cluster is away: an outage at start is no crash."""
    this, delay_s = object(), 0.2
    try:
        while True:
            client = make()
            try:
                await client.start()
            except KafkaError as error:
                await client.stop()
                _not_started[this] = f"Kafka is away, or refuses this user: {error}"
                log.warning(
                    "kafka is away, or refuses this user: look at password, certificate and ACLs",
                    client=what,
                    problem=str(error),
                    again_in_s=delay_s,
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), delay_s)
                if stopping.is_set():
                    raise
                delay_s = min(delay_s * 2, 5.0)
            except asyncio.CancelledError:
                await client.stop()
                raise
            else:
                return client
    finally:
        _not_started.pop(this, None)


@contextlib.asynccontextmanager
async def publisher(
    kafka: Kafka, topic_prefix: str, stopping: asyncio.Event
) -> AsyncIterator[KafkaPublisher]:
    """A `KafkaPublisher` for the time of the context; flushed and closed at its end."""
    producer = await started(
        lambda: AIOKafkaProducer(
            **client_of(kafka),
            enable_idempotence=True,
            acks="all",
            linger_ms=2,
            max_batch_size=MAX_BATCH_BYTES,
            partitioner=partition_of_key,
            max_request_size=MAX_MESSAGE_BYTES,
            retry_backoff_ms=20,
        ),
        stopping,
        "producer",
    )
    try:
        yield KafkaPublisher(producer, topic_prefix)
    finally:
        await producer.stop()


@contextlib.asynccontextmanager
async def consumer(
    kafka: Kafka,
    topics: Sequence[Topic],
    topic_prefix: str,
    stopping: asyncio.Event,
    *,
    group: str | None,
    metrics: ConsumerMetrics | None = None,
    listener: ConsumerRebalanceListener | None = None,
    max_poll_records: int = 500,
    session_timeout_s: float = 30.0,
    value_deserializer: Callable[[bytes], object] | None = None,
    fetch_bytes: int = 1024 * 1024,
    fetch: Fetch = PROMPT,
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that reads committed records, commits only explicitly and starts at the earliest record.

    With `group=None` it is assigned every partition of `topics` and commits nothing: a follower.
    The group is prefixed like the topics. A member that dies keeps its partitions for `session_timeout_s`.
    `fetch_bytes` of each partition are fetched ahead. `metrics` are kept for the time of the context.
    """
    names = [topic.named(topic_prefix) for topic in topics]

    def make() -> AIOKafkaConsumer:
        made = AIOKafkaConsumer(
            **client_of(kafka),
            group_id=None if group is None else topic_prefix + group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(StickyPartitionAssignor,),
            session_timeout_ms=int(session_timeout_s * 1000),
            rebalance_timeout_ms=30_000,
            heartbeat_interval_ms=int(min(3.0, session_timeout_s / 3) * 1000),
            max_poll_records=max_poll_records,
            value_deserializer=value_deserializer,
            fetch_min_bytes=fetch.min_bytes,
            fetch_max_wait_ms=fetch.max_wait_ms,
            max_partition_fetch_bytes=fetch_bytes,
        )
        if group is None:
            made.assign(
                [
                    TopicPartition(topic.named(topic_prefix), n)
                    for topic in topics
                    for n in range(topic.partitions)
                ]
            )
        else:
            made.subscribe(names, listener=listener if metrics is None else _Counted(metrics, listener))
        return made

    client = await started(make, stopping, group or "follower")
    measuring = (
        None
        if metrics is None
        else asyncio.create_task(measure_lag(metrics.lags(), partial(_places, client)))
    )
    try:
        yield client
    finally:
        if measuring is not None:
            measuring.cancel()
            await asyncio.gather(measuring, return_exceptions=True)
        await mends.stop(client)


class _Counted(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Counts rebalances on their way to a listener."""

    def __init__(self, metrics: ConsumerMetrics, listener: ConsumerRebalanceListener | None) -> None:
        self._metrics = metrics
        self._listener = listener

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._metrics.rebalances.inc()
        if self._listener is not None:
            await self._listener.on_partitions_assigned(assigned)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if self._listener is not None:
            await self._listener.on_partitions_revoked(revoked)


async def measure_lag(lags: Lags, places: Callable[[], Awaitable[Mapping[TopicPartition, Place]]]) -> None:
    """Ask where a consumer is, every other second, for ever. While that cannot be told, because
    Kafka or a partition is away, the last figures stay."""
    while True:
        with contextlib.suppress(KafkaError, IllegalStateError, TimeoutError):
            async with asyncio.timeout(_MEASURE_S):
                lags.show(await places())
        await asyncio.sleep(_MEASURE_S)


async def _places(client: AIOKafkaConsumer) -> dict[TopicPartition, Place]:
    """Of each partition, up to the last stable offset; also of paused ones."""
    held = client.assignment()
    ends = await client.end_offsets(held) if held else {}
    return {one: Place(await client.position(one), end) for one, end in ends.items()}


async def follow(
    client: AIOKafkaConsumer,
    stopping: asyncio.Event,
    apply: Callable[[ConsumerRecord], None],
    caught_up: asyncio.Event,
) -> None:
    """Feed every record from the beginning to `apply`; set `caught_up` once the present ones are read.

    For tables: small topics that every member reads as a whole.
    """
    ends = await client.end_offsets(client.assignment())
    while not stopping.is_set():
        for records in (await client.getmany(timeout_ms=100)).values():
            for record in records:
                apply(record)
        if not caught_up.is_set():
            at = {partition: await client.position(partition) for partition in ends}
            if all(at[partition] >= end for partition, end in ends.items()):
                caught_up.set()
