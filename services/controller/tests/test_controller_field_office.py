"""Who does the field work, and in which order everything is read: the office on a Kafka in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError
from prometheus_client import CollectorRegistry

from twinloop.contracts.codec import Message, message
from twinloop.contracts.events import Anomaly
from twinloop.contracts.field import VEHICLE, BuiltJoint, BuiltModule, BuiltPack, VehicleBuilt
from twinloop.contracts.topics import ANOMALIES, FIELD_EVIDENCE, GENEALOGY, Topic
from twinloop.controller.field import office
from twinloop.controller.field.office import Office
from twinloop.controller.field.rules import FieldRules
from twinloop.controller.settings import ControllerSettings
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka.clients import MemoryPublisher

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


class Follower(Group):
    """A consumer that reads one record of each partition at a time."""

    def __init__(self, told: dict[Topic, list[Message]]) -> None:
        super().__init__()
        self.told = {TopicPartition(topic.name, 0): some for topic, some in told.items()}
        self.at = dict.fromkeys(self.told, 0)

    def assignment(self) -> set[TopicPartition]:
        return set(self.told)

    async def end_offsets(self, some: set[TopicPartition]) -> dict[TopicPartition, int]:
        return {one: len(self.told[one]) for one in some}

    async def position(self, one: TopicPartition) -> int:
        return self.at[one]

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0)
        got = {}
        for one in self.told.keys() - self.paused:
            now = self.at[one]
            got[one] = [
                SimpleNamespace(offset=now + n, key=some.key, value=some.value)
                for n, some in enumerate(self.told[one][now : now + 1])
            ]
            self.at[one] += len(got[one])
        return got


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
        self.registry = CollectorRegistry()
        self.office = Office(
            settings,
            FieldRules(origin=START),
            MemoryPublisher(),
            ManualClock(START + timedelta(days=200)),
            self.registry,
            self.stopping,
        )

    async def until(self, true: Callable[[], bool]) -> None:
        """Work until then, and stop. Raises `TimeoutError` when it does not come to that."""
        working = asyncio.create_task(self.office.run())
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(0)
        self.stopping.set()
        await working


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


def built(vehicle: int) -> VehicleBuilt:
    one = BuiltJoint(
        cell_group=0,
        part_id=f"weld1-{vehicle}",
        station="acme.berlin.packs.line1.weld1",
        sequence=vehicle,
        welded_at=START,
        recipe="tab-a",
        resistance_uohm=42.0,
        baseline_uohm=0.0,
        baseline_se_uohm=1.0,
    )
    pack = BuiltPack(pack_id="p", modules=(BuiltModule(module_id="m", joints=(one,)),))
    return VehicleBuilt(
        event_id=f"built-{vehicle}",
        asset=f"{VEHICLE}{vehicle:032x}",
        at=START,
        observed_at=START,
        trace_id="t",
        packs=(pack,),
    )


def minute(vehicle: int) -> Anomaly:
    at = START + timedelta(days=30)
    return Anomaly(
        event_id=f"minute-{vehicle}",
        asset=f"{VEHICLE}{vehicle:032x}",
        at=at,
        observed_at=at,
        trace_id="t",
        signal_set="vehicle.cells.v1",
        part_id="",
        sequence=1,
        row=59,
        score=1.0,
        threshold=0.0,
        features={"distance_km": 1.0},
        deviations={},
        model="cells",
        model_version=1,
        input_digest="00",
    )


async def test_vehicles_are_known_before_their_minutes_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[Topic, list[Message]] = {
        GENEALOGY: [message(GENEALOGY, built(vehicle), source="test") for vehicle in range(5)],
        ANOMALIES: [message(ANOMALIES, minute(vehicle), source="test") for vehicle in (4, 3, 2)],
        FIELD_EVIDENCE: [],
    }
    run = Run(Cluster(lambda: Follower(told)), tmp_path, monkeypatch)
    name = "twinloop_controller_field_records_total"

    def count(topic: str, fate: str) -> float | None:
        return run.registry.get_sample_value(name, {"topic": topic, "fate": fate})

    await run.until(lambda: run.office.known() is not None)
    assert count("anomalies", "folded") == 3
    assert count("anomalies", "waiting") is None
    assert count("genealogy", "folded") == 5
