"""The detector with its guarantee broken on purpose: the transaction is off. `python -m fault.broken`.

Outputs are published at once, by a producer without transactions; the position follows later, by itself. This
is at least once, as consumers are usually written. A kill in between must be found by the reconciliation."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer

from twinloop.contracts.codec import Message
from twinloop.runtime.kafka.access import client_of
from twinloop.runtime.kafka.clients import partition_of_key
from twinloop.runtime.stream.kafka import KafkaCluster, KafkaProducer

_BETWEEN_S = 0.5


class Untransacted:
    """A `Producer` whose transactions hold the position only."""

    def __init__(self, inner: KafkaProducer, plain: AIOKafkaProducer, prefix: str) -> None:
        self._plain = plain
        self._prefix = prefix
        self.begin = inner.begin
        self.move = inner.move
        self._inner = inner

    async def send(self, messages: Sequence[Message]) -> None:
        """Publish, outside of any transaction."""
        for one in messages:
            await self._plain.send(
                one.topic.named(self._prefix), one.value, one.key, headers=list(one.headers)
            )
        await self._plain.flush()

    async def commit(self) -> None:
        """Commit the position."""
        await asyncio.sleep(_BETWEEN_S)
        await self._inner.commit()

    async def close(self) -> None:
        """Close both."""
        await self._inner.close()
        await self._plain.stop()


_producer = KafkaCluster.producer


async def producer(self: KafkaCluster, transactional_id: str) -> Untransacted:
    """Instead of `KafkaCluster.producer`."""
    inner = await _producer(self, transactional_id)
    plain = AIOKafkaProducer(**client_of(self._kafka), partitioner=partition_of_key)
    await plain.start()
    return Untransacted(inner, plain, self._prefix)


if __name__ == "__main__":
    KafkaCluster.producer = producer  # type: ignore[assignment, method-assign]
    runpy.run_module("twinloop.detector", run_name="__main__")
