"""Who does the field work, and in which order everything is read: the office on a Kafka in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError
from prometheus_client import CollectorRegistry

from twinloop.controller.field import office
from twinloop.controller.field.office import Office
from twinloop.controller.field.rules import FieldRules
from twinloop.controller.settings import ControllerSettings
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka import MemoryPublisher

START = datetime(2026, 1, 5, tzinfo=UTC)


class Group:
    """A consumer that is a member, and is given nothing."""

    def __init__(self) -> None:
        self.paused: set[TopicPartition] = set()

    def assignment(self) -> set[TopicPartition]:
        return set()

    def pause(self, *some: TopicPartition) -> None:
        self.paused |= set(some)

    def resume(self, *some: TopicPartition) -> None:
        self.paused -= set(some)

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0)
        return {}


@dataclass
class Cluster:
    """Kafka as the office sees it: one group, and a follower made by `follow`."""

    follow: Callable[[], Group]
    listener: Any = None
    group: Group = field(default_factory=Group)

    @asynccontextmanager
    async def consumer(
        self, *_: Any, group: str | None, listener: Any = None, **__: Any
    ) -> AsyncIterator[Group]:
        if group is None:
            yield self.follow()
            return
        self.listener = listener
        await listener.on_partitions_assigned({TopicPartition("field-evidence", 0)})
        yield self.group


class Run:
    """An office at work on `cluster`."""

    def __init__(self, cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(office, "consumer", cluster.consumer)
        monkeypatch.setattr(office, "_AGAIN_S", 0.0)
        settings = ControllerSettings(kafka="none:1", assets=folder, data=folder, audit=folder)
        self.stopping = asyncio.Event()
        self.office = Office(
            settings,
            FieldRules(origin=START),
            MemoryPublisher(),
            ManualClock(START),
            CollectorRegistry(),
            self.stopping,
        )

    async def until(self, true: Callable[[], bool]) -> None:
        """Work until then, and stop."""
        working = asyncio.create_task(self.office.run())
        async with asyncio.timeout(20):
            while not true() and not working.done():
                await asyncio.sleep(0)
        self.stopping.set()
        await working
        assert true()


async def test_a_replica_that_failed_is_ready_again_once_the_work_is_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(Group):
        async def end_offsets(self, _: set[TopicPartition]) -> dict[TopicPartition, int]:
            failed.append(1)
            if len(failed) == 2:
                cluster.listener.held = False
            raise KafkaTimeoutError

    failed: list[int] = []
    cluster = Cluster(Away)
    run = Run(cluster, tmp_path, monkeypatch)
    problems = set[str | None]()

    def ready() -> bool:
        problems.add(run.office.problem())
        return len(failed) == 2 and run.office.problem() is None

    await run.until(ready)
    assert any(one is not None and "KafkaTimeoutError" in one for one in problems)
