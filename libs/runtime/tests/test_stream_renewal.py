"""States are renewed one after the other, and the others go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from prometheus_client import CollectorRegistry

from twinloop.contracts.codec import Message
from twinloop.runtime.stream.engine import Engine
from twinloop.runtime.stream.memory import MemoryCluster, MemoryKafka, MemoryMember, MemoryReader
from twinloop.runtime.stream.metrics import StreamMetrics
from twinloop.runtime.stream.ports import Record, TopicPartition
from twinloop.runtime.stream.recovery import Resume

INPUTS = [TopicPartition("in", n) for n in range(5)]


class State:
    """Counts records; the first one of a partition lacks something."""

    def __init__(self, partition: TopicPartition, renewed: set[TopicPartition], *, whole: bool) -> None:
        self.halted: str | None = None
        self.position = 0
        self._partition = partition
        self._renewed = renewed
        self._whole = whole

    def take(self, records: Sequence[Record]) -> int:
        self.position = records[-1].offset + 1
        return len(records)

    def replay_from(self) -> int:
        return 0

    def covers(self) -> Sequence[str]:
        return ()

    def renewal(self) -> State | None:
        return None if self._whole else State(self._partition, self._renewed, whole=True)

    def relieve(self, former: State) -> None:
        assert self.position == former.position
        self._renewed.add(self._partition)

    def close(self) -> None: ...


class Processor:
    """Makes nothing of it."""

    def __init__(self) -> None:
        self.renewed: set[TopicPartition] = set()

    async def open(self, partition: TopicPartition, place: Resume) -> State:
        return State(partition, self.renewed, whole=False)

    async def finish(self, work: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, Sequence[Message]]:
        return {}


class Cluster(MemoryCluster):
    """Counts its readers."""

    open = most = 0

    @contextlib.asynccontextmanager
    async def reader(self, partition: TopicPartition, offset: int) -> AsyncIterator[MemoryReader]:
        self.open += 1
        self.most = max(self.most, self.open)
        async with super().reader(partition, offset) as reader:
            yield reader
        self.open -= 1


async def test_partitions_are_renewed_one_after_the_other() -> None:
    kafka = MemoryKafka()
    for one in INPUTS:
        for _ in range(700):
            kafka.append(one, b"value")
    stopping = asyncio.Event()
    cluster, processor = Cluster(kafka, pass_by=lambda _: asyncio.sleep(0)), Processor()
    member = MemoryMember(cluster)
    metrics = StreamMetrics(CollectorRegistry(), "test")
    engine = Engine(cluster, processor, group="g", metrics=metrics, stopping=stopping)
    engine.attach(member)
    running = asyncio.create_task(engine.run())
    for one in INPUTS:
        member.give(one)
    await engine.on_partitions_assigned(INPUTS)
    async with asyncio.timeout(20):
        while processor.renewed != set(INPUTS):
            await asyncio.sleep(0)
    assert cluster.most == 1
    stopping.set()
    await running
