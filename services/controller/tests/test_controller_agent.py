"""The shell around `decide`, with everything outside in memory: what is written down when, and what a new
process does with what it finds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from support.weldloop import ASSET, SHIPPED, START, anomaly, joint, life, requested

from twinloop.audit.errors import AuditAway
from twinloop.contracts.changes import ChangeEvent, Proposed, RolledBack, SetParameter
from twinloop.contracts.codec import Message, decode, message
from twinloop.contracts.controls import ControlEvent, ModeEntered, ModeShed
from twinloop.contracts.events import Alarm, AlarmCode, Anomaly, Event, JointWelded
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import ANOMALIES, CHANGES, GENEALOGY, Topic
from twinloop.controller.agents import Agent, Record
from twinloop.controller.metrics import Metrics
from twinloop.controller.policy import ControllerPolicy
from twinloop.controller.state import Station
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.settings import load_toml

T = TypeVar("T")


@dataclass
class Kept:
    """An audit store in memory; it is away when `away` says why, which it may notice only while writing."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    away: str | None = None
    noticed: bool = True

    def problem(self) -> str | None:
        return self.away if self.noticed else None

    async def append(
        self,
        *,
        asset: str,
        who: str,
        what: str,
        old: str = "",
        new: str = "",
        reason: str = "",
        result: str = "",
        change_id: str | None = None,
        at: datetime | None = None,
    ) -> object:
        await asyncio.sleep(0)
        if self.away is not None:
            raise AuditAway(self.away)
        self.entries.append(
            {"asset": asset, "who": who, "what": what, "old": old, "new": new, "reason": reason}
            | {"result": result, "change_id": change_id, "at": at}
        )
        return None

    def verbs(self) -> list[str]:
        return [one["what"] for one in self.entries]


AUDITED = {
    "proposed": "proposed",
    "verified": "verified",
    "rolled_back": "rolled back",
    "inconclusive": "found inconclusive",
    "mode_entered": "entered mode",
    "mode_refused": "refused mode",
    "mode_shed": "shed mode",
}


@dataclass
class Wire:
    """Kafka in memory. Whatever is published must be in the store by then, while there is one."""

    kept: Kept
    events: list[Event] = field(default_factory=list)

    async def publish(self, messages: Sequence[Message]) -> None:
        for one in messages:
            event = decode(one.topic, one.value)
            verb = AUDITED.get(str(event.__struct_config__.tag))
            if verb is not None and self.kept.away is None:
                told = sum(AUDITED.get(str(e.__struct_config__.tag)) == verb for e in self.events)
                assert self.kept.verbs().count(verb) > told
            self.events.append(event)


