"""A worker that is lost is closed, also when its partition is taken away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry
from support.states import Follower

from twinloop.contracts.codec import Message
from twinloop.contracts.topics import ANOMALIES
from twinloop.runtime.stream.engine import Engine
from twinloop.runtime.stream.errors import TransactionFailed
from twinloop.runtime.stream.memory import MemoryCluster, MemoryKafka, MemoryMember, MemoryProducer
from twinloop.runtime.stream.metrics import StreamMetrics
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.recovery import Resume

INPUT = TopicPartition("in", 0)


class Processor:
    async def open(self, partition: TopicPartition, place: Resume) -> Follower:
        return Follower(place.read_from)

    async def finish(self, work: Mapping[TopicPartition, None]) -> Mapping[TopicPartition, Sequence[Message]]:
        return {one: [Message(ANOMALIES, b"k", b"v", ())] for one in work}


class Producer(MemoryProducer):
    """Its transactions fail, and closing it takes until `Cluster.let_close`."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._world = cluster

    async def commit(self) -> None:
        raise TransactionFailed("kafka is away")

    async def close(self) -> None:
        self._world.closing.set()
        await self._world.let_close.wait()
        self._world.closed += 1


class Cluster(MemoryCluster):
    def __init__(self, kafka: MemoryKafka) -> None:
        super().__init__(kafka, pass_by=lambda _: asyncio.sleep(0))
        self.closing, self.let_close = asyncio.Event(), asyncio.Event()
        self.opened = self.closed = 0

    async def producer(self, transactional_id: str) -> MemoryProducer:
        self.opened += 1
        made = Producer(self)
        self.kafka.own(transactional_id, made)
        return made


async def test_a_lost_worker_is_closed_though_its_partition_is_taken_away() -> None:
    kafka = MemoryKafka()
    kafka.append(INPUT, b"value")
    stopping = asyncio.Event()
    cluster = Cluster(kafka)
    member = MemoryMember(cluster)
    metrics = StreamMetrics(CollectorRegistry(), "test")
    engine = Engine(cluster, Processor(), group="g", metrics=metrics, stopping=stopping)
    engine.attach(member)
    running = asyncio.create_task(engine.run())
    member.give(INPUT)
    await engine.on_partitions_assigned([INPUT])
    async with asyncio.timeout(20):
        await cluster.closing.wait()
        member.take_away(INPUT)
        revoking = asyncio.create_task(engine.on_partitions_revoked([INPUT]))
        await asyncio.sleep(0)
        cluster.let_close.set()
        await revoking
        assert cluster.closed == cluster.opened == 1
        stopping.set()
        await running
