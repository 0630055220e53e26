"""`twinloop.runtime` on a real broker: provisioning, read committed, lag."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from prometheus_client import CollectorRegistry
from support.waiting import until

from twinloop.contracts.codec import Message
from twinloop.contracts.topics import ALL, ANOMALIES, MODELS, SCORES
from twinloop.runtime.kafka.clients import PROMPT, consumer, follow, publisher
from twinloop.runtime.kafka.mends import IDLE_MS
from twinloop.runtime.kafka.provision import TopicMismatch, provision
from twinloop.runtime.observability.metrics import ConsumerMetrics, Place


def message(value: bytes) -> Message:
    return Message(ANOMALIES, b"key", value, ())


async def test_provisioning_is_idempotent_and_never_shrinks(kafka: str, topic_prefix: str) -> None:
    prefix = topic_prefix + "p-"
    assert len(await provision(kafka, prefix)) == len(ALL)
    assert await provision(kafka, prefix) == []
    with pytest.raises(TopicMismatch, match="6 partitions instead of 3"):
        await provision(kafka, prefix, topics=[replace(SCORES, partitions=3)])


async def test_aborted_records_are_never_read(kafka: str, topic_prefix: str) -> None:
    await provision(kafka, topic_prefix)
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
    async with consumer(kafka, [ANOMALIES], topic_prefix, asyncio.Event(), group="g") as client:
        assert await read(client, 1) == [b"committed"]


async def read(client: AIOKafkaConsumer, count: int) -> list[bytes]:
    """The next so many values."""
    found: list[bytes] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            for records in (await client.getmany(timeout_ms=100)).values():
                found += [one.value for one in records]
    return found


def test_a_connection_that_was_just_closed_is_kafkas_trouble_also_on_uvloop(kafka: str) -> None:
    async def send_on_a_closed_connection() -> None:
        client = AIOKafkaClient(bootstrap_servers=kafka)
        await client.bootstrap()
        await client.force_metadata_update()
        try:
            (one,) = client._conns.values()
            one._writer.transport.abort()
            one._read_task.cancel()  # it has not noticed yet
            await asyncio.sleep(0.1)
            with pytest.raises(KafkaConnectionError):
                await one.send(MetadataRequest([]))
            assert await client.force_metadata_update(), "it connects again"
        finally:
            await client.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send_on_a_closed_connection())


async def test_a_consumer_stops_also_while_it_waits_to_fetch_again(kafka: str, topic_prefix: str) -> None:
    await provision(kafka, topic_prefix)
    async with consumer(kafka, [ANOMALIES], topic_prefix, asyncio.Event(), group="g") as client:
        waiting = asyncio.create_task(asyncio.sleep(60))
        client._fetcher._pending_tasks.add(waiting)
    assert waiting.cancelled()
    assert not any(one.connected() for one in client._client._conns.values())


async def test_only_a_fetch_that_holds_up_no_partition_waits_long(kafka: str, topic_prefix: str) -> None:
    """What is not taken yet is not asked for, and what comes there meanwhile waits for that answer."""
    await provision(kafka, topic_prefix)
    every = SCORES.partitions
    asked: set[tuple[int, int]] = set()
    async with (
        publisher(kafka, topic_prefix, asyncio.Event()) as out,
        consumer(kafka, [SCORES], topic_prefix, asyncio.Event(), group=None) as client,
    ):
        send = client._client.send

        def seen(node: int, request: Any, **how: Any) -> Awaitable[Any]:
            if isinstance(request, FetchRequest):
                asked.add((sum(len(partitions) for _, partitions in request.topics), request._max_wait_ms))
            return send(node, request, **how)

        client._client.send = seen
        await until(lambda: (every, IDLE_MS) in asked)
        await out.publish([Message(SCORES, b"key", b"not taken", ())])
        await until(lambda: any(count == every - 1 for count, _ in asked))
        assert asked == {(every, IDLE_MS), (every - 1, PROMPT.max_wait_ms)}
        assert await read(client, 1) == [b"not taken"]


async def test_lag_is_told_of_what_is_held_also_while_paused(kafka: str, topic_prefix: str) -> None:
    await provision(kafka, topic_prefix)
    registry = CollectorRegistry()
    metrics = ConsumerMetrics(registry, "some")
    name = ANOMALIES.named(topic_prefix)

    def lag() -> float:
        return sum(
            sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == "twinloop_some_lag_records" and sample.labels["topic"] == name
        )

    async with publisher(kafka, topic_prefix, asyncio.Event()) as out:
        await out.publish([message(b"1"), message(b"2")])
        async with consumer(
            kafka, [ANOMALIES], topic_prefix, asyncio.Event(), group="g", metrics=metrics
        ) as client:
            assert await read(client, 2) == [b"1", b"2"]
            await until(lambda: lag() == 0)
            client.pause(*client.assignment())
            await out.publish([message(b"3"), message(b"4"), message(b"5")])
            await until(lambda: lag() == 3)
            client.resume(*client.assignment())
            await read(client, 3)
            await until(lambda: lag() == 0)
    assert registry.get_sample_value("twinloop_some_rebalances_total") == 1


def test_partitions_that_went_away_are_not_shown() -> None:
    registry = CollectorRegistry()
    lags = ConsumerMetrics(registry, "some").lags()
    lags.show({TopicPartition("t", 0): Place(1, 6), TopicPartition("t", 1): Place(3, 10)})
    lags.show({TopicPartition("t", 1): Place(8, 10)})

    def shown(partition: str) -> float | None:
        return registry.get_sample_value("twinloop_some_lag_records", {"topic": "t", "partition": partition})

    assert (shown("0"), shown("1")) == (None, 2)


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
