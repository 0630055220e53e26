"""What the stream engine asks of Kafka (`kafka` and `memory` give it), and of the service that it works
for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol, Self, TypeVar

from twinloop.contracts.codec import Message
from twinloop.runtime.stream.recovery import Position, Resume


class TopicPartition(NamedTuple):
    """A partition of a topic as it is named on the cluster. Equal to aiokafka's."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Record(Protocol):
    """What is used of a Kafka record; its topic and partition are known from where it is found."""

    offset: int
    timestamp: int
    """Its producer's clock, milliseconds since 1970."""
    key: bytes | None
    value: bytes


Batch = Mapping[TopicPartition, Sequence[Record]]


class Producer(Protocol):
    """The owner of one transactional id: one transaction at a time.

    After any error only `close` may be called. Each call has a deadline and raises `Fenced` or
    `TransactionFailed`.
    """

    async def begin(self) -> None:
        """Begin a transaction."""
        ...

    async def send(self, messages: Sequence[Message]) -> None:
        """Put messages into it. They may still be on their way afterwards: `commit` waits for them."""
        ...

    async def move(self, group: str, partition: TopicPartition, position: Position) -> None:
        """Put the group's position in an input partition into it."""
        ...

    async def commit(self) -> None:
        """Decide that all of it will be readable, at once and soon; every message is acknowledged by then.

        `Cluster.committed` is sure to tell it after the next owner's `Cluster.producer`.
        """
        ...

    async def close(self) -> None:
        """Let go, within the deadline; a transaction under way is left to the next owner's fence. Never
        raises."""
        ...


class Reader(Protocol):
    """Reads one partition."""

    async def read(self, timeout_s: float, limit: int) -> Sequence[Record]:
        """Up to `limit` of the next records, waiting `timeout_s` for the first one. Raises
        `TransactionFailed` while it cannot."""
        ...


class Cluster(Protocol):
    """What is asked of Kafka besides the records. Each call raises `TransactionFailed` while it cannot
    tell."""

    async def producer(self, transactional_id: str) -> Producer:
        """A new owner of the id. Afterwards its former owner can commit nothing, and its last transaction has
        ended: what it committed is seen by `committed`."""
        ...

    async def committed(self, group: str, partition: TopicPartition) -> Position | None:
        """The group's position; `None` where there is none."""
        ...

    async def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """The offsets of the first record held and of the next one that a reader of committed records could
        be given."""
        ...

    def reader(self, partition: TopicPartition, offset: int) -> AbstractAsyncContextManager[Reader]:
        """Committed records of a partition from `offset` on, beside whoever else reads it."""
        ...

    async def newest(self, partition: TopicPartition) -> Mapping[bytes, bytes]:
        """The newest committed value of each key in a partition of a compacted topic. Waits for transactions
        that are under way there, whoever's they are."""
        ...


class Rebalances(Protocol):
    """Told by a `Member` of what is given and taken; both are awaited before the group goes on."""

    def attach(self, member: Member) -> None:
        """Who will tell; called once, before the first rebalance."""
        ...

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """They are this member's now."""
        ...

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """They go to somebody else once this returns."""
        ...


class Member(Protocol):
    """One member of a consumer group, reading committed records. Commits nothing by itself."""

    def assignment(self) -> Collection[TopicPartition]:
        """What the group has given this member."""
        ...

    async def poll(self, timeout_s: float, limit: int) -> Batch:
        """Up to `limit` records of partitions that are not paused, waiting `timeout_s` for the first one."""
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """What is polled next of `partition` begins here."""
        ...

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Exactly these yield no records from now on; the others do."""
        ...


W = TypeVar("W")
W_co = TypeVar("W_co", covariant=True)


class State(Protocol[W_co]):
    """What a service has folded of one partition. Synchronous: nothing comes between records and state."""

    halted: str | None
    """Why no record at or after `position` will be taken, until a person has acted; `None`: going on."""
    position: int
    """The next offset that has not been taken."""

    def take(self, records: Sequence[Record]) -> W_co:
        """Fold records in the order of offsets; returns the work that they make.

        May stop early and set `halted`: `position` then tells where.
        """
        ...

    def replay_from(self) -> int:
        """The oldest offset that a new owner must read so that its work is the same from `position` on."""
        ...

    def covers(self) -> Collection[str]:
        """Names of all that was folded into it: a new owner that wants more must read from further back."""
        ...

    def renewal(self) -> Self | None:
        """A state to take the place of this one, which lacks something that came before; `None`: it is whole.

        Asked after each `take`. Whoever asks gives it every record from its own position up to this one's,
        whose work is nobody's, and then lets it `relieve` this one.
        """
        ...

    def relieve(self, former: Self) -> None:
        """Make work from now on, as the one before did: both have taken the same records."""
        ...

    def close(self) -> None:
        """It is given up, and nothing of its work that is still under way will be committed: let nobody wait
        for it. May be called more than once."""
        ...


class Processor(Protocol[W]):
    """The service: makes states, and messages out of their work."""

    async def open(self, partition: TopicPartition, place: Resume) -> State[W]:
        """A new state; it is given records from its position on. What comes below `place.emit_from` was
        finished by a former owner and makes no work.

        Called after the former owner was fenced: what that has committed is seen, and is all. Raises
        `TransactionFailed` while Kafka cannot tell; then it is called again.
        """
        ...

    async def finish(self, work: Mapping[TopicPartition, W]) -> Mapping[TopicPartition, Sequence[Message]]:
        """The messages that the work of each partition leads to, dead letters among them.

        Several calls may be under way at a time. Raises `Retry` and `Redo`; anything else that it raises is a
        crash.
        """
        ...
