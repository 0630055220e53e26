"""The engine's ports on aiokafka.

Two facts of aiokafka 0.14 shape this file. It retries several steps of a transaction for ever (a position for
a partition that does not exist, for one), so each has a deadline. And at its default `retry_backoff_ms` of
100 a commit takes 65 to 130 ms (p99) on Kafka 4: the broker's verification of a transaction answers a produce
hard on the heels of a commit with a retriable error, and the client backs off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer import fetcher
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    GroupCoordinatorNotAvailableError,
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaError,
    NotCoordinatorForGroupError,
    ProducerFenced,
)
from aiokafka.structs import OffsetAndMetadata

from twinloop.contracts.codec import Message
from twinloop.contracts.topics import Topic
from twinloop.runtime.kafka.access import Kafka, client_of
from twinloop.runtime.kafka.clients import MAX_MESSAGE_BYTES, consumer, partition_of_key, started
from twinloop.runtime.observability import logging
from twinloop.runtime.observability.metrics import ConsumerMetrics
from twinloop.runtime.stream.errors import Fenced, TransactionFailed
from twinloop.runtime.stream.ports import Batch, Rebalances, Record, TopicPartition
from twinloop.runtime.stream.recovery import Position

log = logging.logger(__name__)

_FENCED = (ProducerFenced, InvalidProducerEpoch)
_NO_COORDINATOR_YET = (
    GroupCoordinatorNotAvailableError,
    CoordinatorLoadInProgressError,
    NotCoordinatorForGroupError,
)
DEADLINE_S = 5.0
"""Of each step. Longer than a broker's restart takes would only make the wait longer: what failed is tried
again."""
FETCH_BYTES = 4 * 1024 * 1024
"""Of each partition. When there is much to do, a transaction is as large as what was fetched: at four times
the client's default there are a quarter as many of them, which is worth a third of the rate."""
TRANSACTION_TIMEOUT_S = 15.0
"""When the broker ends the transaction of a producer that has died: until then, no later record of the same
topics is readable. A partition's next owner ends it sooner, by its fence."""


@contextlib.asynccontextmanager
async def _step(what: str, deadline_s: float) -> AsyncIterator[None]:
    """One step with a deadline; aiokafka's errors as the ports'."""
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except _FENCED as error:
        raise Fenced(f"{what}: {error!r}") from error
    except TimeoutError as error:
        raise TransactionFailed(f"{what}: kafka did not do it within {deadline_s:g} s") from error
    except (KafkaError, OSError) as error:
        raise TransactionFailed(f"{what}: {error!r}") from error


class KafkaProducer:
    """The `Producer` on a real one. `deadline_s` bounds each step."""

    def __init__(self, producer: AIOKafkaProducer, topic_prefix: str, deadline_s: float) -> None:
        self._producer = producer
        self._prefix = topic_prefix
        self._deadline_s = deadline_s
        self._sent: list[asyncio.Future[object]] = []

    async def begin(self) -> None:
        """See `Producer`."""
        async with self._step("beginning a transaction"):
            await self._producer.begin_transaction()

    async def send(self, messages: Sequence[Message]) -> None:
        """See `Producer`."""
        by_topic: dict[str, list[Message]] = {}
        for one in messages:
            by_topic.setdefault(one.topic.named(self._prefix), []).append(one)
        for topic, those in by_topic.items():
            async with self._step(f"sending to {topic}"):
                for one in those:
                    sent = await self._producer.send(
                        topic, one.value, one.key, partition=one.partition, headers=list(one.headers)
                    )
                    self._sent.append(sent)

    async def move(self, group: str, partition: TopicPartition, position: Position) -> None:
        """See `Producer`."""
        offset = OffsetAndMetadata(position.offset, position.metadata)
        async with self._step("committing a position in a transaction"):
            await self._producer.send_offsets_to_transaction({_its(partition): offset}, group)

    async def commit(self) -> None:
        """See `Producer`."""
        async with self._step("committing a transaction"):
            sent, self._sent = self._sent, []
            await asyncio.gather(*sent)  # the error of one that was refused tells more than the commit's
            await self._producer.commit_transaction()

    @contextlib.asynccontextmanager
    async def _step(self, what: str) -> AsyncIterator[None]:
        """A step of the transaction. aiokafka's sender may end it between two steps: the next one is told
        only that there is none, and the reason stays with the transaction."""
        async with _step(what, self._deadline_s):
            try:
                yield
            except (IllegalOperation, AssertionError) as error:
                transaction = self._producer._txn_manager._transaction_waiter
                if transaction is None or not transaction.done() or transaction.exception() is None:
                    raise
                raise transaction.exception() from error

    async def close(self) -> None:
        """See `Producer`. Nothing is flushed: what is not committed must not be.

        `stop` of aiokafka would first wait until all that was sent is acknowledged, which may be never. So
        its sender is cancelled, and loses its connections so that it notices; it may have opened another
        meanwhile."""
        producer = self._producer
        waiting = [future for *_, future in producer._txn_manager._pending_txn_offsets]
        for one in (*self._sent, *waiting, producer._txn_manager._transaction_waiter):
            if one is not None:
                one.add_done_callback(_look_at)
        producer._closed = True
        if (sender := producer._sender.sender_task) is not None:
            sender.cancel()
        try:
            async with asyncio.timeout(self._deadline_s):
                await producer.client.close()
                if sender is not None:
                    await asyncio.wait([sender])
                await producer.client.close()
        except Exception as error:  # noqa: BLE001  # nobody needs it any more, whatever it says
            log.debug("a producer was not closed in order", problem=repr(error))


