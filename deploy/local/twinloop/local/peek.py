"""The last records of a topic as lines, for a look without kcat."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from twinloop.local.errors import CannotStart
from twinloop.runtime.kafka.access import Kafka, client_of

_WAIT_MS = 500
_WAITS = 20
_OFFSETS_A_RECORD = 4
"""So many offsets are looked at for each record that is wanted: the ends of transactions have some, too."""


async def last_records(kafka: Kafka, topic: str, count: int, *, follow: bool) -> AsyncIterator[str]:
    """The last `count` committed records of each partition by time of arrival, then new ones when `follow`.

    Raises `CannotStart` when there is no such topic.
    """
    async with AIOKafkaConsumer(**client_of(kafka)) as asking:
        if topic not in await asking.topics():
            raise CannotStart(f"There is no topic {topic} on {kafka}: see `make open` for those there are.")
    async with AIOKafkaConsumer(topic, **client_of(kafka), isolation_level="read_committed") as consumer:
        partitions = list(consumer.assignment())
        begin, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        for one in partitions:
            consumer.seek(one, max(begin[one], end[one] - _OFFSETS_A_RECORD * count))
        for record in await _newest(consumer, end, count):
            yield line(record)
        while follow:
            for record in _by_time(await consumer.getmany(timeout_ms=_WAIT_MS)):
                yield line(record)


async def _newest(
    consumer: AIOKafkaConsumer, end: Mapping[TopicPartition, int], count: int
) -> list[ConsumerRecord]:
    """Of each partition the newest `count` that are read up to its `end`."""
    kept: dict[TopicPartition, deque[ConsumerRecord]] = {one: deque(maxlen=count) for one in end}
    for _ in range(_WAITS):
        if all([await consumer.position(one) >= offset for one, offset in end.items()]):
            break
        for one, records in (await consumer.getmany(timeout_ms=_WAIT_MS)).items():
            kept[one].extend(records)
    return _by_time(kept)


def _by_time(
    batches: Mapping[TopicPartition, list[ConsumerRecord] | deque[ConsumerRecord]],
) -> list[ConsumerRecord]:
    records = [record for batch in batches.values() for record in batch]
    return sorted(records, key=lambda record: record.timestamp)


def line(record: ConsumerRecord) -> str:
    """Partition, offset, key and value; a value that is no text is given by its size."""
    value = record.value
    try:
        shown = "(tombstone)" if value is None else value.decode()
    except UnicodeDecodeError:
        shown = f"({len(value)} bytes)"
    key = record.key.decode(errors="replace") if record.key else "-"
    return f"{record.partition}@{record.offset} {key} {shown}"
