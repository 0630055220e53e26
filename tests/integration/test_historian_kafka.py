"""The historian on a real broker, killed and stopped: every committed record is in exactly one file."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from support.processes import ServiceProcess
from support.waiting import until

from twinloop.contracts import codec, ids
from twinloop.contracts.frames import Frame
from twinloop.contracts.topics import ANOMALIES, DEAD_LETTERS, TELEMETRY_FACTORY
from twinloop.historian.naming import span_of
from twinloop.runtime.kafka.provision import provision


@pytest.fixture
def historian(kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[ServiceProcess]:
    one = ServiceProcess(
        "historian",
        {
            "TWINLOOP_KAFKA": kafka,
            "TWINLOOP_TOPIC_PREFIX": topic_prefix,
            "TWINLOOP_HISTORIAN_FOLDER": str(tmp_path / "parquet"),
            "TWINLOOP_HISTORIAN_MAX_RECORDS": "40",
            "TWINLOOP_HISTORIAN_MAX_AGE_S": "0.3",
            "TWINLOOP_HISTORIAN_SESSION_TIMEOUT_S": "6",
        },
        tmp_path / "historian.log",
    )
    yield one
    if one.running:
        one.kill()


def files(folder: Path, topic: str) -> list[Path]:
    return sorted(folder.glob(f"{topic}/*/*.parquet"))


def column(folder: Path, topic: str, name: str) -> list[object]:
    return [value for one in files(folder, topic) for value in pq.read_table(one)[name].to_pylist()]


def frame(number: int) -> Frame:
    return Frame(
        asset=f"acme.berlin.packs.line1.weld{number % 7}",
        signal_set="weld.v1",
        sequence=number,
        first_at_ns=number,
        period_ns=1_000_000,
        samples=np.full((300, 6), number, np.float32),
        observed_at_ns=number,
        event_id=ids.event_id("frame", number),
        trace_id=ids.trace_id(number),
        part_id=f"p{number}",
    )


async def test_killed_again_and_again_it_keeps_every_record_once(
    kafka: str, topic_prefix: str, historian: ServiceProcess, tmp_path: Path
) -> None:
    """Frames and transactional events flow all the while; a third of the transactions is aborted."""
    await provision(kafka, topic_prefix)
    folder = tmp_path / "parquet"
    telemetry, anomalies = TELEMETRY_FACTORY.named(topic_prefix), ANOMALIES.named(topic_prefix)
    flowing = asyncio.Event()
    flowing.set()
    sent: list[str] = []
    committed: list[str] = []
    noise = 0

    async def produce() -> None:
        nonlocal noise
        async with (
            AIOKafkaProducer(bootstrap_servers=kafka) as plain,
            AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic_prefix + "t") as writer,
        ):
            for turn in itertools.count(1):
                if not flowing.is_set():
                    return
                for _ in range(15):
                    one = codec.frame_message(TELEMETRY_FACTORY, frame(len(sent)), source="test")
                    await plain.send_and_wait(telemetry, one.value, key=one.key)
                    sent.append(frame(len(sent)).event_id)
                if turn % 10 == 0:
                    await plain.send_and_wait(telemetry, b"\xffno frame", key=b"?")
                    noise += 1
                names = [f"{turn}-{n}" for n in range(4)]
                with contextlib.suppress(ZeroDivisionError):
                    async with writer.transaction():
                        for name in names:
                            value = msgspec.json.encode({"event_id": name, "aborted": turn % 3 == 0})
                            await writer.send(anomalies, value, key=name.encode())
                        if turn % 3 == 0:
                            raise ZeroDivisionError
                    committed.extend(names)

    producing = asyncio.create_task(produce())
    historian.start()
    for _ in range(3):
        before = len(files(folder, telemetry))
        await until(
            lambda before=before: len(files(folder, telemetry)) > before + 3, 60, historian.log.read_text
        )  # type: ignore[misc]
        await asyncio.to_thread(historian.kill)
        historian.start()
    flowing.clear()
    await producing
    await until(
        lambda: (
            len(column(folder, telemetry, "offset")) >= len(sent) + noise
            and len(column(folder, anomalies, "offset")) >= len(committed)
        ),
        60,
        historian.log.read_text,
    )
    assert await asyncio.to_thread(historian.stop) == 0

    # What Kafka holds, read by somebody else.
    for topic, count in ((TELEMETRY_FACTORY, 12), (ANOMALIES, 6)):
        name = topic.named(topic_prefix)
        for partition in range(count):
            kept = [
                offset
                for one in sorted((folder / name / str(partition)).glob("*.parquet"))
                for offset in pq.read_table(one)["offset"].to_pylist()
            ]
            assert kept == await offsets(kafka, TopicPartition(name, partition))
    kept_ids = [one for one in column(folder, telemetry, "event_id") if one is not None]
    assert sorted(map(str, kept_ids)) == sorted(sent)
    raw = [one for one in column(folder, telemetry, "raw") if one is not None]
    assert raw
    assert set(raw) == {b"\xffno frame"}
    assert sorted(map(str, column(folder, anomalies, "event_id"))) == sorted(committed)
    assert not any('"aborted":true' in str(value) for value in column(folder, anomalies, "value"))
    for one in files(folder, telemetry):
        span = span_of(one.name)
        assert span is not None
        held = pq.read_table(one)["offset"].to_pylist()
        assert (held[0], held[-1]) == (span.first, span.last)
        assert len(held) <= 40
    assert not list(folder.glob("*/*/*.writing"))
    assert len(set(historian.pids)) == 4


async def offsets(kafka: str, partition: TopicPartition) -> list[int]:
    """Offsets of the committed records of a partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed")
    async with consumer, asyncio.timeout(30):
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        found: list[int] = []
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [record.offset for record in records]
    return found


