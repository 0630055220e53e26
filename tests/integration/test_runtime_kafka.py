"""`twinloop.runtime` on a real broker: provisioning, read committed, and commits that follow the outputs."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer

from twinloop.contracts.codec import Message
from twinloop.contracts.topics import ALL, ANOMALIES, MODELS, SCORES
from twinloop.runtime.kafka import Batch, consume, consumer, follow, publisher
from twinloop.runtime.provision import TopicMismatch, provision


def message(value: bytes) -> Message:
    return Message(ANOMALIES, b"key", value, ())


async def test_provisioning_is_idempotent_and_never_shrinks(kafka: str, topic_prefix: str) -> None:
    prefix = topic_prefix + "p-"
    assert len(await provision(kafka, prefix)) == len(ALL)
    assert await provision(kafka, prefix) == []
    with pytest.raises(TopicMismatch, match="6 partitions instead of 3"):
        await provision(kafka, prefix, topics=[replace(SCORES, partitions=3)])


async def test_aborted_records_are_never_handled(kafka: str, topic_prefix: str) -> None:
    await provision(kafka, topic_prefix)
    stopping = asyncio.Event()
    writer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic_prefix + "writer")
    await writer.start()
    try:
        with contextlib.suppress(ZeroDivisionError):
            async with writer.transaction():
                await writer.send_and_wait(ANOMALIES.named(topic_prefix), b"aborted", key=b"key")
                raise ZeroDivisionError
        async with writer.transaction():
            await writer.send_and_wait(ANOMALIES.named(topic_prefix), b"committed", key=b"key")
    finally:
        await writer.stop()
    seen: list[bytes] = []

    async def handle(batch: Batch) -> None:
        seen.extend(one.value for records in batch.values() for one in records)
        stopping.set()

    async with consumer(kafka, [ANOMALIES], topic_prefix, stopping, group="g") as client:
        await asyncio.wait_for(consume(client, stopping, handle), 30)
    assert seen == [b"committed"]


async def test_what_a_handler_did_not_finish_is_handled_again(kafka: str, topic_prefix: str) -> None:
    await provision(kafka, topic_prefix)
    stopping = asyncio.Event()
    async with publisher(kafka, topic_prefix, stopping) as out:
        await out.publish([message(b"1"), message(b"2")])

    async def fail(batch: Batch) -> None:
        raise RuntimeError("crash before the outputs are out")

    async with consumer(kafka, [ANOMALIES], topic_prefix, stopping, group="g") as client:
        with pytest.raises(RuntimeError, match="crash"):
            await asyncio.wait_for(consume(client, stopping, fail), 30)

    seen: list[bytes] = []

    async def handle(batch: Batch) -> None:
        seen.extend(one.value for records in batch.values() for one in records)
        if len(seen) >= 2:
            stopping.set()

    async with consumer(kafka, [ANOMALIES], topic_prefix, stopping, group="g") as client:
        await asyncio.wait_for(consume(client, stopping, handle), 30)
    assert seen == [b"1", b"2"]

    again = asyncio.Event()
    async with publisher(kafka, topic_prefix, again) as out:
        await out.publish([message(b"3")])

    async def third(batch: Batch) -> None:
        seen.extend(one.value for records in batch.values() for one in records)
        again.set()

    async with consumer(kafka, [ANOMALIES], topic_prefix, again, group="g") as client:
        await asyncio.wait_for(consume(client, again, third), 30)
    assert seen == [b"1", b"2", b"3"], "committed records are not handled again"


async def test_a_follower_knows_when_it_has_caught_up(kafka: str, topic_prefix: str) -> None:
    await provision(kafka, topic_prefix)
    stopping, caught_up = asyncio.Event(), asyncio.Event()
    seen: list[bytes] = []
    async with publisher(kafka, topic_prefix, stopping) as out:
        await out.publish([Message(MODELS, b"a", b"1", ()), Message(MODELS, b"a", b"2", ())])
    async with consumer(kafka, [MODELS], topic_prefix, stopping, group=None) as client:
        task = asyncio.create_task(follow(client, stopping, lambda one: seen.append(one.value), caught_up))
        await asyncio.wait_for(caught_up.wait(), 30)
        assert seen == [b"1", b"2"]
        stopping.set()
        await asyncio.wait_for(task, 30)
