"""The controller as a process on a real Kafka: proposing, crashing, and what it must not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.fetcher import Fetcher
from faust.transport.drivers.aiokafka import Consumer
from prometheus_client import CollectorRegistry
from support.controller_scene import ASSET, applied, bus, controller, dirty, drift, joint
from support.waiting import until

from twinloop.audit.store import verify_file
from twinloop.contracts.audit import AuditEntry
from twinloop.contracts.changes import Proposed, RolledBack, SetParameter, Verified
from twinloop.contracts.codec import decode, message
from twinloop.contracts.controls import ModeShed
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.events import Alarm, AlarmCode, Anomaly
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import ALARMS, ANOMALIES, AUDIT, CHANGES, DEAD_LETTERS, GENEALOGY, SCORES
from twinloop.controller.agents import Record
from twinloop.controller.committed import CommittedTransport
from twinloop.controller.streams import Streams
from twinloop.runtime.kafka.access import KafkaAccess
from twinloop.runtime.kafka.provision import provision
from twinloop.runtime.observability.metrics import ConsumerMetrics


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
            (proposed,) = await until(proposals, problem="not seen: a proposal")
            await on.publish(CHANGES, *applied(proposed, 26))
            first.kill()
        assert proposed.action == SetParameter(
            parameter="laser_power_w", value=pytest.approx(1030, abs=3), expected=1000.0
        )
        assert proposed.caused_by == "anomaly-24"
        assert proposed.evidence == ("anomaly-21", "anomaly-22", "anomaly-23", "anomaly-24")
        assert proposed.trace_id == "2" * 32
        assert (proposed.model, proposed.model_version, proposed.recipe) == ("weld", 3, "cu-al-tab-7")
        assert (proposed.mode, proposed.expires_at - proposed.at) == (Mode.AUTO, timedelta(seconds=30))
        (cause,) = [one for one in await on.events(ANOMALIES, Anomaly) if one.event_id == "anomaly-24"]
        assert proposed.observed_at == cause.observed_at
        assert cause.observed_at <= proposed.at <= datetime.now(UTC)

        async with controller(kafka, topic_prefix, tmp_path / "second") as second:
            # Topics come in no order to each other: a part counts once its change is known to be in force.
            await until(lambda: on.is_read(CHANGES), problem="the change is not read")
            # The first one may have read all of it: this part only the second reads, once it may.
            await on.publish(GENEALOGY, joint(25))
            await until(lambda: on.is_read(GENEALOGY), problem="the second process reads nothing")
            for number in range(26, 38):
                await on.publish(GENEALOGY, joint(number, 1000.0 if number < 28 else proposed.action.value))

            async def verdicts() -> list[Verified]:
                return await on.changes(Verified)

            verified = (await until(verdicts, problem="not seen: a verdict"))[0]
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

            await until(
                lambda: second.metric("would_propose_total") >= 1,
                problem="not seen: what would be proposed, in shadow",
            )
            assert len({one.event_id for one in await proposals()}) == 1
            assert second.stop() == 0


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
        (proposed,) = await until(lambda: proposals(1), problem="not seen: a proposal")
        assert isinstance(proposed.action, SetParameter)
        await on.publish(CHANGES, *applied(proposed, 16))
        for number in range(17, 21):
            await on.publish(GENEALOGY, joint(number, proposed.action.value, uohm=60.0))
        _, restoring = await until(lambda: proposals(2), problem="not seen: the value before it")
        assert restoring.rollback_of == proposed.change_id
        assert restoring.action == SetParameter(
            parameter=proposed.action.parameter, value=1000.0, expected=proposed.action.value
        )
        (rolled_back,) = await on.changes(RolledBack)
        assert rolled_back.restored_by == restoring.change_id
        await on.publish(CHANGES, *applied(restoring, 20))

        async def shed() -> list[ModeShed]:
            return await on.changes(ModeShed)

        await until(shed, problem="not seen: shadow")

        async def called() -> bool:
            return AlarmCode.ROLLED_BACK in {one.code for one in await on.events(ALARMS, Alarm)}

        await until(called, problem="not seen: a person is called")
        file = tmp_path / "audit" / "controller.jsonl"

        async def copies() -> list[AuditEntry]:
            found = await on.events(AUDIT, AuditEntry)
            return found if found and found[-1].what == "shed mode" else []

        entries = await until(copies, problem="not seen: the audit's copies")
        assert [one.what for one in entries if one.what != "refused"] == [
            "entered mode",
            "entered mode",
            "proposed",
            "rolled back",
            "proposed",
            "shed mode",
        ]
        assert running.stop() == 0
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

        await until(
            lambda: running.metric("refusals_total", guard="audit") >= 1,
            problem="not seen: a refusal for want of an audit store",
        )
        asked = await until(lambda: running.get("/health/ready"), problem="no answer to whether it is ready")
        assert "audit" in asked.json()["missing"]
        assert not await on.changes(Proposed)
        file.with_suffix(".away").rename(file)
        await until(lambda: running.ready, problem="not seen: ready again")
        await drift(on, 18, 2)

        async def proposals() -> list[Proposed]:
            return await on.changes(Proposed)

        await until(proposals, problem="not seen: a proposal")


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

        await until(first_is_committed, problem="not seen: the first anomaly committed")
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

        await until(all_are_committed, problem="not seen: the last anomaly committed")
        await admin.close()
        assert running.metric("records_total", fate="folded", topic="anomalies") == 5
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

        found = {one.payload: one for one in await until(letters, problem="not seen: three dead letters")}
        assert found[b"{not json"].reason is Reason.UNDECODABLE
        assert found[b"{not json"].source == f"genealogy/{at.partition}/{at.offset}"
        assert found[good.value].reason is Reason.UNPROCESSABLE
        assert found[b""].reason is Reason.UNDECODABLE

        await until(
            lambda: running.metric("records_total", fate="folded", topic="genealogy") == 1,
            problem="not seen: the good record folded",
        )
        assert running.stop() == 0


async def test_too_many_records_in_a_row_that_cannot_be_folded_end_the_service(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    limit = {"TWINLOOP_CONTROLLER_DEAD_LETTER_LIMIT": "3"}
    async with bus(kafka, topic_prefix) as on, controller(kafka, topic_prefix, tmp_path, **limit) as running:
        for _ in range(8):
            await on.producer.send_and_wait(GENEALOGY.named(topic_prefix), b"junk", key=b"k")
        assert running.process is not None
        assert await asyncio.to_thread(running.process.wait, 20) == 1
        assert len(await on.records(DEAD_LETTERS)) == 3
        assert not await on.records(SCORES)


@asynccontextmanager
async def folding(
    kafka: str, prefix: str, data: Path, into: list[int], *, commit_interval_s: float = 0.1
) -> AsyncIterator[Streams]:
    """The controller's streams without the controller: the numbers that they bring come `into` a list."""
    streams = Streams(
        kafka=KafkaAccess(kafka),
        prefix=prefix,
        data=data,
        commit_interval_s=commit_interval_s,
        session_timeout_s=30.0,
        replication=1,
        metrics=ConsumerMetrics(CollectorRegistry(), "controller"),
    )

    async def handle(record: Record) -> None:
        await asyncio.sleep(0.05)  # so that records wait
        into.append(int(record.value or b""))
        streams.table[ASSET.encode()] = record.value

    streams.feed(handle)
    await streams.start()
    try:
        yield streams
    finally:
        await streams.stop()


