"""A controller as a process on a real Kafka, and what line, detector, twin and people write to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient

from support import topics
from support.processes import ServiceProcess
from support.waiting import until
from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Approved,
    Envelope,
    Issued,
    Proposed,
    SetParameter,
    Simulated,
)
from twinloop.contracts.codec import decode, message
from twinloop.contracts.controls import ModeEntered, ModeRequested
from twinloop.contracts.events import Anomaly, Event, JointWelded
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import ANOMALIES, CHANGES, GENEALOGY, Topic
from twinloop.runtime.kafka.provision import provision

ASSET = "acme.berlin.packs.line1.weld1"
CONFIG = Path(__file__).parents[2] / "deploy/local/config/controller.toml"

T = TypeVar("T")


@asynccontextmanager
async def controller(
    kafka: str, prefix: str, data: Path, *, period_s: float = 2.0, **env: str
) -> AsyncIterator[ServiceProcess]:
    """The service, ready; killed at the end if it still runs, and its log is told with what fails meanwhile.

    `period_s`: parts that are three times as old are bad input, as those are that it reads again after a
    crash."""
    data.mkdir(parents=True, exist_ok=True)
    assets = data / "assets.toml"
    told = CONFIG.read_text()
    assert told.count("\nperiod_s = 1.0 ") == 1
    # A test that stands still for some seconds makes no old parts: their age is not asked about here.
    assets.write_text(told.replace("\nperiod_s = 1.0 ", f"\nperiod_s = {period_s} "))
    one = ServiceProcess(
        "controller",
        {
            "TWINLOOP_KAFKA": kafka,
            "TWINLOOP_TOPIC_PREFIX": prefix,
            "TWINLOOP_HEALTH_PORT": "0",
            "TWINLOOP_CONTROLLER_ASSETS": str(assets),
            "TWINLOOP_CONTROLLER_DATA": str(data / "table"),
            "TWINLOOP_CONTROLLER_AUDIT": str(data / "audit"),
            **env,
        },
        data / "log",
    )
    one.start()
    try:
        await until(lambda: one.ready, problem="not seen: ready")
        yield one
    except Exception as error:
        error.add_note(f"the controller said: {one.log.read_text()[-4000:]}")
        raise
    finally:
        if one.running:
            one.kill()


@dataclass
class Bus:
    """Writes records, and reads one topic from its beginning."""

    kafka: str
    prefix: str
    producer: AIOKafkaProducer

    async def publish(self, topic: Topic, *events: Event) -> None:
        for event in events:
            one = message(topic, event, source="test")
            await self.producer.send_and_wait(topic.named(self.prefix), one.value, key=one.key)

    async def records(self, topic: Topic) -> list[ConsumerRecord]:
        return await topics.records(self.kafka, self.prefix, topic)

    async def is_read(self, topic: Topic) -> bool:
        """Whether the controller has committed all of a topic."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            read = await admin.list_consumer_group_offsets(self.prefix + "controller")
        finally:
            await admin.close()
        next_of = {
            one.partition: at.offset for one, at in read.items() if one.topic == topic.named(self.prefix)
        }
        return all(one.offset < next_of.get(one.partition, 0) for one in await self.records(topic))

    async def changes(self, kind: type[T]) -> list[T]:
        return await self.events(CHANGES, kind)

    async def events(self, topic: Topic, kind: type[T]) -> list[T]:
        events = [decode(topic, one.value) for one in await self.records(topic)]
        return [one for one in events if isinstance(one, kind)]

    async def promote(self, *modes: Mode) -> None:
        """A person does, and the controller lets the asset in."""
        # Topics come in no order to each other: nobody is let in before a part is known.
        await until(lambda: self.is_read(GENEALOGY), problem="the parts are not read")
        for mode in modes:
            before = len(await self.changes(ModeEntered))
            await self.publish(CHANGES, requested(mode, before))

            async def entered(before: int = before) -> bool:
                return len(await self.changes(ModeEntered)) == before + 1

            await until(entered, problem=f"not seen: {mode} entered")


@asynccontextmanager
async def bus(kafka: str, prefix: str) -> AsyncIterator[Bus]:
    await provision(kafka, prefix)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        yield Bus(kafka, prefix, producer)
    finally:
        await producer.stop()


def _head(event_id: str, trace: str) -> dict[str, Any]:
    """Of an event that is seen and told of now."""
    now = datetime.now(UTC)
    return {"event_id": event_id, "asset": ASSET, "at": now, "observed_at": now, "trace_id": trace * 32}


def requested(mode: Mode, number: int) -> ModeRequested:
    return ModeRequested(
        **_head(f"request-{number}", "3"),
        mode=mode,
        by="person:eva",
        reason="after a look at the shadow",
    )


def joint(number: int, power_w: float = 1000.0, uohm: float = 42.0) -> JointWelded:
    return JointWelded(
        **_head(f"joint-{number}", "1"),
        part_id=f"part-{number}",
        sequence=number,
        recipe="cu-al-tab-7",
        resistance_uohm=uohm + number % 3,
        power_w=power_w,
        focus_mm=0.0,
    )


def dirty(number: int) -> Anomaly:
    """The window absorbs a tenth of the power."""
    return Anomaly(
        **_head(f"anomaly-{number}", "2"),
        signal_set="weld.v1",
        part_id=f"part-{number}",
        sequence=number,
        row=299,
        score=20.0,
        threshold=4.0,
        features={"oct_depth_mm.mean": 0.42 + 0.0001 * (number % 3), "back_reflection.mean": 0.81},
        deviations={
            "oct_depth_mm.mean": -9.5,
            "back_reflection.mean": -18.0,
            "window_temperature_c.mean": 15.0,
            "plasma.mean": -5.0,
        },
        model="weld",
        model_version=3,
        input_digest="digest",
    )


def applied(proposed: Proposed, part_counter: int) -> list[AnyChange]:
    """What the twin and the line write."""
    assert isinstance(proposed.action, SetParameter)
    common: dict[str, Any] = {
        "asset": ASSET,
        "at": datetime.now(UTC),
        "observed_at": proposed.observed_at,
        "trace_id": proposed.trace_id,
        "change_id": proposed.change_id,
    }
    released = Envelope(
        command_id=proposed.change_id,
        asset=ASSET,
        action=proposed.action,
        unit="W",
        recipe=proposed.recipe,
        sequence=1,
        issued_at=common["at"],
        expires_at=common["at"] + timedelta(seconds=5),
        model=proposed.model,
        model_version=proposed.model_version,
        input_digest=proposed.input_digest,
        mode=proposed.mode,
        approver="policy",
        rollback_of=proposed.rollback_of,
    )
    key = {"envelope": released, "signature": "", "key_id": ""}  # verified by others
    ids = {state: f"{state}-{proposed.change_id}" for state in ("simulated", "approved", "issued", "applied")}
    actual = proposed.action.value
    return [
        Simulated(event_id=ids["simulated"], do_nothing=None, do_this=None, **common),
        Approved(event_id=ids["approved"], approver="policy", reason="", **key, **common),
        Issued(event_id=ids["issued"], command_sequence=1, **common),
        Applied(event_id=ids["applied"], actual=actual, part_counter=part_counter, **common),
    ]


async def drift(bus: Bus, first: int, parts: int) -> None:
    for number in range(first, first + parts):
        await bus.publish(GENEALOGY, joint(number))
        await bus.publish(ANOMALIES, dirty(number))
