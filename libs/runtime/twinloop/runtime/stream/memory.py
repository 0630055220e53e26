"""The engine's ports on a model of Kafka: topics, transactions, fences and positions, in memory.

For tests that need every interleaving. It passes the contract suite of the real adapter. `pass_by` is awaited
wherever the real one would wait for the broker, before anything happens there: a test decides there what
comes next, and may raise."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from twinloop.contracts.codec import Message
from twinloop.runtime.stream.errors import Fenced, TransactionFailed
from twinloop.runtime.stream.ports import Batch, Record, TopicPartition
from twinloop.runtime.stream.recovery import Position

PassBy = Callable[[str], Awaitable[None]]


async def _nobody(_: str) -> None:
    return None


@dataclass(slots=True)
class MemoryRecord:
    """A record of the log. `owner`: the transaction that it belongs to, if any."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    owner: _Transaction | None = None
    timestamp: int = 0


@dataclass(slots=True, eq=False)
class _Transaction:
    """`ended` is None while it is open, then whether it was committed."""

    ended: bool | None = None
    positions: dict[tuple[str, TopicPartition], Position] = field(default_factory=dict)


class MemoryKafka:
    """The broker: logs, positions, and who owns which transactional id. Outputs without a partition go to
    partition 0 of their topic."""

    def __init__(self) -> None:
        self.positions: dict[tuple[str, TopicPartition], Position] = {}
        self._logs: dict[TopicPartition, list[MemoryRecord]] = {}
        self._owners: dict[str, MemoryProducer] = {}

    def append(
        self,
        partition: TopicPartition,
        value: bytes,
        key: bytes | None = None,
        owner: _Transaction | None = None,
    ) -> None:
        """Put a record at the end of a log."""
        log = self._logs.setdefault(partition, [])
        log.append(MemoryRecord(*partition, len(log), key, value, owner))

    def read(self, partition: TopicPartition, start: int = 0) -> list[Record]:
        """What a reader of committed records is given: nothing of or beyond an open transaction."""
        found: list[Record] = []
        for one in self._logs.get(partition, [])[start:]:
            if one.owner is not None and one.owner.ended is None:
                break
            if one.owner is None or one.owner.ended:
                found.append(one)
        return found

    def committed(self, partition: TopicPartition) -> list[Record]:
        """All that is committed, also beyond an open transaction."""
        return [one for one in self._logs.get(partition, []) if one.owner is None or one.owner.ended]

    def own(self, transactional_id: str, producer: MemoryProducer) -> None:
        """A new owner of an id: the former one is fenced, its transaction aborted."""
        if (former := self._owners.get(transactional_id)) is not None:
            former.fence()
        self._owners[transactional_id] = producer

    def end(self, transaction: _Transaction, *, committed: bool) -> None:
        """Write the marker of a transaction."""
        transaction.ended = committed
        if committed:
            self.positions.update(transaction.positions)


