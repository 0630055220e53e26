"""Faust: the topics as one stream, the table `stations`, and nothing of Faust's own process around them.

One agent reads all four topics, so that the events of a station are folded one at a time. Topics and table
are keyed by asset and have equal partition counts: a station's records and its state share a partition.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import faust
from aiokafka import TopicPartition

from twinloop.contracts.topics import (
    ANOMALIES,
    CHANGES,
    EVENT_PARTITIONS,
    FIELD_EVIDENCE,
    GENEALOGY,
    Topic,
)
from twinloop.controller.agents import Record
from twinloop.controller.committed import CommittedTransport
from twinloop.controller.credentials import credentials
from twinloop.runtime.kafka.access import KafkaAccess, program
from twinloop.runtime.kafka.clients import measure_lag
from twinloop.runtime.observability.metrics import ConsumerMetrics, Place

SOURCES: Final[tuple[Topic, ...]] = (GENEALOGY, ANOMALIES, CHANGES, FIELD_EVIDENCE)

_SMALL_STORE: Final = {"write_buffer_size": 4 << 20, "block_cache_size": 16 << 20, "max_open_files": 256}

_LINGER_S: Final = 0.1
"""Only the table's changelog goes by this producer: what is published goes another way, and does not wait."""

Handle = Callable[[Record], Awaitable[None]]


class _App(faust.App):  # type: ignore[misc]
    def _new_transport(self) -> Any:
        return CommittedTransport(self.conf.broker_consumer, self)


class Streams:
    """A Faust app inside somebody else's event loop and life cycle.

    `failed` is done when the streams cannot go on; its exception says why.
    """

    def __init__(
        self,
        *,
        kafka: KafkaAccess,
        prefix: str,
        data: Path,
        commit_interval_s: float,
        session_timeout_s: float,
        replication: int,
        metrics: ConsumerMetrics,
    ) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._app = _App(
            f"{prefix}controller",
            broker="kafka://" + ";".join(address.strip() for address in kafka.servers.split(",")),
            broker_credentials=credentials(kafka),
            broker_client_id=program(),
            datadir=str(data),
            store="rocksdb://",
            autodiscover=False,
            web_enabled=False,
            broker_session_timeout=session_timeout_s,
            broker_heartbeat_interval=min(3.0, session_timeout_s / 3),
            broker_commit_interval=commit_interval_s,
            # A station's state is some ten kilobytes: with less, each would wait for the one before.
            producer_max_batch_size=1_000_000,
            producer_linger=_LINGER_S,
            # At a stop or a rebalance the record being folded is finished, acknowledged and committed.
            stream_wait_empty=True,
            stream_recovery_delay=0.0,
            topic_partitions=EVENT_PARTITIONS,
            topic_replication_factor=replication,
        )
        for name in (__name__, CommittedTransport.__module__):
            # Faust logs the comings and goings of its services under the modules of their classes.
            logging.getLogger(name).setLevel(logging.WARNING)
        self._lags = metrics.lags()
        self._app.on_partitions_assigned.connect(lambda *_, **__: metrics.rebalances.inc())
        self._topics = {topic.named(prefix): topic for topic in SOURCES}
        self.table = self._app.Table(
            "stations",
            key_type=bytes,
            value_type=bytes,
            partitions=EVENT_PARTITIONS,
            options=dict(_SMALL_STORE),
        )

    def feed(self, handle: Handle) -> None:
        """Give every record to `handle`, one after the other. What it raises ends the streams."""
        # Raw: Faust would decode JSON before us, and drop what it cannot decode.
        source = self._app.topic(
            *self._topics,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            partitions=EVENT_PARTITIONS,
            allow_empty=True,
        )

        async def stations(stream: Any) -> None:
            async for event in stream.events():
                of = event.message
                try:
                    await handle(Record(self._topics[of.topic], of.partition, of.offset, of.key, of.value))
                except Exception as error:  # noqa: BLE001  (told to the owner; Faust would go on with the next)
                    of.acked = True  # so that a later acknowledgement is not taken for one: it is not folded
                    self._fail(error)
                    await asyncio.Event().wait()

        self._app.agent(source, name="stations")(stations)

    async def start(self) -> None:
        """Join the group and restore the table; returns when records flow, or have failed to."""
        await self._app.start()
        self._watch = asyncio.create_task(self._watched(), name="streams")
        self._measuring = asyncio.create_task(measure_lag(self._lags, self._places))

    async def _watched(self) -> None:
        await self._app.wait_until_stopped()
        self._fail(self._app.crash_reason or RuntimeError("Faust has stopped"))

    async def _places(self) -> dict[TopicPartition, Place]:
        """Of each partition of our topics, up to the last committed record."""
        consumer = self._app.consumer
        held = [one for one in consumer.assignment() if one.topic in self._topics]
        ends = await consumer.highwaters(*held) if held else {}
        return {one: Place(await consumer.position(one) or 0, end) for one, end in ends.items()}

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    @property
    def restored(self) -> bool:
        """Partitions are assigned and their states are back."""
        return bool(self._app.tables.actives_ready) and not self._app.rebalancing

    async def stop(self) -> None:
        """Finish the record at hand, commit, leave the group. After a failure nothing is waited for."""
        self._watch.cancel()
        self._measuring.cancel()
        if self.failed.done():
            self._app.conf.stream_wait_empty = False
        await self._app.stop()
