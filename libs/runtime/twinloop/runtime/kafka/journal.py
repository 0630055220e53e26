"""A topic as the record of what has happened: read from its beginning, a partition at a time, then followed.

For services that act on what a whole log says, such as the changes of an asset. Each partition has a state
that every record is folded into; nothing should be done for a partition before it has been read up to the end
that it had when it was taken on. Progress is the state itself: a restart reads it all again and acts on what
is still due.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, RebalanceInProgressError

from twinloop.contracts.codec import Message, Undecodable, decode
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.topics import Topic
from twinloop.runtime.deadletters import dead_letter
from twinloop.runtime.kafka.clients import consumer, partition_of_key
from twinloop.runtime.observability import logging
from twinloop.runtime.observability.metrics import ConsumerMetrics
from twinloop.runtime.settings import ServiceSettings

log = logging.logger(__name__)

_AGAIN_S = 0.5

S = TypeVar("S")


@dataclass(slots=True)
class _Page(Generic[S]):
    """One partition. What lies below `handled` was read by an owner before."""

    state: S
    end: int
    handled: int
    next: int = 0

    @property
    def complete(self) -> bool:
        return self.next >= self.end


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that is none of its topic."""

    record: ConsumerRecord
    problem: str

    def letter(self, *, service: str, at: datetime) -> Message:
        """The dead letter that keeps it."""
        of = self.record
        return dead_letter(
            of,
            Reason.UNDECODABLE,
            self.problem,
            topic=of.topic,
            partition=of.partition,
            service=service,
            at=at,
        )


class Journal(ConsumerRebalanceListener, Generic[S]):  # type: ignore[misc]  # aiokafka is untyped
    """The partitions of `topic` that this member holds. Use `journal`.

    `new` makes the state of a partition, `fold` takes an event into it. The consumer calls `on_partitions_*`
    from a task of its own; the rest is for the one loop that polls.
    """

    def __init__(self, topic: Topic, new: Callable[[], S], fold: Callable[[S, Any], object]) -> None:
        self._topic = topic
        self._new = new
        self._fold = fold
        self._pages: dict[TopicPartition, _Page[S]] = {}
        self._client: asyncio.Future[AIOKafkaConsumer] = asyncio.get_running_loop().create_future()
        self._assigned = False

    def attach(self, client: AIOKafkaConsumer) -> None:
        """Give it the consumer that calls it."""
        self._client.set_result(client)

    def problem(self) -> str | None:
        """Health check: what has not been read yet."""
        if not self._assigned:
            return "waiting for partitions"
        behind = sum(not page.complete for page in self._pages.values())
        return f"{behind} partitions are being read from their beginning" if behind else None

    def states(self) -> list[S]:
        """Those that know everything there was."""
        return [page.state for page in self._pages.values() if page.complete]

    def at(self, key: str) -> S | None:
        """The state that the records of `key` are folded into; `None` while its partition is another
        member's, or is still being read."""
        partition = partition_of_key(key.encode(), list(range(self._topic.partitions)), [])
        for one, page in self._pages.items():
            if one.partition == partition and page.complete:
                return page.state
        return None

    def holds(self, state: S) -> bool:
        """Whether the partition of `state` is still ours."""
        return any(page.state is state for page in self._pages.values())

    async def read(self, timeout_ms: int) -> list[Unreadable]:
        """Fold what has come; returns what is no event and has not been told of before."""
        client = await self._client
        unreadable = []
        for one, records in (await client.getmany(timeout_ms=timeout_ms)).items():
            page = self._pages.get(one)
            if page is None:
                continue  # fetched before it was sought to the beginning: it comes again
            for record in records:
                try:
                    self._fold(page.state, decode(self._topic, record.value or b""))
                except Undecodable as error:
                    if record.offset >= page.handled:
                        unreadable.append(Unreadable(record, str(error)))
                        log.warning(
                            "dead letter",
                            partition=f"{one.topic}/{one.partition}",
                            offset=record.offset,
                            detail=str(error),
                        )
            page.next = records[-1].offset + 1
        for one, page in list(self._pages.items()):
            # Transactions leave markers that are no records, also at the end of a log.
            if not page.complete and one in client.assignment():
                page.next = max(page.next, await client.position(one))
        return unreadable

    async def commit(self) -> None:
        """Remember what was read: for who monitors lag, and so that nothing unreadable is told of twice."""
        client = await self._client
        offsets = {
            one: page.next
            for one, page in self._pages.items()
            if page.complete and page.next > page.handled and one in client.assignment()
        }
        if not offsets:
            return
        try:
            await client.commit(offsets)
        except (CommitFailedError, IllegalStateError, RebalanceInProgressError) as error:
            log.warning("a rebalance overtook a commit", problem=str(error))
            return
        for one, offset in offsets.items():
            if one in self._pages:
                self._pages[one].handled = offset

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Begin each at its beginning."""
        client = await self._client
        ends = await _ask(partial(client.end_offsets, assigned)) if assigned else {}
        for one in assigned:
            handled = await _ask(partial(client.committed, one))
            await _ask(partial(client.seek_to_beginning, one))
            self._pages[one] = _Page(self._new(), end=ends[one], handled=handled or 0)
        self._assigned = True
        log.info("partitions assigned", partitions=len(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Forget them."""
        for one in revoked:
            self._pages.pop(one, None)


@contextlib.asynccontextmanager
async def journal(
    settings: ServiceSettings,
    topic: Topic,
    stopping: asyncio.Event,
    *,
    group: str,
    new: Callable[[], S],
    fold: Callable[[S, Any], object],
    session_timeout_s: float,
    metrics: ConsumerMetrics,
) -> AsyncIterator[Journal[S]]:
    """A `Journal` on a consumer of `group`, for the time of the context."""
    made = Journal(topic, new, fold)
    async with consumer(
        settings.kafka_access,
        [topic],
        settings.topic_prefix,
        stopping,
        group=group,
        metrics=metrics,
        listener=made,
        session_timeout_s=session_timeout_s,
    ) as client:
        made.attach(client)
        yield made


async def _ask(question: Callable[[], Any]) -> Any:
    """Ask the cluster, again while it is away."""
    while True:
        try:
            return await question()
        except KafkaError as error:
            log.warning("kafka does not tell offsets", problem=repr(error), again_in_s=_AGAIN_S)
            await asyncio.sleep(_AGAIN_S)
