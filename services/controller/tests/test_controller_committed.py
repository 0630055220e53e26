"""Nothing is read while a consumer goes back to the committed offsets, and a commit waits for the whole
changelog: what was buffered, and what is on its way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import Consumer, Producer

from twinloop.controller.committed import CommittedConsumer, WholeProducer


class Buffered(WholeProducer):
    """A producer whose buffer never says how much is in it, as Faust's when it has given up."""

    def __init__(self) -> None:
        self._unacknowledged: set[asyncio.Future[Any]] = set()


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Buffered:
    async def gives_up(self: Any) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(Producer, "flush", gives_up)
    monkeypatch.setattr(Producer, "send_soon", lambda self, fut: None)
    return Buffered()


async def test_flushed_is_what_kafka_has_acknowledged(producer: Buffered) -> None:
    sent = [asyncio.get_running_loop().create_future() for _ in range(2)]
    for one in sent:
        producer.send_soon(one)
    flushing = asyncio.create_task(producer.flush())
    sent[0].set_result(None)
    done, _ = await asyncio.wait({flushing}, timeout=0.05)
    assert not done
    sent[1].set_result(None)
    await asyncio.wait_for(flushing, 5)
    await asyncio.wait_for(producer.flush(), 5)


async def test_what_kafka_does_not_take_is_not_committed(producer: Buffered) -> None:
    sent = asyncio.get_running_loop().create_future()
    producer.send_soon(sent)
    sent.set_exception(RuntimeError("no space left"))
    with pytest.raises(RuntimeError, match="no space"):
        await producer.flush()


async def test_what_comes_meanwhile_is_for_the_next_commit(producer: Buffered) -> None:
    flushing = asyncio.create_task(producer.flush())
    await asyncio.sleep(0)  # it has begun
    producer.send_soon(asyncio.get_running_loop().create_future())
    await asyncio.wait_for(flushing, 5)


class Seeking(CommittedConsumer):
    """A consumer whose records flow, as when a table is restored."""

    def __init__(self) -> None:
        self.flow_active = True
        self.can_resume_flow, self.suspend_flow = asyncio.Event(), asyncio.Event()


async def test_nothing_flows_while_it_goes_back_and_until_it_is_let(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    async def seek(self: Any) -> None:
        seen.append(self.flow_active or not self.suspend_flow.is_set())

    monkeypatch.setattr(Consumer, "perform_seek", seek)
    consumer = Seeking()
    await consumer.perform_seek()
    assert seen == [False]
    assert not consumer.flow_active
    consumer.resume_flow()
    assert consumer.flow_active
