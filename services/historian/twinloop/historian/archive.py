"""From batches to files: takes partitions on, buffers what is read of them, rolls files, hands them back.

Exactly once because the files' names are the only progress that counts. The Kafka commit follows them and is
there for lag monitoring alone.

    assigned: clear leftovers, seek after the highest last offset -> accept, roll ... -> revoked: write all
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from twinloop.contracts.topics import Topic
from twinloop.historian.buffers import Buffer, Limits
from twinloop.historian.errors import ForeignFolder, HistorianError, Unwritable
from twinloop.historian.metrics import Metrics
from twinloop.historian.parquet import ParquetFolder, Written
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka.clients import Batch
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

_COMMIT_S = 5.0
_AGAIN_S = 0.5


class Archive(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """The partitions that this member holds. `topics` by their names on the cluster.

    The consumer calls `on_partitions_*` from a task of its own; `accept` and `roll` are called by the one
    loop that polls.
    """

    def __init__(
        self,
        folder: ParquetFolder,
        topics: Mapping[str, Topic],
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._folder = folder
        self._topics = topics
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._buffers: dict[TopicPartition, Buffer] = {}
        self._writing = asyncio.Lock()
        self._client: asyncio.Future[AIOKafkaConsumer] = asyncio.get_running_loop().create_future()
        self._failure: HistorianError | None = None
        self._assigned = False

    def attach(self, client: AIOKafkaConsumer) -> None:
        """Give it the consumer that calls it; partitions assigned before are taken on from here."""
        self._client.set_result(client)

    def unassigned(self) -> str | None:
        """Health check: whether the group has given this member its share yet, be it empty."""
        return None if self._assigned else "waiting for partitions"

    def check(self) -> None:
        """Raise what went wrong while partitions were taken on, if anything: this member cannot go on."""
        if self._failure is not None:
            raise self._failure

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Resume each partition after its files. What fails here, `check` raises."""
        client = await self._client
        try:
            async with self._writing:
                resume = await asyncio.to_thread(
                    lambda: {one: self._folder.recover(one.topic, one.partition) for one in assigned}
                )
                first, last = (
                    await _ask(client.beginning_offsets, assigned),
                    await _ask(client.end_offsets, assigned),
                )
                for one, offset in resume.items():
                    begin = self._begin(one, offset, first[one], last[one])
                    client.seek(one, begin)
                    self._buffers[one] = Buffer(begin, self._limits)
        except HistorianError as error:  # the consumer would only log it
            self._failure = error
        self._assigned = True
        log.info("partitions assigned", partitions=len(assigned))

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Write what waits and forget the partitions. What cannot be written, the next owner reads again."""
        async with self._writing:
            try:
                await self._commit(await self._write(only_due=False))
            except Unwritable as error:
                log.warning("records will be read again by the next owner", problem=str(error))
            self._buffers.clear()
            self._metrics.waiting.set(0)

    def accept(self, batch: Batch) -> None:
        """Take what was polled. Never waits: nothing can come between the poll and this."""
        now = self._clock.now()
        for one, records in batch.items():
            # Fetched before the partition was sought to where its files end: it will come again.
            if (buffer := self._buffers.get(one)) is not None:
                buffer.add(records, now)
        self._metrics.waiting.set(sum(map(len, self._buffers.values())))

    async def roll(self) -> None:
        """Write the files that are due. Raises `Unwritable`: try again, and poll no more before it worked."""
        async with self._writing:
            written = await self._write(only_due=True)
        await self._commit(written)

    async def close(self) -> None:
        """Write everything that waits. Raises `Unwritable`."""
        async with self._writing:
            written = await self._write(only_due=False)
        await self._commit(written)

    def _begin(self, one: TopicPartition, resume: int, first: int, last: int) -> int:
        if resume > last:
            raise ForeignFolder(
                f"files hold {one.topic}/{one.partition} up to offset {resume - 1}, but it ends at {last}"
            )
        if resume < first:
            # Where no file is yet, it is history from before this historian's time, and no loss.
            if resume:
                self._metrics.lost_to_retention.labels(self._topics[one.topic].name).inc(first - resume)
            log.warning(
                "offsets were deleted by retention before they were read",
                topic=one.topic,
                partition=one.partition,
                first=resume,
                last=first - 1,
            )
        return max(resume, first)

    async def _write(self, *, only_due: bool) -> dict[TopicPartition, int]:
        """Write files; returns the next offset of each partition that got one."""
        progress: dict[TopicPartition, int] = {}
        for one, buffer in self._buffers.items():
            while buffer.due(self._clock.now()) if only_due else len(buffer):
                topic = self._topics[one.topic]
                with self._metrics.write_seconds.time():
                    try:
                        written = await asyncio.to_thread(
                            self._folder.write, one.topic, one.partition, topic.format, buffer.file()
                        )
                    except Unwritable:
                        self._metrics.failures.inc()
                        raise
                buffer.written(written.through, self._clock.now())
                self._count(topic, written)
                progress[one] = buffer.begin
        return progress

    def _count(self, topic: Topic, written: Written) -> None:
        self._metrics.elsewhere.labels(topic.name).inc(written.elsewhere)
        if written.span is not None:
            self._metrics.records.labels(topic.name).inc(written.records)
            self._metrics.files.labels(topic.name).inc()
            self._metrics.file_bytes.labels(topic.name).inc(written.size_bytes)
            self._metrics.undecodable.labels(topic.name).inc(written.undecodable)

    async def _commit(self, progress: dict[TopicPartition, int]) -> None:
        """Show the group's progress to who monitors lag. Files count, not this: a failure is only logged."""
        if not progress:
            return
        client = await self._client
        try:
            await asyncio.wait_for(client.commit(progress), _COMMIT_S)
        except (KafkaError, TimeoutError) as error:
            log.warning("the commit failed; lag will look too large until the next", problem=repr(error))


async def _ask(question: Any, partitions: set[TopicPartition]) -> dict[TopicPartition, int]:
    """Offsets from the cluster, asked again while it is away."""
    while True:
        try:
            answer: dict[TopicPartition, int] = await question(partitions)
        except KafkaError as error:
            log.warning("kafka does not tell offsets", problem=repr(error), again_in_s=_AGAIN_S)
            await asyncio.sleep(_AGAIN_S)
        else:
            return answer
