"""What ingest says of itself on a broker of paper: when it is there, and never that it is when it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Self

import aiomqtt
import pytest
from prometheus_client import CollectorRegistry
from support.waiting import until

from twinloop.ingest.metrics import Metrics
from twinloop.ingest.mqtt import FILTERS, MqttSource
from twinloop.ingest.settings import Mqtt
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.mqtt import MqttAccess
from twinloop.sparkplug import State, encode_state, parse_state, state_topic

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
STATE = state_topic("h")


@dataclass
class Broker:
    """`happened`, in order: what a client subscribed to, said of itself, and did. `refuses` subscriptions."""

    happened: list[object] = field(default_factory=list)
    wills: list[State] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    refuses: bool = False

    def client(self, *_: Any, will: aiomqtt.Will, queue_type: type, **__: Any) -> Client:
        assert (will.topic, will.qos, will.retain) == (STATE, 1, True)
        self.wills.append(parse_state(will.payload))  # type: ignore[arg-type]
        self.clients.append(Client(self, queue_type()))
        return self.clients[-1]

    def say(self, topic: str, payload: bytes, *, retained: bool = False, mid: int = 1) -> None:
        self.clients[-1].arrivals.put_nowait(aiomqtt.Message(topic, payload, 1, retained, mid, None))


class Client:
    """As much of aiomqtt's, and of the paho client inside it, as ingest uses."""

    def __init__(self, broker: Broker, arrivals: asyncio.Queue[aiomqtt.Message]) -> None:
        self._broker = broker
        self._lost = asyncio.Event()
        self.arrivals = arrivals
        self._client = SimpleNamespace(
            manual_ack_set=lambda _: None,
            socket=lambda: None,
            ack=lambda mid, _: broker.acknowledged.append(mid),
        )

    def lose(self) -> None:
        self._lost.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._lost.is_set():
            self._broker.happened.append("disconnected")

    async def subscribe(self, filters: list[tuple[str, int]]) -> tuple[int, ...]:
        self._broker.happened.append([one for one, _ in filters])
        return tuple(0x80 if self._broker.refuses else qos for _, qos in filters)

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool, **_: Any) -> None:
        if self._lost.is_set():
            raise aiomqtt.MqttError("no connection")
        assert (topic, qos, retain) == (STATE, 1, True)
        self._broker.happened.append(parse_state(payload))

    @property
    async def messages(self) -> AsyncIterator[aiomqtt.Message]:
        await self._lost.wait()
        raise aiomqtt.MqttError("disconnected")
        yield


@dataclass
class Scene:
    broker: Broker
    source: MqttSource
    clock: ManualClock
    running: asyncio.Task[None]
    stopping: asyncio.Event

    async def stop(self) -> None:
        """As the service does: what has come is worked off."""
        self.stopping.set()
        while await self.source.group():
            pass
        await self.running


@asynccontextmanager
async def scene(patch: pytest.MonkeyPatch, broker: Broker) -> AsyncIterator[Scene]:
    patch.setattr(aiomqtt, "Client", broker.client)
    clock, stopping = ManualClock(NOW), asyncio.Event()
    settings = Mqtt(MqttAccess("broker", 1883), "c", "h", 1_000_000)
    source = MqttSource(settings, clock, Metrics(CollectorRegistry()))
    one = Scene(broker, source, clock, asyncio.create_task(source.run(stopping)), stopping)
    try:
        yield one
    finally:
        one.running.cancel()
        await asyncio.gather(one.running, return_exceptions=True)


async def test_it_is_online_once_its_subscriptions_are_granted_and_offline_before_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker()
    async with scene(monkeypatch, broker) as one:
        await until(lambda: one.source.problem() is None)
        one.clock.advance(5)
        await one.stop()
    subscribed, *rest = broker.happened
    assert subscribed == [STATE, *FILTERS]
    assert rest == [State(True, NOW_MS), State(False, NOW_MS + 5000), "disconnected"]
    assert broker.wills == [State(False, NOW_MS)]


async def test_a_service_that_ends_by_an_error_does_not_leave_as_if_it_were_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker()
    async with scene(monkeypatch, broker) as one:
        await until(lambda: one.source.problem() is None)
        one.running.cancel()
        await asyncio.gather(one.running, return_exceptions=True)
    assert broker.happened[1:] == [State(True, NOW_MS), State(False, NOW_MS), "disconnected"]


async def test_who_is_refused_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(refuses=True)
    async with scene(monkeypatch, broker) as one:
        await until(lambda: "disconnected" in broker.happened)
        assert "refused" in (one.source.problem() or "")
    assert not any(isinstance(one, State) for one in broker.happened)


async def test_after_a_lost_connection_a_later_session_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    async with scene(monkeypatch, broker) as one:
        await until(lambda: one.source.problem() is None)
        broker.clients[-1].lose()
        await until(lambda: len(broker.clients) == 2 and one.source.problem() is None)
        assert broker.happened[1:] == [State(True, NOW_MS), [STATE, *FILTERS], State(True, NOW_MS + 1)]
        assert broker.wills == [State(False, NOW_MS), State(False, NOW_MS + 1)]


async def test_it_contradicts_who_says_that_it_is_offline_and_takes_no_state_for_telemetry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker()
    async with scene(monkeypatch, broker) as one:
        await until(lambda: one.source.problem() is None)
        broker.say(state_topic("another"), encode_state(State(False, NOW_MS)), mid=7)
        broker.say(STATE, b"OFFLINE", mid=8)
        broker.say(STATE, encode_state(State(True, NOW_MS)), mid=9)
        broker.say(STATE, encode_state(State(False, NOW_MS)), mid=10)
        broker.say("vehicles/x/telemetry", b"{}", mid=11)
        await until(lambda: len(broker.happened) == 3)
        assert broker.happened[1:] == [State(True, NOW_MS)] * 2
        assert [message.mid for message in await one.source.group()] == [11]
        assert broker.acknowledged == [7, 8, 9, 10]


async def test_it_connects_again_when_edge_nodes_know_of_a_later_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker()
    async with scene(monkeypatch, broker) as one:
        await until(lambda: one.source.problem() is None)
        broker.say(STATE, encode_state(State(False, NOW_MS + 60_000)), retained=True)
        await until(lambda: len(broker.clients) == 2 and one.source.problem() is None)
        assert broker.wills[-1] == State(False, NOW_MS + 60_001)
