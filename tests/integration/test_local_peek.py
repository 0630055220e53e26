"""`python -m twinloop.local read`: what it shows of a topic that transactions write to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer

from twinloop.contracts.topics import SCORES
from twinloop.local.errors import CannotStart
from twinloop.local.peek import last_records
from twinloop.runtime.kafka.provision import provision


@pytest.fixture
async def writer(kafka: str, topic_prefix: str) -> AsyncIterator[AIOKafkaProducer]:
    await provision(kafka, topic_prefix)
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{topic_prefix}writer") as made:
        yield made


async def write(writer: AIOKafkaProducer, topic: str, *values: str) -> None:
    """Each in a transaction of its own, in turn to two partitions."""
    for n, value in enumerate(values):
        async with writer.transaction():
            await writer.send_and_wait(topic, value.encode(), b"key", partition=n % 2)


async def test_it_shows_the_last_records_of_each_partition_and_no_aborted_ones(
    kafka: str, topic_prefix: str, writer: AIOKafkaProducer
) -> None:
    topic = SCORES.named(topic_prefix)
    await write(writer, topic, *(f"v{n}" for n in range(8)))
    await writer.begin_transaction()
    await writer.send_and_wait(topic, b"aborted", partition=0)
    await writer.abort_transaction()
    async with asyncio.timeout(30):
        said = [one.split(" ", 1) async for one in last_records(kafka, topic, 2, follow=False)]
    assert [(place.partition("@")[0], shown) for place, shown in said] == [
        ("0", "key v4"),
        ("1", "key v5"),
        ("0", "key v6"),
        ("1", "key v7"),
    ]


async def test_it_follows_what_comes(kafka: str, topic_prefix: str, writer: AIOKafkaProducer) -> None:
    topic = SCORES.named(topic_prefix)
    await write(writer, topic, "old")
    following = last_records(kafka, topic, 1, follow=True)
    async with asyncio.timeout(30):
        assert (await anext(following)).endswith("key old")
        coming = asyncio.ensure_future(anext(following))
        await write(writer, topic, "new")
        assert (await coming).endswith("key new")
    await following.aclose()


async def test_a_topic_that_is_not_there_is_one_sentence(kafka: str) -> None:
    with pytest.raises(CannotStart, match="There is no topic nothing"):
        await anext(last_records(kafka, "nothing", 1, follow=False))