async def send(kafka: str, prefix: str, numbers: range) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for one in numbers:
        await producer.send_and_wait(GENEALOGY.named(prefix), b"%d" % one, key=ASSET.encode())
    await producer.stop()


async def test_what_is_read_while_it_goes_back_to_the_committed_offsets_is_not_lost(
    kafka: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust throws away what its fetcher brought meanwhile. Here that time is long."""
    await provision(kafka, prefix=topic_prefix)
    folded: list[int] = []

    async def all_of(numbers: range) -> bool:
        return set(numbers) <= set(folded)

    seek = Consumer.perform_seek

    async def slow(self: Any) -> None:
        await seek(self)
        await asyncio.sleep(0.3)

    await send(kafka, topic_prefix, range(20))
    async with folding(kafka, topic_prefix, tmp_path / "first", folded):
        await until(lambda: all_of(range(20)), problem="not seen: the first ones are folded")
    await send(kafka, topic_prefix, range(20, 40))
    monkeypatch.setattr(Consumer, "perform_seek", slow)
    async with folding(kafka, topic_prefix, tmp_path / "second", folded):
        await until(lambda: all_of(range(40)), problem="not seen: those of meanwhile are folded, too")


async def test_the_first_record_waits_until_kafka_tells_of_the_changelog(
    kafka: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka has made a topic a moment before it tells of it. Here that moment is long."""
    await provision(kafka, prefix=topic_prefix)
    await send(kafka, topic_prefix, range(1))
    make, makings = CommittedTransport._really_create_topic, []

    async def late(*args: Any, **kwargs: Any) -> None:
        async def making() -> None:
            await asyncio.sleep(1.0)
            await make(*args, **kwargs)

        makings.append(asyncio.create_task(making()))

    monkeypatch.setattr(CommittedTransport, "_really_create_topic", late)
    folded: list[int] = []
    async with folding(kafka, topic_prefix, tmp_path, folded) as streams:
        await until(lambda: folded == [0] or streams.failed.done(), problem="not seen: it is folded")
        assert folded == [0]
    await asyncio.gather(*makings)


async def test_whatever_ends_the_stop_of_its_consumer_no_connection_stays_open(
    kafka: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka's fetcher ends in its own CancelledError when it waits to fetch again."""
    await provision(kafka, prefix=topic_prefix)
    await send(kafka, topic_prefix, range(1))
    folded: list[int] = []
    close = Fetcher.close

    async def waiting(self: Fetcher) -> None:
        await close(self)
        raise asyncio.CancelledError

    monkeypatch.setattr(Fetcher, "close", waiting)
    async with folding(kafka, topic_prefix, tmp_path, folded) as streams:
        await until(lambda: folded == [0], problem="not seen: it is folded")
        client = streams._app.consumer._thread._consumer._client
        open_ones = list(client._conns.values())
        assert all(one.connected() for one in open_ones)
    assert len(open_ones) >= 2  # to the broker, and to it as the group's coordinator
    assert not any(one.connected() for one in open_ones)


async def test_a_rebalance_while_it_stops_leaves_no_connection_and_no_member_behind(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Faust then closes the consumer from a thread that it does not belong to, and takes it for closed."""
    await provision(kafka, prefix=topic_prefix)
    await send(kafka, topic_prefix, range(1))
    folded: list[int] = []
    async with folding(kafka, topic_prefix, tmp_path, folded) as streams:
        await until(lambda: folded == [0], problem="not seen: it is folded")
        client = streams._app.consumer._thread._consumer._client
        open_ones = list(client._conns.values())
        streams._app._on_rebalance_when_stopped()
    assert not any(one.connected() for one in open_ones)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        (told,) = await admin.describe_consumer_groups([topic_prefix + "controller"])
    finally:
        await admin.close()
    assert not told.groups[0][5], "the group still counts it as a member"


async def test_where_nothing_is_committed_yet_it_goes_back_to_the_beginning(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    """What its fetcher threw away would never be read again."""
    await provision(kafka, prefix=topic_prefix)
    await send(kafka, topic_prefix, range(20))
    folded: list[int] = []
    async with folding(kafka, topic_prefix, tmp_path, folded, commit_interval_s=600.0) as streams:
        await until(lambda: len(folded) == 20, problem="not seen: all of them are folded")
        consumer = streams._app.consumer
        await consumer.perform_seek()
        consumer.resume_flow()
        await until(lambda: len(folded) == 40, problem="not seen: all of them are read again")
    assert folded == [*range(20), *range(20)]
