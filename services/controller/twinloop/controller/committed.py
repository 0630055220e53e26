"""Faust's Kafka consumer and producer, mended (Faust 0.15).

Ten things, each found by trying. Its consumer:

- when a table is restored it goes back to the committed offsets while its fetcher is at work, and throws away
  what is in the queues only then. What the fetcher brings in between is thrown away, too, and never read
  again: records are lost at a restart, and their gap keeps the partition from being committed ever after;
- where nothing is committed yet it does not go back at all: what was thrown away of such a partition is lost,
  and the next commit passes over it;

on topics that are written in transactions:

- it reads uncommitted records, so that an aborted anomaly would be acted on;
- it counts a record that follows a gap in the offsets as part of that gap. Commit markers are gaps, so on a
  transactional topic every record is in one: its list of acknowledged offsets then holds doubles, and each
  commit moves on by two or three offsets only, while the rest piles up and is read again after a restart;
- it takes offset 0 for "nothing read yet", and so misses a gap right behind it: commits stand still;
- its thread keeps a process alive that wants to end while Kafka does not answer;
- its thread ends, and leaves the connections open, when the stop of aiokafka's consumer does (`mends.stop`);
- a rebalance while it stops closes aiokafka's consumer from another thread: that fails half-way, but the stop
  takes it for done. Connections stay open, and the group waits for a member that is gone.

And its producer:

- before offsets are committed the table's changelog is to be written, but that gives up on a buffer from
  which nothing went for a tenth of a second, as on a busy machine, and does not wait for the record that has
  just left it. A process that was killed then had lost states whose records were committed;
- Kafka has made a topic a moment before it tells of it. The changelog, made at the first start, was then
  taken for one without partitions, and the first record ended the service.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.errors import KafkaTimeoutError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Producer, Transport
from mode.threads import WorkerThread

from twinloop.runtime.kafka import mends
from twinloop.runtime.kafka.clients import PROMPT

_STOP_S = 5.0


class _Thread(WorkerThread):  # type: ignore[misc]
    def __init__(self, service: Any, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True

    def stop(self) -> None:
        self.is_stopped.wait(_STOP_S)


class _CommittedThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    Worker = _Thread

    async def seek_to_committed(self) -> Any:
        """Go back to the committed offsets, and to the beginning where there is none. Returns them, `None`
        for none. Raises `KafkaTimeoutError` when Kafka does not tell where a partition begins."""
        return await self.call_thread(self._seek_to_committed, self._ensure_consumer())

    async def _seek_to_committed(self, consumer: Any) -> Any:
        committed = await consumer.seek_to_committed()
        # Changelogs are never committed: where they are read is the recovery's.
        changelogs = self.app.tables.changelog_topics
        none = [one for one, offset in committed.items() if not offset and one.topic not in changelogs]
        if none and not await consumer.seek_to_beginning(*none):
            raise KafkaTimeoutError(f"no answer to where {len(none)} partitions begin")
        return committed

    def close(self) -> None:
        """Nothing: asked for at a rebalance while the app stops, and its stop closes the consumer."""

    async def on_thread_stop(self) -> None:
        """As Faust's, with a stop that nothing ends early."""
        await super(AIOKafkaConsumerThread, self).on_thread_stop()
        if self._consumer is not None:
            await mends.stop(self._consumer)

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = PROMPT.max_wait_ms
        return consumer


class CommittedConsumer(Consumer):  # type: ignore[misc]
    """Reads committed records, and commits over the gaps that transactions leave."""

    async def perform_seek(self) -> None:
        """Go back to the committed offsets. Whoever asks for it lets records flow again after it."""
        if self.flow_active:
            self.stop_flow()
            await asyncio.sleep(0)  # the fetcher lets go of the record that it was bringing
        await super().perform_seek()

    def _new_consumer_thread(self) -> Any:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        # Faust gives the offset of the record behind the gap, and takes it into the gap.
        await super()._add_gap(tp, offset_from, offset_to - 1)

    def _new_offset(self, tp: Any) -> Any:
        acked = self._acked[tp]
        if self._committed_offset[tp] == 1 and acked and min(acked) > 1:
            # Records of a partition come in order: between offset 0 and the first one acknowledged is none.
            self._gap[tp].addi(1, min(acked))
        return super()._new_offset(tp)


class WholeProducer(Producer):  # type: ignore[misc]
    """Flushed is what Kafka has acknowledged: all of it. Made is a topic that Kafka tells of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unacknowledged: set[asyncio.Future[Any]] = set()

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Make it, and wait until Kafka tells of it. Raises `KafkaError` when it does not."""
        await super().create_topic(topic, *args, **kwargs)
        await self._ensure_producer().partitions_for(topic)

    def send_soon(self, fut: asyncio.Future[Any]) -> None:
        """Buffer a change of a table."""
        self._unacknowledged.add(fut)
        fut.add_done_callback(self._unacknowledged.discard)
        super().send_soon(fut)

    async def flush(self) -> None:
        """Wait until Kafka has everything that was buffered by now. Raises what it says of a record that it
        does not take: then nothing must be committed."""
        buffered = set(self._unacknowledged)
        await super().flush()
        if buffered:
            await asyncio.wait(buffered)
        for one in buffered:
            one.result()


class CommittedTransport(Transport):  # type: ignore[misc]
    """The transport that makes them."""

    Consumer = CommittedConsumer
    Producer = WholeProducer
