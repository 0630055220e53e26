"""Reading what services have published, and waiting for it."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from twinloop.contracts.codec import Undecodable, decode
from twinloop.contracts.topics import Topic


async def records(kafka: str, prefix: str, topic: Topic) -> list[ConsumerRecord]:
    """Every committed record of a topic."""
    client = AIOKafkaConsumer(
        bootstrap_servers=kafka, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await client.start()
    try:
        partitions = [TopicPartition(topic.named(prefix), n) for n in range(topic.partitions)]
        client.assign(partitions)
        ends = await client.end_offsets(partitions)
        found = []
        while any([await client.position(one) < end for one, end in ends.items()]):
            for batch in (await client.getmany(timeout_ms=100)).values():
                found += batch
        return found
    finally:
        await client.stop()


async def events(kafka: str, prefix: str, topic: Topic) -> list[Any]:
    """The same as events, without the garbage that a test sent."""
    found = []
    for record in await records(kafka, prefix, topic):
        try:
            found.append(decode(topic, record.value))
        except Undecodable:
            continue
    return found
