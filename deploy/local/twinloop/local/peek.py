"""The last records of a topic as lines, for a look without kcat."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from twinloop.local.errors import CannotStart

_WAIT_MS = 500


async def last_records(kafka: str, topic: str, count: int, *, follow: bool) -> AsyncIterator[str]:
    """The last `count` committed records of each partition by time of arrival, then new ones when `follow`.

    Raises `CannotStart` when there is no such topic.
    """
    async with AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed") as consumer:
        if topic not in await consumer.topics():
            raise CannotStart(f"There is no topic {topic} on {kafka}: see `make open` for those there are.")
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        begin, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, max(begin[partition], end[partition] - count))
        while True:
            batches = await consumer.getmany(timeout_ms=_WAIT_MS)
            records = [record for batch in batches.values() for record in batch]
            for record in sorted(records, key=lambda record: record.timestamp):
                yield line(record)
            if not follow and not records:
                return


def line(record: ConsumerRecord) -> str:
    """Partition, offset, key and value; a value that is no text is given by its size."""
    value = record.value
    try:
        shown = "(tombstone)" if value is None else value.decode()
    except UnicodeDecodeError:
        shown = f"({len(value)} bytes)"
    key = record.key.decode(errors="replace") if record.key else "-"
    return f"{record.partition}@{record.offset} {key} {shown}"
