"""How many records are done, and how many of them late: those that a former owner had done are neither."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from support.states import Follower

from twinloop.contracts.codec import Message
from twinloop.runtime.stream.engine import FRESH_S, Engine, _between
from twinloop.runtime.stream.memory import MemoryCluster, MemoryKafka, MemoryMember, MemoryRecord
from twinloop.runtime.stream.metrics import StreamMetrics
from twinloop.runtime.stream.pace import Pace
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.recovery import Position, Resume

INPUT = TopicPartition("in", 0)


class Processor:
    async def open(self, partition: TopicPartition, place: Resume) -> Follower:
        # The record before the committed position is needed again.
        return Follower(max(0, place.read_from - 1))

    async def finish(self, work: Mapping[TopicPartition, None]) -> Mapping[TopicPartition, Sequence[Message]]:
        return {}


async def _pass(_: str) -> None:
    await asyncio.sleep(0.001)


async def test_late_is_what_is_done_more_than_five_seconds_after_its_timestamp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kafka = MemoryKafka()
    now_s = time.time()
    clock = SimpleNamespace(time=lambda: now_s, perf_counter=time.perf_counter)
    monkeypatch.setattr("twinloop.runtime.stream.engine.time", clock)
    now_ms = int(now_s * 1000)
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