class Plant:
    """Parts and people, and processes of the controller that come and go on one table."""

    def __init__(self) -> None:
        self.kept = Kept()
        self.wire = Wire(self.kept)
        self.table: dict[bytes, bytes] = {}
        self.clock = ManualClock(START)
        self.number = 0
        self.read = 0
        self.start()

    def start(self) -> None:
        self.registry = CollectorRegistry()
        self.agent = Agent(
            policy=load_toml(SHIPPED, ControllerPolicy),
            table=self.table,
            publisher=self.wire,
            auditor=self.kept,
            clock=self.clock,
            metrics=Metrics(self.registry),
            stopping=asyncio.Event(),
            dead_letter_limit=3,
        )

    def of(self, kind: type[T]) -> list[T]:
        return [one for one in self.wire.events if isinstance(one, kind)]

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"twinloop_controller_{name}", labels) or 0.0

    @property
    def station(self) -> Station:
        return msgspec.json.decode(self.table[ASSET.encode()], type=Station)

    async def tell(self, event: Event, *, read_back: bool = True) -> None:
        topic: Topic = CHANGES
        if isinstance(event, JointWelded | Anomaly):
            topic = GENEALOGY if isinstance(event, JointWelded) else ANOMALIES
        one = message(topic, event, source="test")
        await self.agent.handle(Record(topic, 0, 0, one.key, one.value))
        if read_back:
            await self.catch_up()

    async def catch_up(self) -> None:
        """The controller reads what it wrote."""
        while self.read < len(self.wire.events):
            event = self.wire.events[self.read]
            self.read += 1
            if isinstance(event, ChangeEvent | ControlEvent):
                await self.tell(event, read_back=False)

    async def parts(
        self, count: int, *, dirty: bool = False, power_w: float = 1000.0, uohm: float = 42.0
    ) -> None:
        for _ in range(count):
            self.clock.advance(0.1)
            self.number += 1
            now = self.clock.now()
            await self.tell(joint(self.number, now, uohm + 0.5 * (self.number % 3), power_w))
            if dirty:
                await self.tell(self.dirty())

    def dirty(self) -> Anomaly:
        depth = 0.42 + 0.001 * (self.number % 3)
        return anomaly(
            self.number,
            self.clock.now(),
            {"oct_depth_mm.mean": depth, "back_reflection.mean": 0.81},
            {
                "oct_depth_mm.mean": -9.5,
                "back_reflection.mean": -18.0,
                "window_temperature_c.mean": 15.0,
                "plasma.mean": -5.0,
            },
        )

    async def promoted(self) -> None:
        await self.parts(12)
        for mode in (Mode.SUPERVISED, Mode.AUTO):
            await self.tell(requested(mode, self.clock.now(), len(self.wire.events)))
        assert self.station.governance.actual is Mode.AUTO


@pytest.fixture
def plant() -> Plant:
    return Plant()


async def test_everything_is_written_down_before_it_is_published(plant: Plant) -> None:
    await plant.parts(12)
    await plant.parts(4, dirty=True)
    await plant.promoted()
    await plant.parts(6, dirty=True)
    (proposed,) = plant.of(Proposed)
    assert isinstance(proposed.action, SetParameter)
    for event in life(proposed, plant.clock.now(), plant.number):
        await plant.tell(event)
    await plant.parts(4, power_w=proposed.action.value, uohm=60)
    await plant.agent.tick()  # refusals are not waited for
    verbs = plant.kept.verbs()
    assert verbs[:4] == ["would propose", "entered mode", "entered mode", "proposed"]
    assert verbs[-2:] == ["rolled back", "proposed"]
    entry = next(one for one in plant.kept.entries if one["what"] == "proposed")
    assert (entry["who"], entry["asset"], entry["change_id"]) == ("controller", ASSET, proposed.change_id)
    assert (entry["old"], entry["new"]) == (
        "laser_power_w 1000 W",
        f"laser_power_w {proposed.action.value:g} W",
    )
    assert entry["result"] == "weld 1, mode auto"
    refusals = [one for one in plant.kept.entries if one["what"] == "refused"]
    assert len(refusals) == plant.metric("refusals_total", guard="in_flight")
    assert all(one["reason"].startswith("in_flight: ") for one in refusals)
    assert plant.of(RolledBack)
    assert plant.metric("would_propose_total") == 1
    assert plant.metric("unaudited_total") == 0


@pytest.mark.parametrize("noticed", [True, False])
async def test_without_the_store_nothing_is_proposed_and_sheds_are_published_all_the_same(
    plant: Plant, noticed: bool
) -> None:
    await plant.promoted()
    before = len(plant.kept.entries)
    plant.kept.away, plant.kept.noticed = "the disk is full", noticed
    await plant.parts(5, dirty=True)
    assert not plant.of(Proposed)
    assert len(plant.kept.entries) == before
    assert plant.metric("refusals_total", guard="audit") == 2
    assert plant.metric("unaudited_total") == 2
    plant.start()
    await plant.agent.tick()
    await plant.catch_up()
    assert [one.mode for one in plant.of(ModeShed)] == [Mode.SHADOW]
    assert plant.station.governance.actual is Mode.SHADOW
    plant.kept.away = None
    await plant.promoted()
    await plant.parts(4, dirty=True)
    assert len(plant.of(Proposed)) == 1


