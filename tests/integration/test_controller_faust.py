"""The controller as a process on a real Kafka: proposing, crashing, and what it must not read."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from faust.transport.drivers.aiokafka import Consumer
from prometheus_client import CollectorRegistry

from twinloop.audit.store import verify_file
from twinloop.contracts.audit import AuditEntry
from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Approved,
    Envelope,
    Issued,
    Proposed,
    RolledBack,
    SetParameter,
    Simulated,
    Verified,
)
from twinloop.contracts.codec import decode, message
from twinloop.contracts.controls import ModeEntered, ModeRequested, ModeShed
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.events import Alarm, AlarmCode, Anomaly, Event, JointWelded
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import (
    ALARMS,
    ANOMALIES,
    AUDIT,
    CHANGES,
    DEAD_LETTERS,
    GENEALOGY,
    SCORES,
    Topic,
)
from twinloop.controller.agents import Record
from twinloop.controller.streams import Streams
from twinloop.runtime.access import KafkaAccess
from twinloop.runtime.metrics import ConsumerMetrics
from twinloop.runtime.provision import provision

ASSET = "acme.berlin.packs.line1.weld1"
CONFIG = Path(__file__).parents[2] / "deploy/local/config/controller.toml"
DEADLINE_S = 40.0

T = TypeVar("T")


class Running:
    """A controller process that is up, and where it can be asked."""

    def __init__(self, process: asyncio.subprocess.Process, http: httpx.AsyncClient) -> None:
        self.process = process
        self._http = http

    async def ready(self) -> bool:
        try:
            return (await self._http.get("/health/ready")).status_code == 200
        except httpx.HTTPError:
            return False

    async def metric(self, sample: str) -> float:
        """The value of `sample`, a name with its labels as Prometheus writes them."""
        text = (await self._http.get("/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith(sample + " ")]
        return float(lines[0].rsplit(" ", 1)[1]) if lines else 0.0

    async def missing(self) -> dict[str, str]:
        """What is not ready, by check."""
        told: dict[str, str] = (await self._http.get("/health/ready")).json()["missing"]
        return told

    async def kill(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20)


@asynccontextmanager
async def controller(kafka: str, prefix: str, data: Path, **env: str) -> AsyncIterator[Running]:
    """The service, ready; killed at the end if it still runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    data.mkdir(parents=True, exist_ok=True)
    with (data / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "twinloop.controller",
            env={
                **os.environ,
                "TWINLOOP_KAFKA": kafka,
                "TWINLOOP_TOPIC_PREFIX": prefix,
                "TWINLOOP_HEALTH_PORT": str(port),
                "TWINLOOP_CONTROLLER_ASSETS": str(CONFIG),
                "TWINLOOP_CONTROLLER_DATA": str(data / "table"),
                "TWINLOOP_CONTROLLER_AUDIT": str(data / "audit"),
                **env,
            },
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=2) as http:
            running = Running(process, http)
            await until(running.ready, f"ready, see {data / 'log'}")
            yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(check: Callable[[], Awaitable[T]], what: str) -> T:
    """Poll `check` until it gives something true."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := await check():
            return found
        await asyncio.sleep(0.05)
    pytest.fail(f"not within {DEADLINE_S:g} s: {what}")


class Bus:
    """Writes records, and reads one topic from its beginning."""

    def __init__(self, kafka: str, prefix: str, producer: AIOKafkaProducer) -> None:
        self.kafka = kafka
        self.prefix = prefix
        self.producer = producer

    async def publish(self, topic: Topic, *events: Event) -> None:
        for event in events:
            one = message(topic, event, source="test")
            await self.producer.send_and_wait(topic.named(self.prefix), one.value, key=one.key)

    async def records(self, topic: Topic) -> list[ConsumerRecord]:
        reader = AIOKafkaConsumer(
            bootstrap_servers=self.kafka, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        await reader.start()
        try:
            reader.assign([TopicPartition(topic.named(self.prefix), n) for n in range(topic.partitions)])
            ends = await reader.end_offsets(reader.assignment())
            found: list[ConsumerRecord] = []
            while any([await reader.position(one) < end for one, end in ends.items()]):
                for records in (await reader.getmany(timeout_ms=100)).values():
                    found.extend(records)
            return found
        finally:
            await reader.stop()

    async def changes(self, kind: type[T]) -> list[T]:
        return await self.events(CHANGES, kind)

    async def events(self, topic: Topic, kind: type[T]) -> list[T]:
        events = [decode(topic, one.value) for one in await self.records(topic)]
        return [one for one in events if isinstance(one, kind)]

    async def promote(self, *modes: Mode) -> None:
        """A person does, and the controller lets the asset in."""
        for mode in modes:
            before = len(await self.changes(ModeEntered))
            await self.publish(CHANGES, requested(mode, before))

            async def entered(before: int = before) -> bool:
                return len(await self.changes(ModeEntered)) == before + 1

            await until(entered, f"{mode} entered")


@asynccontextmanager
async def bus(kafka: str, prefix: str) -> AsyncIterator[Bus]:
    await provision(kafka, prefix)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        yield Bus(kafka, prefix, producer)
    finally:
        await producer.stop()


def requested(mode: Mode, number: int) -> ModeRequested:
    now = datetime.now(UTC)
    return ModeRequested(
        event_id=f"request-{number}",
        asset=ASSET,
        at=now,
        observed_at=now,
        trace_id="3" * 32,
        mode=mode,
        by="person:eva",
        reason="after a look at the shadow",
    )


def joint(number: int, power_w: float = 1000.0, uohm: float = 42.0) -> JointWelded:
    now = datetime.now(UTC)
    return JointWelded(
        event_id=f"joint-{number}",
        asset=ASSET,
        at=now,
        observed_at=now,
        trace_id="1" * 32,
        part_id=f"part-{number}",
        sequence=number,
        recipe="cu-al-tab-7",
        resistance_uohm=uohm + number % 3,
        power_w=power_w,
        focus_mm=0.0,
    )


def dirty(number: int) -> Anomaly:
    """The window absorbs a tenth of the power."""
    now = datetime.now(UTC)
    return Anomaly(
        event_id=f"anomaly-{number}",
        asset=ASSET,
        at=now,
        observed_at=now,
        trace_id="2" * 32,
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


async def test_a_change_is_proposed_and_verified_across_a_crash_that_loses_the_data_folder(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with bus(kafka, topic_prefix) as on:

        async def proposals() -> list[Proposed]:
            return await on.changes(Proposed)

        async with controller(kafka, topic_prefix, tmp_path / "first") as first:
            for number in range(1, 21):
                await on.publish(GENEALOGY, joint(number))
            await on.promote(Mode.SUPERVISED, Mode.AUTO)
            await drift(on, 21, 4)
            (proposed,) = await until(proposals, "a proposal")
            await on.publish(CHANGES, *applied(proposed, 26))
            await first.kill(signal.SIGKILL)
        assert proposed.action == SetParameter(
            parameter="laser_power_w", value=pytest.approx(1030, abs=3), expected=1000.0
        )
        assert proposed.caused_by == "anomaly-24"
        assert proposed.evidence == ("anomaly-21", "anomaly-22", "anomaly-23", "anomaly-24")
        assert proposed.trace_id == "2" * 32
        assert (proposed.model, proposed.model_version, proposed.recipe) == ("weld", 3, "cu-al-tab-7")
        assert (proposed.mode, proposed.expires_at - proposed.at) == (Mode.AUTO, timedelta(seconds=30))
        assert (proposed.at - proposed.observed_at).total_seconds() < 1

        async with controller(kafka, topic_prefix, tmp_path / "second") as second:
            for number in range(25, 38):
                await on.publish(GENEALOGY, joint(number, 1000.0 if number < 28 else proposed.action.value))

            async def verdicts() -> list[Verified]:
                return await on.changes(Verified)

            verified = (await until(verdicts, "a verdict"))[0]
            assert verified.change_id == proposed.change_id
            assert verified.caused_by == "joint-37"
            assert verified.parts == 10
            # Against parts since its evidence, which only the process before the crash has folded.
            assert verified.before_uohm == pytest.approx(sum(42 + n % 3 for n in range(21, 25)) / 4)
            assert {one.event_id for one in await proposals()} == {proposed.event_id}
            # What the process before the crash had let in is shed.
            assert {one.reason for one in await on.changes(ModeShed)} == {
                "the controller has started or taken the asset over"
            }
            assert {one.code for one in await on.events(ALARMS, Alarm)} == {AlarmCode.MODE_SHED}
            await drift(on, 38, 12)
            await on.publish(GENEALOGY, joint(50))

            async def would() -> bool:
                return await second.metric("twinloop_controller_would_propose_total") >= 1

            await until(would, "what would be proposed, in shadow")
            assert len({one.event_id for one in await proposals()}) == 1
            assert await second.kill(signal.SIGTERM) == 0


async def test_a_change_that_made_it_worse_is_taken_back_and_everything_is_audited(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with bus(kafka, topic_prefix) as on, controller(kafka, topic_prefix, tmp_path) as running:

        async def proposals(count: int) -> list[Proposed]:
            found = await on.changes(Proposed)
            return found if len(found) == count else []

        for number in range(1, 13):
            await on.publish(GENEALOGY, joint(number))
        await on.promote(Mode.SUPERVISED, Mode.AUTO)
        await drift(on, 13, 4)
        (proposed,) = await until(lambda: proposals(1), "a proposal")
        assert isinstance(proposed.action, SetParameter)
        await on.publish(CHANGES, *applied(proposed, 16))
        for number in range(17, 21):
            await on.publish(GENEALOGY, joint(number, proposed.action.value, uohm=60.0))
        _, restoring = await until(lambda: proposals(2), "the value before it")
        assert restoring.rollback_of == proposed.change_id
        assert restoring.action == SetParameter(
            parameter=proposed.action.parameter, value=1000.0, expected=proposed.action.value
        )
        (rolled_back,) = await on.changes(RolledBack)
        assert rolled_back.restored_by == restoring.change_id
        await on.publish(CHANGES, *applied(restoring, 20))

        async def shed() -> list[ModeShed]:
            return await on.changes(ModeShed)

        await until(shed, "shadow")
        assert AlarmCode.ROLLED_BACK in {one.code for one in await on.events(ALARMS, Alarm)}
        file = tmp_path / "audit" / "controller.jsonl"

        async def copies() -> list[AuditEntry]:
            found = await on.events(AUDIT, AuditEntry)
            return found if found and found[-1].what == "shed mode" else []

        entries = await until(copies, "the audit's copies")
        assert [one.what for one in entries if one.what != "refused"] == [
            "entered mode",
            "entered mode",
            "proposed",
            "rolled back",
            "proposed",
            "shed mode",
        ]
        assert await running.kill(signal.SIGTERM) == 0
        assert verify_file(file) == []


async def test_without_its_audit_store_the_controller_proposes_nothing(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with bus(kafka, topic_prefix) as on, controller(kafka, topic_prefix, tmp_path) as running:
        for number in range(1, 13):
            await on.publish(GENEALOGY, joint(number))
        await on.promote(Mode.SUPERVISED, Mode.AUTO)
        file = tmp_path / "audit" / "controller.jsonl"
        file.rename(file.with_suffix(".away"))
        await drift(on, 13, 5)

        async def refused() -> bool:
            return await running.metric('twinloop_controller_refusals_total{guard="audit"}') >= 1

        await until(refused, "a refusal for want of an audit store")
        assert "audit" in await running.missing()
        assert not await on.changes(Proposed)
        file.with_suffix(".away").rename(file)
        await until(running.ready, "ready again")
        await drift(on, 18, 2)

        async def proposals() -> list[Proposed]:
            return await on.changes(Proposed)

        await until(proposals, "a proposal")


async def test_aborted_records_are_not_read_and_markers_do_not_stop_the_commits(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with bus(kafka, topic_prefix) as on, controller(kafka, topic_prefix, tmp_path) as running:
        for number in range(1, 60):
            await on.publish(GENEALOGY, joint(number))
        writer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic_prefix + "detector")
        await writer.start()
        topic = ANOMALIES.named(topic_prefix)

        async def write(*events: Anomaly) -> int:
            for event in events:
                one = message(ANOMALIES, event, source="test")
                at = await writer.send_and_wait(topic, one.value, key=one.key)
            return int(at.offset)

        async with writer.transaction():
            await write(dirty(1))
        committed = topic_prefix + "controller"
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()

        async def offset() -> int:
            offsets = await admin.list_consumer_group_offsets(committed)
            return max((at.offset for one, at in offsets.items() if one.topic == topic), default=0)

        async def first_is_committed() -> bool:
            return await offset() == 1

        await until(first_is_committed, "the first anomaly committed")
        await writer.begin_transaction()
        await write(*[dirty(number) for number in range(2, 20)])
        await writer.abort_transaction()
        last = 0
        for number in range(20, 60, 10):
            async with writer.transaction():
                last = await write(dirty(number))
        await writer.stop()

        async def all_are_committed() -> bool:
            return await offset() == last + 1

        await until(all_are_committed, "the last anomaly committed")
        await admin.close()
        folded = 'twinloop_controller_records_total{fate="folded",topic="anomalies"}'
        assert await running.metric(folded) == 5
        assert not await on.changes(Proposed)


async def test_what_cannot_be_folded_is_kept_and_the_next_record_is_folded(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with bus(kafka, topic_prefix) as on, controller(kafka, topic_prefix, tmp_path) as running:
        topic = GENEALOGY.named(topic_prefix)
        good = message(GENEALOGY, joint(1), source="test")
        at = await on.producer.send_and_wait(topic, b"{not json", key=good.key)
        await on.producer.send_and_wait(topic, good.value, key=b"somebody else")
        await on.producer.send_and_wait(topic, None, key=good.key)
        await on.publish(GENEALOGY, joint(1))

        async def letters() -> list[Any]:
            found = [decode(DEAD_LETTERS, one.value) for one in await on.records(DEAD_LETTERS)]
            return found if len(found) == 3 else []

        found = {one.payload: one for one in await until(letters, "three dead letters")}
        assert found[b"{not json"].reason is Reason.UNDECODABLE
        assert found[b"{not json"].source == f"genealogy/{at.partition}/{at.offset}"
        assert found[good.value].reason is Reason.UNPROCESSABLE
        assert found[b""].reason is Reason.UNDECODABLE

        async def folded() -> bool:
            sample = 'twinloop_controller_records_total{fate="folded",topic="genealogy"}'
            return await running.metric(sample) == 1

        await until(folded, "the good record folded")
        assert await running.kill(signal.SIGTERM) == 0


async def test_too_many_records_in_a_row_that_cannot_be_folded_end_the_service(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    limit = {"TWINLOOP_CONTROLLER_DEAD_LETTER_LIMIT": "3"}
    async with bus(kafka, topic_prefix) as on, controller(kafka, topic_prefix, tmp_path, **limit) as running:
        for _ in range(8):
            await on.producer.send_and_wait(GENEALOGY.named(topic_prefix), b"junk", key=b"k")
        assert await asyncio.wait_for(running.process.wait(), 20) == 1
        assert len(await on.records(DEAD_LETTERS)) == 3
        assert not await on.records(SCORES)


async def test_what_is_read_while_it_goes_back_to_the_committed_offsets_is_not_lost(
    kafka: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust throws away what its fetcher brought meanwhile. Here that time is long."""
    await provision(kafka, prefix=topic_prefix)
    folded: list[int] = []

    @asynccontextmanager
    async def folding() -> AsyncIterator[None]:
        streams = Streams(
            kafka=KafkaAccess(kafka),
            prefix=topic_prefix,
            data=tmp_path / f"table-{len(folded)}",
            commit_interval_s=0.1,
            session_timeout_s=6.0,
            replication=1,
            metrics=ConsumerMetrics(CollectorRegistry(), "controller"),
        )

        async def handle(record: Record) -> None:
            await asyncio.sleep(0.05)  # so that records wait
            folded.append(int(record.value or b""))
            streams.table[ASSET.encode()] = record.value

        streams.feed(handle)
        await streams.start()
        try:
            yield
        finally:
            await streams.stop()

    async def send(numbers: range) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka)
        await producer.start()
        for one in numbers:
            await producer.send_and_wait(GENEALOGY.named(topic_prefix), b"%d" % one, key=ASSET.encode())
        await producer.stop()

    async def all_of(numbers: range) -> bool:
        return set(numbers) <= set(folded)

    seek = Consumer.perform_seek

    async def slow(self: Any) -> None:
        await seek(self)
        await asyncio.sleep(0.3)

    await send(range(20))
    async with folding():
        await until(lambda: all_of(range(20)), "the first ones are folded")
    await send(range(20, 40))
    monkeypatch.setattr(Consumer, "perform_seek", slow)
    async with folding():
        await until(lambda: all_of(range(40)), "those of meanwhile are folded, too")