class KafkaCluster:
    """The `Cluster` on a real one; `kafka` is where it is. Use `kafka_cluster`."""

    def __init__(
        self,
        kafka: Kafka,
        topic_prefix: str,
        admin: AIOKafkaAdminClient,
        reader: AIOKafkaConsumer,
        deadline_s: float,
    ) -> None:
        self._kafka = kafka
        self._prefix = topic_prefix
        self._admin = admin
        self._reader = reader
        self._deadline_s = deadline_s

    async def producer(self, transactional_id: str) -> KafkaProducer:
        """See `Cluster`."""
        made = AIOKafkaProducer(
            **client_of(self._kafka),
            transactional_id=transactional_id,
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT_S * 1000),
            acks="all",
            linger_ms=0,
            max_batch_size=1024 * 1024,
            max_request_size=MAX_MESSAGE_BYTES,
            partitioner=partition_of_key,
            retry_backoff_ms=5,
        )
        producer = KafkaProducer(made, self._prefix, self._deadline_s)
        try:
            async with _step(f"fencing {transactional_id}", self._deadline_s):
                await made.start()
        except BaseException:
            await producer.close()
            raise
        return producer

    async def committed(self, group: str, partition: TopicPartition) -> Position | None:
        """See `Cluster`."""
        async with _step(f"reading the position of {group}", self._deadline_s):
            found = await self._offsets(group, partition)
        at = found[partition]
        return None if at.offset < 0 else Position(at.offset, at.metadata)

    async def _offsets(
        self, group: str, partition: TopicPartition
    ) -> Mapping[TopicPartition, OffsetAndMetadata]:
        """Waits for a group coordinator: a fresh cluster has none yet, and one that has just started loads.

        aiokafka does not look at the error of the answer as a whole. Kafka tells -1 of a partition without a
        position: one that it says nothing of was not looked up."""
        while True:
            with contextlib.suppress(*_NO_COORDINATOR_YET):
                found: Mapping[TopicPartition, OffsetAndMetadata]
                found = await self._admin.list_consumer_group_offsets(group, partitions=[partition])
                if partition in found:
                    return found
            await asyncio.sleep(0.05)

    async def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """See `Cluster`."""
        async with _step(f"reading the offsets of {partition}", self._deadline_s):
            first = await self._reader.beginning_offsets([_its(partition)])
            end = await self._reader.end_offsets([_its(partition)])
        return first[partition], end[partition]

    async def newest(self, partition: TopicPartition) -> Mapping[bytes, bytes]:
        """See `Cluster`. The end that a reader of committed records is told lies before every open
        transaction, whoever's it is, so it is the other one that must be reached."""
        at, found = _its(partition), dict[bytes, bytes]()
        async with (
            _step(f"reading {partition}", self._deadline_s),
            AIOKafkaConsumer(**client_of(self._kafka)) as everything,
            self.reader(partition, 0) as reader,
        ):
            end = (await everything.end_offsets([at]))[at]
            while await reader.position() < end:
                for record in await reader.read(0.1, 10_000):
                    if record.key is not None:
                        found[record.key] = record.value
        return found

    @contextlib.asynccontextmanager
    async def reader(self, partition: TopicPartition, offset: int) -> AsyncIterator[KafkaReader]:
        """See `Cluster`. From an offset that retention has deleted, reading goes on at the first one."""
        at = _its(partition)
        client = AIOKafkaConsumer(
            **client_of(self._kafka),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            value_deserializer=as_parsed,
        )
        async with _step(f"reading {partition}", self._deadline_s):
            await client.start()
        try:
            client.assign([at])
            client.seek(at, offset)
            yield KafkaReader(client, at)
        finally:
            await client.stop()


