"""What the stream engine relies on, asked of real Kafka and of the model of it: both must answer alike."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from support.topics import records
from support.waiting import TIMEOUT_S, until

from twinloop.contracts.codec import Message
from twinloop.contracts.topics import ANOMALIES, MODEL_MEMORY, TELEMETRY_FACTORY
from twinloop.runtime.kafka.clients import publisher
from twinloop.runtime.kafka.provision import provision
from twinloop.runtime.stream.errors import Fenced, TransactionFailed
from twinloop.runtime.stream.kafka import kafka_cluster
from twinloop.runtime.stream.memory import MemoryCluster, MemoryKafka
from twinloop.runtime.stream.ports import Cluster, TopicPartition
from twinloop.runtime.stream.recovery import Position

GROUP = "pairs"


@dataclass
class Side:
    """A cluster, and ways to see what is in it."""

    cluster: Cluster
    prefix: str
    append: Callable[[bytes], Awaitable[None]]
    found: Callable[[], Awaitable[list[bytes]]]

    @property
    def group(self) -> str:
        return self.prefix + GROUP

    async def becomes(self, found: list[bytes], committed: Position | None) -> None:
        """Soon, that is: the marks of a commit are written after it is acknowledged."""

        async def seen() -> bool:
            at = await self.cluster.committed(self.group, self.input)
            return await self.found() == found and at == committed

        await until(seen)

    @property
    def input(self) -> TopicPartition:
        return TopicPartition(TELEMETRY_FACTORY.named(self.prefix), 0)


@pytest.fixture(params=["kafka", "memory"])
async def side(request: pytest.FixtureRequest, kafka: str, topic_prefix: str) -> AsyncIterator[Side]:
    if request.param == "memory":
        broker = MemoryKafka()

        async def append_there(value: bytes) -> None:
            broker.append(TopicPartition(TELEMETRY_FACTORY.named(topic_prefix), 0), value)

        async def found_there() -> list[bytes]:
            return [one.value for one in broker.read(TopicPartition(ANOMALIES.named(topic_prefix), 0))]

        yield Side(MemoryCluster(broker, topic_prefix), topic_prefix, append_there, found_there)
        return
    await provision(kafka, topic_prefix)
    async with (
        kafka_cluster(kafka, topic_prefix, asyncio.Event(), deadline_s=TIMEOUT_S) as cluster,
        publisher(kafka, topic_prefix, asyncio.Event()) as out,
    ):

        async def append(value: bytes) -> None:
            await out._producer.send_and_wait(TELEMETRY_FACTORY.named(topic_prefix), value, partition=0)

        async def found() -> list[bytes]:
            return [one.value for one in await records(kafka, topic_prefix, ANOMALIES)]

        yield Side(cluster, topic_prefix, append, found)


def messages(*values: bytes) -> list[Message]:
    return [Message(ANOMALIES, b"k", one, ()) for one in values]


async def test_outputs_and_the_position_become_visible_together(side: Side) -> None:
    await side.append(b"input")
    producer = await side.cluster.producer("id-0")
    assert await side.cluster.committed(side.group, side.input) is None
    await producer.begin()
    await producer.send(messages(b"one", b"two"))
    await producer.move(side.group, side.input, Position.needing(1, 0))
    assert await side.cluster.committed(side.group, side.input) is None
    await producer.commit()
    await side.becomes([b"one", b"two"], Position.needing(1, 0))
    await producer.close()


async def test_the_next_owner_is_told_at_once_what_the_last_one_committed(side: Side) -> None:
    """The mark of a commit is written after its acknowledgement: the fence waits for it."""
    for n in range(1, 21):
        producer = await side.cluster.producer("id-0")
        assert await side.cluster.committed(side.group, side.input) == (Position(n - 1) if n > 1 else None)
        await producer.begin()
        await producer.send(messages(b"%d" % n))
        await producer.move(side.group, side.input, Position(n))
        await producer.commit()
        await producer.close()


async def test_several_transactions_one_after_the_other_keep_their_order(side: Side) -> None:
    producer = await side.cluster.producer("id-0")
    for n in range(20):
        await producer.begin()
        await producer.send(messages(*[b"%d" % n] * (n % 3)))
        await producer.move(side.group, side.input, Position(n + 1))
        await producer.commit()
    await producer.close()
    await side.becomes([b"%d" % n for n in range(20) for _ in range(n % 3)], Position(20))


async def test_a_new_owner_aborts_what_was_under_way_and_fences(side: Side) -> None:
    zombie = await side.cluster.producer("id-0")
    await zombie.begin()
    await zombie.send(messages(b"of the zombie"))
    await zombie.move(side.group, side.input, Position(7))
    owner = await side.cluster.producer("id-0")
    assert await side.cluster.committed(side.group, side.input) is None
    await owner.begin()
    await owner.send(messages(b"of the owner"))
    await owner.move(side.group, side.input, Position(1))
    with pytest.raises(Fenced):
        await zombie.commit()
    await owner.commit()
    await side.becomes([b"of the owner"], Position(1))
    await zombie.close()
    await owner.close()


async def test_a_zombie_that_begins_anew_is_fenced_too(side: Side) -> None:
    zombie = await side.cluster.producer("id-0")
    owner = await side.cluster.producer("id-0")

    async def whole() -> None:
        await zombie.begin()
        await zombie.send(messages(b"of the zombie"))
        await zombie.move(side.group, side.input, Position(7))
        await zombie.commit()

    with pytest.raises(Fenced):
        await whole()
    await zombie.close()
    await owner.close()
    assert await side.found() == []
    assert await side.cluster.committed(side.group, side.input) is None


async def test_a_zombie_that_goes_on_sending_is_fenced_too(side: Side) -> None:
    """aiokafka learns of a fence when a partition comes into the transaction: beside what its caller does,
    between two messages for one."""
    zombie = await side.cluster.producer("id-0")
    await zombie.begin()
    owner = await side.cluster.producer("id-0")

    async def on_and_on() -> None:
        for n in itertools.count():
            await zombie.send([Message(ANOMALIES, b"key %d" % n, b"of the zombie", ())])
            await asyncio.sleep(0.01)

    with pytest.raises(Fenced):
        await asyncio.wait_for(on_and_on(), 10)
    with pytest.raises(Fenced):
        await zombie.move(side.group, side.input, Position(7))
    await zombie.close()
    await owner.close()
    assert await side.found() == []


async def test_what_a_dead_producer_left_open_is_ended_by_the_next_owner(side: Side) -> None:
    dead = await side.cluster.producer("id-0")
    await dead.begin()
    await dead.send(messages(b"never"))
    await dead.move(side.group, side.input, Position(7))
    await dead.close()
    owner = await side.cluster.producer("id-0")
    await owner.begin()
    await owner.send(messages(b"after"))
    await owner.commit()
    await owner.close()
    await side.becomes([b"after"], None)


async def test_bounds_are_those_of_what_is_committed(side: Side) -> None:
    assert await side.cluster.bounds(side.input) == (0, 0)
    await side.append(b"a")
    await side.append(b"b")
    assert await side.cluster.bounds(side.input) == (0, 2)


async def test_the_newest_of_each_key_is_what_was_committed(side: Side) -> None:
    place = TopicPartition(MODEL_MEMORY.named(side.prefix), 3)
    assert await side.cluster.newest(place) == {}

    def kept(**values: bytes) -> list[Message]:
        return [Message(MODEL_MEMORY, key.encode(), one, (), 3) for key, one in values.items()]

    producer = await side.cluster.producer("id-0")
    for values in ({"a": b"1", "b": b"1"}, {"a": b"2"}):
        await producer.begin()
        await producer.send(kept(**values))
        await producer.commit()
    await producer.begin()
    await producer.send(kept(b=b"never"))
    next_owner = await side.cluster.producer("id-0")
    assert await side.cluster.newest(place) == {b"a": b"2", b"b": b"1"}
    assert await side.cluster.newest(place._replace(partition=4)) == {}
    await producer.close()
    await next_owner.close()


async def test_the_newest_waits_for_whoever_else_writes_there(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed behind an open transaction of another is not skipped."""
    place = TopicPartition(MODEL_MEMORY.named(side.prefix), 0)
    open_, done = await side.cluster.producer("id-0"), await side.cluster.producer("id-1")
    for producer in (open_, done):
        await producer.begin()
        await producer.send(
            [Message(MODEL_MEMORY, b"k", b"of the open one" if producer is open_ else b"v", (), 0)]
        )
    await done.commit()
    with monkeypatch.context() as patch:
        patch.setattr(side.cluster, "_deadline_s", 1.0, raising=False)
        with pytest.raises(TransactionFailed):
            await side.cluster.newest(place)
    fence = await side.cluster.producer("id-0")
    assert await side.cluster.newest(place) == {b"k": b"v"}
    for producer in (open_, done, fence):
        await producer.close()


async def test_a_position_of_no_partition_fails_within_the_deadline(kafka: str, topic_prefix: str) -> None:
    """aiokafka tries this again for ever."""
    async with kafka_cluster(kafka, topic_prefix, asyncio.Event(), deadline_s=TIMEOUT_S) as cluster:
        producer = await cluster.producer(f"{topic_prefix}id")
        await producer.begin()
        producer._deadline_s = 1.0  # of the step that is meant, not of what leads to it
        with pytest.raises(TransactionFailed, match="within 1 s"):
            await producer.move("group", TopicPartition("no-such-topic", 0), Position(1))
        await producer.close()


async def test_messages_for_a_topic_that_is_gone_fail_within_the_deadline(
    kafka: str, topic_prefix: str
) -> None:
    async with kafka_cluster(kafka, topic_prefix, asyncio.Event(), deadline_s=TIMEOUT_S) as cluster:
        producer = await cluster.producer(f"{topic_prefix}id")
        await producer.begin()
        producer._deadline_s = 1.0
        with pytest.raises(TransactionFailed, match="sending to"):
            await producer.send(messages(b"lost"))
        await producer.close()
