"""The historian reconciles what detectors committed on a real Kafka: a loss and a double each raise it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from support.processes import ServiceProcess
from support.waiting import until

from twinloop.contracts.codec import Message, message
from twinloop.contracts.events import Verdict
from twinloop.contracts.ids import event_id
from twinloop.contracts.topics import SCORES
from twinloop.runtime.clock import SystemClock
from twinloop.runtime.kafka.provision import provision
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.receipts import Receipts

AT = datetime(2026, 1, 1, tzinfo=UTC)
SIZE = 10


@pytest.fixture
def historian(kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[ServiceProcess]:
    service = ServiceProcess(
        "historian",
        {
            "TWINLOOP_KAFKA": kafka,
            "TWINLOOP_TOPIC_PREFIX": topic_prefix,
            "TWINLOOP_HISTORIAN_FOLDER": str(tmp_path / "parquet"),
            "TWINLOOP_HISTORIAN_RECONCILE_PATIENCE_S": "1",
        },
        tmp_path / "historian.log",
    )
    yield service
    if service.running:
        service.stop()


def verdict(number: int) -> Message:
    made = Verdict(
        event_id=event_id("verdict", number),
        asset="a",
        at=AT,
        observed_at=AT,
        trace_id="",
        signal_set="level.v1",
        part_id="",
        sequence=number,
        row=0,
        score=0.0,
        threshold=1.0,
        anomalous=False,
        model="level",
        model_version=1,
        input_digest="",
    )
    return message(SCORES, made, source="detector")


async def test_a_loss_and_a_double_each_raise_it(
    kafka: str, topic_prefix: str, historian: ServiceProcess
) -> None:
    await provision(kafka, topic_prefix)
    receipts = Receipts("detector", topic_prefix, SystemClock())
    partition = TopicPartition(f"{topic_prefix}telemetry.factory", 3)
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{topic_prefix}test")
    await producer.start()

    async def commit(first: int, count: int = 2, *, there: int | None = None) -> None:
        """A transaction of ten records with `count` verdicts, of which `there` are written."""
        verdicts = [verdict(first * 100 + n) for n in range(count)]
        *marked, receipt = receipts.of(
            "detector", partition, first, first + SIZE, SIZE, [replace(one) for one in verdicts]
        )
        written = (marked * 2)[: count if there is None else there]
        async with producer.transaction():
            for one in [*written, receipt]:
                await producer.send_and_wait(
                    one.topic.named(topic_prefix), one.value, one.key, headers=list(one.headers)
                )

    def found() -> dict[str, float]:
        kinds = ("records_lost", "records_repeated", "outputs_lost", "outputs_repeated")
        return {one: historian.metric("reconciliation_violations_total", kind=one) for one in kinds}

    def judged() -> float:
        return historian.metric("reconciliation_receipts_total")

    try:
        historian.start()
        await until(lambda: historian.ready)
        for n in range(4):
            await commit(n * SIZE)
        await until(lambda: judged() >= 3)  # the first may have been there before it began
        assert set(found().values()) == {0}

        await commit(40, there=1)
        await until(lambda: found()["outputs_lost"] == 1)
        await commit(50, there=3)
        await until(lambda: found()["outputs_repeated"] == 1)
        await commit(60 + 3)
        await until(lambda: found()["records_lost"] == 3)
        await commit(63)
        await until(lambda: found()["records_repeated"] == SIZE)
        assert found()["records_lost"] == 3
        assert "not exactly once" in historian.log.read_text()
    finally:
        await producer.stop()
