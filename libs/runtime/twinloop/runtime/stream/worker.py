"""One input partition in the hands of this member: its fence, its state, and its transactions.

    open -> (commit)* -> close

The transactional id belongs to the input partition. Whoever opens it fences the former owner first and reads
the committed position after that: two members that both believe in their ownership cannot both commit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Generic, TypeVar

from twinloop.contracts.codec import Message
from twinloop.runtime.observability import tracing
from twinloop.runtime.stream.errors import StreamError
from twinloop.runtime.stream.ports import Cluster, Processor, Producer, State, TopicPartition
from twinloop.runtime.stream.receipts import Receipts
from twinloop.runtime.stream.recovery import Position, Resume, resume

W = TypeVar("W")


class Worker(Generic[W]):
    """Made by `open_worker`; used by the engine alone. `lost` is set for good once a commit has failed: its
    state is ahead of what is committed, and only a new worker can go on."""

    def __init__(
        self,
        partition: TopicPartition,
        group: str,
        producer: Producer,
        state: State[W],
        place: Resume,
        receipts: Receipts | None = None,
    ) -> None:
        self.partition = partition
        self.state = state
        self.place = place
        self.lost = False
        self.under_way = 0
        """Rounds that were taken and are not committed yet."""
        self.turn = asyncio.Lock()
        """Held by the round that is being committed: those that wait for it come in their order."""
        self.renewing: asyncio.Task[None] | None = None
        """Builds a state to take the place of this one."""
        self.read_from = state.position
        self.begun = 0.0
        """When the engine began to open it (`time.perf_counter`)."""
        self._group = group
        self._producer = producer
        self._committed = place.emit_from
        self._committed_at = 0.0
        self._receipts = receipts
        self._taken = 0
        self._put_off: Position | None = None

    @property
    def caught_up(self) -> bool:
        """Whether the state is what it was when the committed position was written."""
        return self.state.position >= self.place.emit_from

    def halted(self) -> str | None:
        """Why no more records are taken, until a person has acted."""
        return self.state.halted

    def position(self) -> Position:
        """Where a commit of everything taken so far puts the group.

        While the state is being rebuilt it does not move: the committed position stays what it was.
        """
        offset = max(self.state.position, self.place.emit_from)
        return Position.needing(offset, self.state.replay_from(), self.state.covers())

    async def commit(
        self, messages: Sequence[Message], position: Position, *, every_s: float = 0.0, taken: int = 0
    ) -> bool:
        """One transaction: the messages and the position, together or not at all; whether there was one.

        A position without messages is put off until `every_s` after the last transaction: a transaction costs
        the same for nothing, and nothing comes of what a next owner does again. `taken`: how many records it
        is about. Raises `Fenced` or `TransactionFailed`; the worker is lost then.
        """
        self._taken += taken
        now = asyncio.get_running_loop().time()
        if not messages:
            if position.offset <= self._committed:
                return False  # rebuilding
            if now - self._committed_at < every_s:
                self._put_off = position
                return False
        self._put_off = None
        if self._receipts is not None:
            messages = self._receipts.of(
                self._group, self.partition, self._committed, position.offset, self._taken, messages
            )
        try:
            await self._producer.begin()
            await self._producer.send(messages)
            await self._producer.move(self._group, self.partition, position)
            await self._producer.commit()
        except BaseException:
            self.lost = True
            raise
        tracing.published(messages)
        self._committed = position.offset
        self._committed_at = now
        self._taken = 0
        return True

    def put_off(self) -> Position | None:
        """What waits to be committed while nothing is under way."""
        return None if self.lost or self.under_way else self._put_off

    async def close(self) -> None:
        """Commit what was put off, and let the partition go. May wait until the deadline of the producer;
        never raises."""
        if (position := self.put_off()) is not None:
            with contextlib.suppress(StreamError):  # then it is done again, and nothing comes of it
                await self.commit((), position)
        self.lost = True
        self.state.close()
        await self._producer.close()


async def open_worker(
    cluster: Cluster,
    group: str,
    partition: TopicPartition,
    processor: Processor[W],
    receipts: Receipts | None = None,
) -> Worker[W]:
    """Fence, then read where to resume; the order is what makes it safe.

    Raises `TransactionFailed` while Kafka cannot do it. The caller seeks to where its state is.
    """
    producer = await cluster.producer(f"{group}-{partition.topic}-{partition.partition}")
    try:
        committed = await cluster.committed(group, partition)
        place = resume(committed, *await cluster.bounds(partition))
        state = await processor.open(partition, place)
    except BaseException:
        await producer.close()
        raise
    return Worker(partition, group, producer, state, place, receipts)
