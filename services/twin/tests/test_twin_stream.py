"""The stream: what followers are told, who may follow, and what becomes of those who do not read."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from prometheus_client import CollectorRegistry
from support.twins import ASSET, OTHER, Twin, control, joint, promotion, proposed
from support.waiting import until

from twinloop.contracts.changes import Parameter
from twinloop.contracts.controls import Overridden
from twinloop.contracts.modes import Mode
from twinloop.runtime.health import Health, serve
from twinloop.twin.app import tell
from twinloop.twin.metrics import Metrics
from twinloop.twin.stream import Client, Hub, TooSlow


def test_a_client_without_room_is_slow_and_stays_so() -> None:
    async def play() -> None:
        client = Client(3)
        for n in range(3):
            client.offer(str(n))
        assert [await client.next() for _ in range(3)] == ["0", "1", "2"]
        for n in range(4):
            client.offer(str(n))
        client.offer("later")
        for _ in range(2):
            with pytest.raises(TooSlow, match="more than 3"):
                await client.next()

    asyncio.run(play())


async def test_one_slow_client_costs_the_others_nothing() -> None:
    hub = Hub(10, Metrics(CollectorRegistry()))
    with hub.follower() as slow, hub.follower() as quick:
        got = []
        for n in range(25):
            hub.tell("event", n)
            got.append(json.loads(await quick.next()))
        assert got == [{"kind": "event", "event": n} for n in range(25)]
        assert slow.slow.is_set()
        assert not quick.slow.is_set()


class Pages:
    """What `tell` asks of a journal."""

    def __init__(self, twin: Twin) -> None:
        self.states = twin.ledgers
        self.at = twin.at


@pytest.fixture
async def twin(tmp_path: Path) -> Twin:
    made = Twin(tmp_path)
    made.read(*promotion(Mode.SUPERVISED))
    return made


@pytest.fixture
async def url(twin: Twin) -> AsyncIterator[str]:
    async with serve(Health(), CollectorRegistry(), "127.0.0.1", 0, twin.api) as port:
        yield f"ws://127.0.0.1:{port}/stream"


def turn(twin: Twin) -> None:
    pages: Any = Pages(twin)
    tell(twin.hub, twin.mirror, pages, twin.joints)


async def next_of(socket: Any) -> dict[str, Any]:
    async with asyncio.timeout(10):
        told: dict[str, Any] = json.loads(await socket.recv())
    return told


def as_person(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


async def test_a_follower_is_told_the_shadows_then_each_event_and_each_shadow_that_changed(
    twin: Twin, url: str
) -> None:
    turn(twin)  # what was known before is no news
    async with websockets.connect(url, additional_headers=as_person("vera")) as socket:
        first = [await next_of(socket) for _ in range(2)]
        assert {one["shadow"]["asset"] for one in first} == {ASSET, OTHER}
        twin.read(proposed(mode=Mode.SUPERVISED))
        turn(twin)
        event, shadow = await next_of(socket), await next_of(socket)
        assert (event["kind"], event["event"]["type"], event["event"]["change_id"]) == (
            "event",
            "proposed",
            "c",
        )
        assert shadow["shadow"]["in_flight"]["state"] == "proposed"
        # A joint with the same setpoints is no change of a shadow but for the first one.
        for n in (1, 2, 3):
            twin.joints.made(joint(n))
            turn(twin)
        over = Overridden(
            **control("over"), parameter=Parameter.LASER_POWER_W, value=950.0, expected=1000.0, reason="x"
        )
        twin.read(over)
        turn(twin)
        told = [await next_of(socket) for _ in range(3)]
        assert [one["kind"] for one in told] == ["shadow", "event", "shadow"]
        assert told[0]["shadow"]["reported"]["laser_power_w"]["by"] == "joint"
        assert told[2]["shadow"]["mode"]["manual"] is True
        assert told[2]["shadow"]["desired"]["laser_power_w"] == {"value": 950.0, "by": "operator"}


@pytest.mark.parametrize("headers", [{}, as_person("mallory")])
async def test_nobody_unknown_follows(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        async with websockets.connect(url, additional_headers=headers):
            pass
    assert refused.value.response.status_code == 401
    assert b"problem" in (refused.value.response.body or b"")


async def test_who_does_not_read_is_let_go_and_the_twin_does_not_wait(twin: Twin, url: str) -> None:
    big = secrets.token_hex(200_000)  # what compresses well would never fill a socket
    async with websockets.connect(
        url, additional_headers=as_person("vera"), max_queue=1, close_timeout=1, max_size=None
    ) as socket:
        await until(lambda: _value(twin, "stream_clients") == 1)
        for _ in range(400):
            twin.hub.tell("event", big)
            await asyncio.sleep(0)
        await until(lambda: _value(twin, "stream_clients") == 0)
        assert _value(twin, "stream_dropped_total") == 1
        closed = None
        try:
            async with asyncio.timeout(20):
                while True:
                    await socket.recv()
        except websockets.exceptions.ConnectionClosed as error:
            closed = error
        assert closed is not None


async def test_who_goes_is_forgotten(twin: Twin, url: str) -> None:
    async with websockets.connect(url, additional_headers=as_person("vera")):
        await until(lambda: _value(twin, "stream_clients") == 1)
    await until(lambda: _value(twin, "stream_clients") == 0)


def _value(twin: Twin, name: str) -> float:
    return twin.registry.get_sample_value(f"twinloop_twin_{name}") or 0.0
