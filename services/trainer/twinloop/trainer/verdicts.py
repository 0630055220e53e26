"""Reads back what the detector has said of recorded assets, once it has judged everything that was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from twinloop.contracts.codec import decode
from twinloop.contracts.events import Anomaly, Verdict
from twinloop.contracts.topics import ANOMALIES, SCORES, TELEMETRY_FACTORY, Topic
from twinloop.runtime.kafka.access import Kafka, client_of
from twinloop.runtime.kafka.clients import consumer
from twinloop.trainer.errors import NotScored

DETECTOR_GROUP = "detector"
_LOOK_EVERY_S = 0.25


@dataclass(slots=True)
class Judged:
    """What was said of one asset's rows: those that have a verdict, and those that are anomalous."""

    rows: set[int] = field(default_factory=set)
    anomalous: set[int] = field(default_factory=set)


async def caught_up(kafka: Kafka, prefix: str, timeout_s: float) -> None:
    """Return once the detector has committed all of the telemetry that is there now. Raises `NotScored`."""
    topic = TELEMETRY_FACTORY
    partitions = [TopicPartition(topic.named(prefix), n) for n in range(topic.partitions)]
    admin = AIOKafkaAdminClient(**client_of(kafka))
    client = AIOKafkaConsumer(**client_of(kafka))
    behind = -1
    try:
        async with asyncio.timeout(timeout_s):
            await admin.start()
            await client.start()
            ends = await client.end_offsets(partitions)
            while behind:
                try:
                    committed = await admin.list_consumer_group_offsets(prefix + DETECTOR_GROUP)
                except KafkaError:  # a cluster's first group: its coordinator comes up when asked for
                    await asyncio.sleep(_LOOK_EVERY_S)
                    continue
                done = {one: at.offset for one, at in committed.items()}
                behind = sum(max(0, end - max(0, done.get(one, 0))) for one, end in ends.items())
                if behind:
                    await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        left = "does not answer" if behind < 0 else f"still has {behind} frames to judge"
        raise NotScored(f"after {timeout_s:g} s the detector {left}") from None
    finally:
        await client.stop()
        await admin.close()


async def judged(kafka: Kafka, prefix: str, assets: Sequence[str]) -> dict[str, Judged]:
    """What `scores` and `anomalies` say of `assets`. Raises as `fold` does."""
    return fold([one async for one in _events(kafka, prefix, (SCORES, ANOMALIES))], assets)


def fold(events: Iterable[Verdict | Anomaly], assets: Sequence[str]) -> dict[str, Judged]:
    """What they say of `assets`, whose frames hold one row each; verdicts of versions that only shadow say
    nothing. Of a row on which several versions have decided, the newest verdict counts.

    Raises `NotScored` when frames hold more than one row, or the two topics contradict each other.
    """
    newest: dict[tuple[str, int], Verdict] = {}
    anomalies: set[tuple[str, int, str, int]] = set()
    wanted = set(assets)
    for event in events:
        if event.asset not in wanted:
            continue
        if event.row:
            raise NotScored(f"{event.asset} was sent with several rows a frame: replay it with one")
        if isinstance(event, Anomaly):
            anomalies.add((event.asset, event.sequence, event.model, event.model_version))
        elif event.decides:
            newest[event.asset, event.sequence] = event
    found = {asset: Judged() for asset in assets}
    for (asset, row), verdict in newest.items():
        found[asset].rows.add(row)
        told = (asset, row, verdict.model, verdict.model_version) in anomalies
        if told != verdict.anomalous:
            raise NotScored(f"{asset}, row {row}: scores and anomalies contradict each other")
        if told:
            found[asset].anomalous.add(row)
    return found


async def _events(kafka: Kafka, prefix: str, topics: Sequence[Topic]) -> AsyncIterator[Verdict | Anomaly]:
    """Every committed record of `topics` that is there now."""
    by_name = {topic.named(prefix): topic for topic in topics}
    async with consumer(kafka, topics, prefix, asyncio.Event(), group=None, max_poll_records=5000) as client:
        ends = await client.end_offsets(client.assignment())
        while any([await client.position(one) < end for one, end in ends.items()]):
            for one, records in (await client.getmany(timeout_ms=100)).items():
                for record in records:
                    if record.offset < ends[one]:
                        yield decode(by_name[one.topic], record.value)
