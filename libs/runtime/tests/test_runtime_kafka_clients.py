"""A client that cannot be started is told of, and one that is given up leaves no connection behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import AuthenticationFailedError, KafkaError
from support.waiting import until

from twinloop.runtime.health import Health
from twinloop.runtime.kafka import mends
from twinloop.runtime.kafka.clients import not_started, started


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


class Refused:
    """A client that Kafka lets in at the second try."""

    tries = 0

    async def start(self) -> None:
        self.tries += 1
        if self.tries == 1:
            raise AuthenticationFailedError("bad password")

    async def stop(self) -> None:
        pass


async def test_while_one_is_tried_again_readiness_says_why() -> None:
    health, client = Health(kafka=not_started), Refused()
    assert health.missing() == {"service": "starting"}
    starting = asyncio.create_task(started(lambda: client, asyncio.Event(), "test"))
    await until(lambda: "kafka" in health.missing())
    assert "bad password" in health.missing()["kafka"]
    assert await starting is client
    health.add("routes", lambda: None)
    assert health.missing() == {}


async def test_a_stop_that_cancels_itself_is_one() -> None:
    client: Any = Client(asyncio.CancelledError())
    await mends.stop(client)
    assert client._client.closed


async def test_a_stop_that_fails_closes_and_tells() -> None:
    client: Any = Client(KafkaError("the coordinator is away"))
    with pytest.raises(KafkaError, match="coordinator"):
        await mends.stop(client)
    assert client._client.closed
