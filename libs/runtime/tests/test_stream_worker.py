"""A worker's transactions: positions that nothing goes with are put off, and never lost."""

from __future__ import annotations

from support.states import Follower

from twinloop.contracts.codec import Message
from twinloop.contracts.topics import ANOMALIES
from twinloop.runtime.stream.memory import MemoryCluster, MemoryKafka
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.recovery import Position, Resume
from twinloop.runtime.stream.worker import Worker

GROUP, INPUT = "g", TopicPartition("in", 0)
OFTEN, SELDOM = 0.0, 10_000.0
SOME = [Message(ANOMALIES, b"k", b"v", ())]


async def worker(cluster: MemoryCluster) -> Worker[None]:
    return Worker(INPUT, GROUP, await cluster.producer("g-in-0"), Follower(), Resume(0, 0))


async def test_a_position_that_nothing_goes_with_is_put_off_until_it_is_due() -> None:
    cluster = MemoryCluster(MemoryKafka(), "")
    one = await worker(cluster)
    assert await one.commit(SOME, Position(3), every_s=SELDOM)
    assert not await one.commit((), Position(5), every_s=SELDOM)
    assert await cluster.committed(GROUP, INPUT) == Position(3)
    assert one.put_off() == Position(5)
    assert await one.commit((), Position(6), every_s=OFTEN)
    assert await cluster.committed(GROUP, INPUT) == Position(6)
    assert one.put_off() is None


async def test_messages_take_what_was_put_off_along() -> None:
    cluster = MemoryCluster(MemoryKafka(), "")
    one = await worker(cluster)
    await one.commit(SOME, Position(1), every_s=SELDOM)
    await one.commit((), Position(5), every_s=SELDOM)
    assert await one.commit(SOME, Position(7), every_s=SELDOM)
    assert await cluster.committed(GROUP, INPUT) == Position(7)
    assert one.put_off() is None


async def test_closing_commits_what_was_put_off_unless_the_worker_is_lost() -> None:
    for lost, committed in ((False, Position(5)), (True, Position(1))):
        cluster = MemoryCluster(MemoryKafka(), "")
        one = await worker(cluster)
        await one.commit(SOME, Position(1), every_s=SELDOM)
        await one.commit((), Position(5), every_s=SELDOM)
        one.lost = lost
        await one.close()
        assert await cluster.committed(GROUP, INPUT) == committed
