"""How many records are done, and how many of them late: those that a former owner had done are neither."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry

from twinloop.contracts.codec import Message
from twinloop.runtime.stream.engine import FRESH_S, Engine, Pace, _between
from twinloop.runtime.stream.memory import MemoryCluster, MemoryKafka, MemoryMember, MemoryRecord
from twinloop.runtime.stream.metrics import StreamMetrics
from twinloop.runtime.stream.ports import Record, TopicPartition
from twinloop.runtime.stream.recovery import Position, Resume

INPUT = TopicPartition("in", 0)


class Folded:
    """A state that needs the record before the committed position again."""

    def __init__(self, place: Resume) -> None:
        self.halted: str | None = None
        self.position = max(0, place.read_from - 1)

    def take(self, records: Sequence[Record]) -> None:
        self.position = records[-1].offset + 1

    def replay_from(self) -> int:
        return self.position

    def covers(self) -> Sequence[str]:
        return ()

    def renewal(self) -> None: ...

    def relieve(self, former: Folded) -> None: ...

    def close(self) -> None: ...


class Processor:
    async def open(self, partition: TopicPartition, place: Resume) -> Folded:
        return Folded(place)

    async def finish(self, work: Mapping[TopicPartition, None]) -> Mapping[TopicPartition, Sequence[Message]]:
        return {}


async def _pass(_: str) -> None:
    await asyncio.sleep(0.001)


async def test_late_is_what_is_done_more_than_five_seconds_after_its_timestamp() -> None:
    kafka = MemoryKafka()
    now_ms = int(time.time() * 1000)
    ages_s = [60, 60, FRESH_S + 1, FRESH_S + 1, FRESH_S - 3, 0, 0]
    for _ in ages_s:
        kafka.append(INPUT, b"v")
    for one, age_s in zip(kafka.committed(INPUT), ages_s, strict=True):
        assert isinstance(one, MemoryRecord)
        one.timestamp = now_ms - int(age_s * 1000)
    kafka.positions["g", INPUT] = Position(2)
    cluster, registry, stopping = MemoryCluster(kafka, pass_by=_pass), CollectorRegistry(), asyncio.Event()
    engine: Engine[None] = Engine(
        cluster,
        Processor(),
        group="g",
        metrics=StreamMetrics(registry, "test"),
        stopping=stopping,
        pace=Pace(poll_s=0.01, commit_every_s=0.0),
    )
    member = MemoryMember(cluster)
    engine.attach(member)
    running = asyncio.ensure_future(engine.run())
    member.give(INPUT)
    await engine.on_partitions_assigned([INPUT])

    def value(name: str) -> float:
        return registry.get_sample_value(f"twinloop_test_{name}_total", {"topic": "in"}) or 0

    async with asyncio.timeout(20):
        while value("finished_records") < 5:
            await asyncio.sleep(0.01)
    stopping.set()
    await running
    assert (value("finished_records"), value("late_records"), value("records")) == (5, 2, 6)


def test_what_is_between_two_offsets_is_found_where_there_are_holes() -> None:
    records = [MemoryRecord("in", 0, offset, None, b"") for offset in (3, 4, 7, 9)]
    assert [one.offset for one in _between(records, 0, 100)] == [3, 4, 7, 9]
    assert [one.offset for one in _between(records, 4, 9)] == [4, 7]
    assert [one.offset for one in _between(records, 5, 6)] == []
    assert list(_between(records, 10, 20)) == []
