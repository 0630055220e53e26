"""A client that is given up leaves no connection behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from twinloop.runtime.kafka import mends
from twinloop.runtime.kafka.clients import started


class Connections:
    """As aiokafka's client, which holds them."""

    closed = False

    async def close(self) -> None:
        self.closed = True


class Client:
    """A consumer whose start takes for ever, and whose stop ends in `error` before anything is closed."""

    def __init__(self, error: BaseException | None = None) -> None:
        self._client = Connections()
        self.error = error
        self.starting = asyncio.Event()

    async def start(self) -> None:
        self.starting.set()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        if self.error is not None:
            raise self.error
        await self._client.close()


async def test_one_whose_start_is_cancelled_is_stopped() -> None:
    client = Client()
    starting = asyncio.create_task(started(lambda: client, asyncio.Event(), "test"))
    await client.starting.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert client._client.closed


async def test_a_stop_that_cancels_itself_is_one() -> None:
    client: Any = Client(asyncio.CancelledError())
    await mends.stop(client)
    assert client._client.closed


async def test_a_stop_that_fails_closes_and_tells() -> None:
    client: Any = Client(KafkaError("the coordinator is away"))
    with pytest.raises(KafkaError, match="coordinator"):
        await mends.stop(client)
    assert client._client.closed
