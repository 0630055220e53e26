"""What a group is told of its positions while Kafka starts: the truth, or nothing yet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import CoordinatorLoadInProgressError
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3
from aiokafka.structs import OffsetAndMetadata

from twinloop.contracts.topics import TELEMETRY_FACTORY
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.clients import consumer
from twinloop.runtime.kafka.provision import provision
from twinloop.runtime.stream import ports
from twinloop.runtime.stream.errors import TransactionFailed
from twinloop.runtime.stream.kafka import KafkaCluster, kafka_cluster

GROUP, RESTARTS, COMMITS = "g", 2, 300
INPUT = ports.TopicPartition(TELEMETRY_FACTORY.name, 0)


async def test_a_position_is_never_taken_for_none_while_kafka_starts(tmp_path: Path) -> None:
    async with Stack(tmp_path / "stack", parts=("kafka",)) as stack:
        kafka, stopping = stack.endpoints.kafka, asyncio.Event()
        await provision(kafka, "")
        async with kafka_cluster(kafka, "", stopping) as cluster:
            async with consumer(kafka, [TELEMETRY_FACTORY], "", stopping, group=GROUP) as client:
                for n in range(COMMITS):  # so that to load them takes a while
                    much = OffsetAndMetadata(n + 1, "m" * 4000)
                    await client.commit(dict.fromkeys(client.assignment(), much))
            told: set[int | None] = set()
            asking = asyncio.create_task(ask(cluster, told))
            for _ in range(RESTARTS):
                await stack.kill("kafka")
                await stack.start("kafka")
                told.clear()
                async with asyncio.timeout(30):
                    while COMMITS not in told:
                        await asyncio.sleep(0.05)
                assert told == {COMMITS}
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def ask(cluster: KafkaCluster, told: set[int | None]) -> None:
    """For ever."""
    while True:
        try:
            at = await cluster.committed(GROUP, INPUT)
        except TransactionFailed:
            await asyncio.sleep(0.001)
        else:
            told.add(None if at is None else at.offset)
            await asyncio.sleep(0.001)


async def test_a_consumer_asks_again_while_its_coordinator_loads(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provision(kafka, topic_prefix)
    send, asked = AIOKafkaClient.send, 0

    async def first_loading(self: AIOKafkaClient, node: int, request: Any, **how: Any) -> Any:
        nonlocal asked
        if isinstance(request, OffsetFetchRequest):
            asked += 1
            if asked <= 2:
                return OffsetFetchResponse_v3(0, [], CoordinatorLoadInProgressError.errno)
        return await send(self, node, request, **how)

    async with consumer(kafka, [TELEMETRY_FACTORY], topic_prefix, asyncio.Event(), group=GROUP) as client:
        one = TopicPartition(TELEMETRY_FACTORY.named(topic_prefix), 0)
        await client.commit({one: 7})
        monkeypatch.setattr(AIOKafkaClient, "send", first_loading)
        assert await client._coordinator.fetch_committed_offsets([one]) == {one: OffsetAndMetadata(7, "")}
    assert asked >= 3
