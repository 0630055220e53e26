"""The partitions that this member holds: taken on where the last owner left off, forgotten when revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from twinloop.detector.metrics import Metrics
from twinloop.detector.partition import Partition
from twinloop.detector.recovery import resume
from twinloop.runtime import logging

log = logging.logger(__name__)

_AGAIN_S = 0.5


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """`partitions` holds the state of each one that has been taken on; others are not to be worked on yet.

    The consumer calls `on_partitions_*` from a task of its own and waits for them.
    """

    def __init__(self, group: str, admin: AIOKafkaAdminClient, metrics: Metrics) -> None:
        self.partitions: dict[TopicPartition, Partition] = {}
        self._group = group
        self._admin = admin
        self._metrics = metrics
        self._client: asyncio.Future[AIOKafkaConsumer] = asyncio.get_running_loop().create_future()
        self._assigned = False

    def attach(self, client: AIOKafkaConsumer) -> None:
        """Give it the consumer that calls it; partitions assigned before are taken on from here."""
        self._client.set_result(client)

    def problem(self) -> str | None:
        """Health check: whether the group has given this member its share yet, be it empty."""
        return None if self._assigned else "waiting for partitions"

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Seek each to the oldest frame that an open window needs."""
        client = await self._client
        if assigned:
            committed: Mapping[TopicPartition, OffsetAndMetadata] = await _ask(
                lambda: self._admin.list_consumer_group_offsets(self._group, partitions=list(assigned))
            )
            first = await _ask(lambda: client.beginning_offsets(assigned))
            end = await _ask(lambda: client.end_offsets(assigned))
            for one in assigned:
                at = committed.get(one)
                if at is None or at.offset < 0:
                    place = resume(None, "", first[one], end[one])
                else:
                    place = resume(at.offset, at.metadata, first[one], end[one])
                client.seek(one, place.read_from)
                self.partitions[one] = Partition(place.emit_from)
        self._assigned = True
        self._metrics.partitions.set(len(self.partitions))
        log.info("partitions assigned", partitions=len(assigned))

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Forget them. What is under way for them is not committed; their next owner reads it again."""
        for one in revoked:
            self.partitions.pop(one, None)
        self._metrics.partitions.set(len(self.partitions))


async def _ask(question: Callable[[], Awaitable[Any]]) -> Any:
    """Ask the cluster, again while it is away."""
    while True:
        try:
            return await question()
        except KafkaError as error:
            log.warning("kafka does not tell offsets", problem=repr(error), again_in_s=_AGAIN_S)
            await asyncio.sleep(_AGAIN_S)