async def test_what_waits_is_written_on_shutdown_and_progress_is_shown(
    kafka: str, topic_prefix: str, historian: ServiceProcess, tmp_path: Path
) -> None:
    await provision(kafka, topic_prefix)
    historian.settings["TWINLOOP_HISTORIAN_MAX_AGE_S"] = "600"
    historian.settings["TWINLOOP_HISTORIAN_MAX_RECORDS"] = "100000"
    name = DEAD_LETTERS.named(topic_prefix)
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for number in range(30):
            await producer.send_and_wait(name, b'{"event_id":"%d"}' % number, partition=number % 2)
    historian.start()
    await until(lambda: historian.metric("waiting_records") == 30, 60, historian.log.read_text)
    folder = tmp_path / "parquet"
    assert files(folder, name) == []
    assert await asyncio.to_thread(historian.stop) == 0
    assert sorted(int(str(one)) for one in column(folder, name, "event_id")) == list(range(30))
    reader = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=topic_prefix + "historian")
    async with reader:
        for partition in (0, 1):
            assert await reader.committed(TopicPartition(name, partition)) == 15


async def test_a_folder_of_another_cluster_is_refused(
    kafka: str, topic_prefix: str, historian: ServiceProcess, tmp_path: Path
) -> None:
    await provision(kafka, topic_prefix)
    home = tmp_path / "parquet" / ANOMALIES.named(topic_prefix) / "0"
    home.mkdir(parents=True)
    (home / f"{0:020d}-{99:020d}.parquet").touch()
    historian.start()
    assert historian.process is not None
    assert await asyncio.to_thread(historian.process.wait, 60) == 1
    assert "up to offset 99, but it ends at 0" in historian.log.read_text()


async def test_offsets_deleted_by_retention_are_logged_and_counted(
    kafka: str, topic_prefix: str, historian: ServiceProcess, tmp_path: Path
) -> None:
    await provision(kafka, topic_prefix)
    name = ANOMALIES.named(topic_prefix)
    await produce(kafka, name, range(10))
    historian.start()
    folder = tmp_path / "parquet"
    await until(lambda: len(column(folder, name, "offset")) == 10, 60, historian.log.read_text)
    assert await asyncio.to_thread(historian.stop) == 0
    await produce(kafka, name, range(10, 20))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=15)})
    finally:
        await admin.close()
    historian.start()
    await until(lambda: len(column(folder, name, "offset")) == 15, 60, historian.log.read_text)
    assert column(folder, name, "offset") == [*range(10), *range(15, 20)]
    assert historian.metric("lost_to_retention_total", topic="anomalies") == 5
    assert '"first": 10, "last": 14' in historian.log.read_text()


async def produce(kafka: str, name: str, numbers: Iterable[int]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for number in numbers:
            await producer.send_and_wait(name, b'{"event_id":"%d"}' % number, partition=0)