class MemoryProducer:
    """The `Producer`. `fence` is what the next owner of its id does to it."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._kafka = cluster.kafka
        self._transaction: _Transaction | None = None
        self._fenced = False

    def fence(self) -> None:
        """End the transaction under way: it is aborted."""
        self._fenced = True
        if self._transaction is not None and self._transaction.ended is None:
            self._kafka.end(self._transaction, committed=False)

    async def begin(self) -> None:
        """See `Producer`. Like the real one it asks nobody."""
        if self._transaction is not None:
            raise TransactionFailed("a transaction is under way")
        self._transaction = _Transaction()

    async def send(self, messages: Sequence[Message]) -> None:
        """See `Producer`."""
        for one in messages:
            transaction = await self._at("sending")
            topic = one.topic.named(self._cluster.prefix)
            place = TopicPartition(topic, one.partition or 0)
            self._kafka.append(place, one.value, one.key, owner=transaction)

    async def move(self, group: str, partition: TopicPartition, position: Position) -> None:
        """See `Producer`."""
        transaction = await self._at("moving")
        transaction.positions[group, partition] = position

    async def commit(self) -> None:
        """See `Producer`. The broker decides, and its answer may yet be lost."""
        transaction = await self._at("committing")
        self._kafka.end(transaction, committed=True)
        self._transaction = None
        await self._cluster.pass_by("committed")

    async def close(self) -> None:
        """See `Producer`."""
        return

    async def _at(self, what: str) -> _Transaction:
        await self._cluster.pass_by(what)
        if self._fenced:
            raise Fenced(what)
        if self._transaction is None:
            raise TransactionFailed(f"{what}: no transaction is under way")
        return self._transaction


class MemoryCluster:
    """The `Cluster` of one client."""

    producer_type = MemoryProducer

    def __init__(self, kafka: MemoryKafka, topic_prefix: str = "", pass_by: PassBy = _nobody) -> None:
        self.kafka = kafka
        self.prefix = topic_prefix
        self.pass_by = pass_by

    async def producer(self, transactional_id: str) -> MemoryProducer:
        """See `Cluster`."""
        await self.pass_by("fencing")
        made = self.producer_type(self)
        self.kafka.own(transactional_id, made)
        await self.pass_by("fenced")
        return made

    async def committed(self, group: str, partition: TopicPartition) -> Position | None:
        """See `Cluster`."""
        await self.pass_by("reading a position")
        return self.kafka.positions.get((group, partition))

    async def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """See `Cluster`."""
        await self.pass_by("reading bounds")
        committed = self.kafka.read(partition)
        return 0, committed[-1].offset + 1 if committed else 0

    @contextlib.asynccontextmanager
    async def reader(self, partition: TopicPartition, offset: int) -> AsyncIterator[MemoryReader]:
        """See `Cluster`."""
        await self.pass_by("seeking")
        yield MemoryReader(self, partition, offset)

    async def newest(self, partition: TopicPartition) -> Mapping[bytes, bytes]:
        """See `Cluster`."""
        await self.pass_by("reading the newest")
        if len(self.kafka.read(partition)) < len(self.kafka.committed(partition)):
            raise TransactionFailed("reading the newest: a transaction is open")
        return {one.key: one.value for one in self.kafka.committed(partition) if one.key is not None}


class MemoryReader:
    """The `Reader`."""

    def __init__(self, cluster: MemoryCluster, partition: TopicPartition, offset: int) -> None:
        self._cluster = cluster
        self._partition = partition
        self._next = offset

    async def read(self, timeout_s: float, limit: int) -> Sequence[Record]:
        """See `Reader`. Waits by `pass_by` alone."""
        await self._cluster.pass_by("reading")
        records = self._cluster.kafka.read(self._partition, self._next)[:limit]
        if records:
            self._next = records[-1].offset + 1
        return records


class MemoryMember:
    """The `Member`. A test calls `give` and `take_away`, and tells the engine."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._next: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()

    def give(self, partition: TopicPartition) -> None:
        """Assign a partition."""
        self._next[partition] = 0

    def take_away(self, partition: TopicPartition) -> None:
        """Revoke it."""
        self._next.pop(partition, None)

    def assignment(self) -> Collection[TopicPartition]:
        """See `Member`."""
        return list(self._next)

    async def poll(self, timeout_s: float, limit: int) -> Batch:
        """See `Member`. Waits by `pass_by` alone."""
        await self._cluster.pass_by("polling")
        batch: dict[TopicPartition, Sequence[Record]] = {}
        for one, start in self._next.items():
            if one not in self._paused and (records := self._cluster.kafka.read(one, start)[:limit]):
                batch[one] = records
                limit -= len(records)
                self._next[one] = records[-1].offset + 1
        return batch

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See `Member`."""
        if partition in self._next:
            self._next[partition] = offset

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """See `Member`."""
        self._paused = set(partitions)