async def test_a_refusal_that_could_not_be_written_is_counted(plant: Plant) -> None:
    await plant.promoted()
    await plant.parts(4, dirty=True)
    assert len(plant.of(Proposed)) == 1
    plant.kept.away, plant.kept.noticed = "the disk is full", False
    await plant.parts(4, dirty=True)  # in flight: refused
    await plant.agent.tick()
    assert plant.metric("refusals_total", guard="in_flight") == plant.metric("unaudited_total") == 1


async def test_a_new_process_sheds_what_it_did_not_let_in_once(plant: Plant) -> None:
    await plant.promoted()
    await plant.agent.tick()
    assert not plant.of(ModeShed)  # it let the asset in itself
    plant.start()
    await plant.agent.tick()
    await plant.agent.tick()
    (shed,) = plant.of(ModeShed)
    assert [one.code for one in plant.of(Alarm)] == [AlarmCode.MODE_SHED]
    assert plant.kept.verbs()[-1] == "shed mode"
    await plant.catch_up()
    assert plant.station.governance.actual is Mode.SHADOW
    await plant.agent.tick()
    assert plant.of(ModeShed) == [shed]
    await plant.promoted()
    await plant.agent.tick()
    assert plant.of(ModeShed) == [shed]


async def test_a_new_process_sheds_before_it_proposes_anything(plant: Plant) -> None:
    await plant.promoted()
    await plant.parts(3, dirty=True)
    plant.start()
    await plant.parts(5, dirty=True)  # no tick in between
    assert len(plant.of(ModeShed)) == 1
    assert not plant.of(Proposed)


async def test_an_entry_that_another_process_wrote_is_not_ours(plant: Plant) -> None:
    await plant.parts(12)
    await plant.tell(requested(Mode.SUPERVISED, plant.clock.now()), read_back=False)
    assert len(plant.of(ModeEntered)) == 1
    plant.start()
    await plant.catch_up()
    await plant.agent.tick()
    await plant.catch_up()
    assert plant.station.governance.actual is Mode.SHADOW


async def test_what_was_published_and_not_remembered_is_published_with_the_same_ids(plant: Plant) -> None:
    await plant.promoted()
    await plant.parts(3, dirty=True)
    await plant.parts(1)
    before = dict(plant.table)
    await plant.tell(plant.dirty(), read_back=False)
    plant.table.clear()
    plant.table.update(before)
    await plant.tell(plant.dirty(), read_back=False)
    first, second = plant.of(Proposed)
    assert first.event_id == second.event_id
    assert first.change_id == second.change_id
    await plant.catch_up()
    assert plant.station.in_flight is not None
    assert plant.station.in_flight.change_id == first.change_id


async def test_a_state_that_cannot_be_read_is_taken_for_the_highest_mode_and_shed(plant: Plant) -> None:
    await plant.promoted()
    plant.table[ASSET.encode()] = b'{"asset": 1}'
    await plant.agent.tick()
    await plant.parts(1)
    assert plant.metric("states_lost_total") == 1
    assert len(plant.of(ModeShed)) == 1
    assert plant.station.governance.actual is Mode.SHADOW


async def test_time_alone_verifies_a_hold_once(plant: Plant) -> None:
    await plant.promoted()
    for _ in range(3):
        await plant.parts(1, uohm=300.0)
        gap = plant.dirty()
        await plant.tell(msgspec.structs.replace(gap, deviations=gap.deviations | {"plasma.mean": 20.0}))
    (proposed,) = plant.of(Proposed)
    for event in life(proposed, plant.clock.now(), plant.number):
        await plant.tell(event)
    plant.clock.advance(timedelta(minutes=1).total_seconds())
    await plant.agent.tick()
    await plant.agent.tick()
    assert plant.kept.verbs().count("verified") == 1
    await plant.catch_up()
    assert plant.station.in_flight is None
    assert [one.code for one in plant.of(Alarm)] == [AlarmCode.GAP]