@contextlib.asynccontextmanager
async def kafka_cluster(
    kafka: Kafka, topic_prefix: str, stopping: asyncio.Event, *, deadline_s: float = DEADLINE_S
) -> AsyncIterator[KafkaCluster]:
    """A `KafkaCluster` for the time of the context; waits at its beginning until Kafka is there."""
    async with contextlib.AsyncExitStack() as stack:
        reader = await started(
            lambda: AIOKafkaConsumer(**client_of(kafka), isolation_level="read_committed"),
            stopping,
            "offsets",
        )
        stack.push_async_callback(reader.stop)
        admin = AIOKafkaAdminClient(**client_of(kafka), request_timeout_ms=int(deadline_s * 1000))
        await admin.start()
        stack.push_async_callback(admin.close)
        yield KafkaCluster(kafka, topic_prefix, admin, reader, deadline_s)


def as_parsed(value: bytes) -> bytes:
    """The value deserializer of a consumer that hands records on as they were parsed."""
    return value


class _Records(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is untyped
    """Making a `ConsumerRecord` of a record costs more than all else about reading it."""

    def _consumer_record(self, tp: aiokafka.TopicPartition, record: Record) -> Record:
        if self._value_deserializer is as_parsed:
            return record
        made: Record = super()._consumer_record(tp, record)
        return made


fetcher.PartitionRecords = _Records


class KafkaReader:
    """The `Reader` on a real consumer."""

    def __init__(self, client: AIOKafkaConsumer, partition: aiokafka.TopicPartition) -> None:
        self._client = client
        self._partition = partition

    async def read(self, timeout_s: float, limit: int) -> Sequence[Record]:
        """See `Reader`."""
        try:
            batch = await self._client.getmany(timeout_ms=int(timeout_s * 1000), max_records=limit)
        except (KafkaError, OSError) as error:
            raise TransactionFailed(f"reading: {error!r}") from error
        records: Sequence[Record] = batch.get(self._partition, ())
        return records

    async def position(self) -> int:
        """The offset that is read next."""
        return int(await self._client.position(self._partition))


class KafkaMember:
    """The `Member` on a real consumer."""

    def __init__(self, client: AIOKafkaConsumer) -> None:
        self._client = client

    def assignment(self) -> Collection[TopicPartition]:
        """See `Member`."""
        found: Collection[TopicPartition] = self._client.assignment()
        return found

    async def poll(self, timeout_s: float, limit: int) -> Batch:
        """See `Member`."""
        try:
            batch: Batch = await self._client.getmany(timeout_ms=int(timeout_s * 1000), max_records=limit)
        except (KafkaError, OSError) as error:
            raise TransactionFailed(f"reading: {error!r}") from error
        return batch

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See `Member`. Nothing happens to one that is not assigned any more."""
        if partition in self._client.assignment():
            self._client.seek(_its(partition), offset)

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """See `Member`."""
        held, paused, wanted = self._client.assignment(), self._client.paused(), set(partitions)
        self._client.pause(*(one for one in held if one in wanted and one not in paused))
        self._client.resume(*(one for one in held if one in paused and one not in wanted))


def _its(partition: TopicPartition) -> aiokafka.TopicPartition:
    """aiokafka insists on its own type."""
    return aiokafka.TopicPartition(*partition)


def _look_at(sent: asyncio.Future[object]) -> None:
    """Its error, if any, has been told by the transaction."""
    if not sent.cancelled():
        sent.exception()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Tells `rebalances`, once it knows the member."""

    def __init__(self, rebalances: Rebalances) -> None:
        self._rebalances = rebalances
        self.attached = asyncio.Event()

    async def on_partitions_assigned(self, assigned: set[aiokafka.TopicPartition]) -> None:
        await self.attached.wait()
        await self._rebalances.on_partitions_assigned([TopicPartition(*one) for one in assigned])

    async def on_partitions_revoked(self, revoked: set[aiokafka.TopicPartition]) -> None:
        if revoked:  # a consumer's start waits for its first, empty revocation
            await self.attached.wait()
            await self._rebalances.on_partitions_revoked([TopicPartition(*one) for one in revoked])


@contextlib.asynccontextmanager
async def membership(
    kafka: Kafka,
    topics: Sequence[Topic],
    topic_prefix: str,
    stopping: asyncio.Event,
    *,
    group: str,
    metrics: ConsumerMetrics,
    rebalances: Rebalances,
    session_timeout_s: float,
    poll_records: int,
) -> AsyncIterator[KafkaMember]:
    """Join `group` (prefixed like the topics) for the time of the context, and tell `rebalances` of it."""
    listener = _Listener(rebalances)
    async with consumer(
        kafka,
        topics,
        topic_prefix,
        stopping,
        group=group,
        metrics=metrics,
        listener=listener,
        session_timeout_s=session_timeout_s,
        max_poll_records=poll_records,
        value_deserializer=as_parsed,
        fetch_bytes=FETCH_BYTES,
    ) as client:
        member = KafkaMember(client)
        rebalances.attach(member)
        listener.attached.set()
        yield member
