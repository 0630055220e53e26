"""The edge node on a broker of paper: what leaves, in which order, when its host or its broker goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import aiomqtt
import pytest
from prometheus_client import CollectorRegistry
from support.waiting import until

from twinloop.runtime.clock import ManualClock
from twinloop.runtime.mqtt import MqttAccess
from twinloop.simulator.backlog import Backlog
from twinloop.simulator.campaign import Campaign
from twinloop.simulator.edge import EdgeNode
from twinloop.simulator.faults import DataBeforeBirth, Duplicate, Fault, Late
from twinloop.simulator.metrics import Metrics
from twinloop.simulator.plant import Plant, StationSpec
from twinloop.simulator.plc_state import Range
from twinloop.sparkplug import (
    DataBeforeBirth as Unborn,
)
from twinloop.sparkplug import (
    DeviceData,
    HostState,
    MessageType,
    NodeId,
    State,
    decode,
    encode_rebirth_command,
    encode_state,
    parse_topic,
    state_topic,
)

NODE = NodeId("acme.berlin", "packs.line1")
SPEC = StationSpec("cu-al-tab-7", Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25))
COMMANDS = "spBv1.0/acme.berlin/NCMD/packs.line1"


@dataclass
class Broker:
    """What it was sent, and what it says. `away`: it closes every connection and takes none."""

    sent: list[tuple[str, bytes]] = field(default_factory=list)
    connections: list[asyncio.Queue[aiomqtt.Message | None]] = field(default_factory=list)
    subscribed: list[str] = field(default_factory=list)
    away: bool = False

    def say(self, topic: str, payload: bytes) -> None:
        self.connections[-1].put_nowait(aiomqtt.Message(topic, payload, 1, False, 1, None))

    def break_down(self) -> None:
        self.away = True
        self.connections[-1].put_nowait(None)

    def client(self, *_: Any, **__: Any) -> Client:
        return Client(self)

    @property
    def kinds(self) -> list[str]:
        """The types of the messages that were sent."""
        return [str(parse_topic(topic).type) for topic, _ in self.sent]

    def parts(self) -> list[tuple[int, bool]]:
        """Of each part that a host hears: counter, and whether it is told of afterwards."""
        state, heard = HostState(), []
        for topic, payload in self.sent:
            try:
                found = decode(topic, payload, state)
            except Unborn:
                continue
            for event in found:
                if isinstance(event, DeviceData):
                    counter = event.metrics["Part/Counter"]
                    heard.append((int(counter.value), counter.historical))  # type: ignore[arg-type]
        return heard


class Client:
    """As much of aiomqtt's as the edge node uses."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._incoming: asyncio.Queue[aiomqtt.Message | None] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        if self._broker.away:
            raise aiomqtt.MqttError("refused")
        self._broker.connections.append(self._incoming)
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def subscribe(self, topic: str, *, qos: int) -> None:
        self._broker.subscribed.append(topic)

    async def publish(self, topic: str, payload: bytes, *, qos: int) -> None:
        if self._broker.away:
            raise aiomqtt.MqttError("no connection")
        self._broker.sent.append((topic, payload))

    @property
    async def messages(self) -> AsyncIterator[aiomqtt.Message]:
        while (one := await self._incoming.get()) is not None:
            yield one
        raise aiomqtt.MqttError("disconnected")


@dataclass
class Scene:
    """An edge node at work, and the plant that it tells of."""

    broker: Broker
    edge: EdgeNode
    backlog: Backlog
    metrics: Metrics
    plant: Plant
    faults: tuple[Fault, ...] = ()

    async def weld(self, count: int) -> None:
        for _ in range(count):
            (part,) = self.plant.weld_next()
            await self.edge.report(part, self.faults)

    def host(self, online: bool, at_ms: int = 5) -> None:
        self.broker.say(state_topic("h"), encode_state(State(online, at_ms)))

    async def live(self) -> None:
        """Nothing is stored, and what comes now is sent at once."""
        await until(lambda: self.edge.problem() is None and self.edge._live)


@asynccontextmanager
async def scene(
    patch: pytest.MonkeyPatch, primary: str | None = "h", faults: tuple[Fault, ...] = ()
) -> AsyncIterator[Scene]:
    broker, backlog = Broker(), Backlog(1000, 3_600_000)
    patch.setattr(aiomqtt, "Client", broker.client)
    metrics = Metrics(CollectorRegistry())
    plant = Plant({"weld1": SPEC}, first_part=1)
    plant.start(
        Campaign(name="x", welds=1000, rate_hz=50, seed=1, stations=("weld1",), faults={"weld1": faults})
    )
    edge = EdgeNode(
        MqttAccess("broker", 1883),
        NODE,
        ("weld1",),
        dict,
        ManualClock(datetime(2030, 1, 1, tzinfo=UTC)),
        metrics,
        bd_seq=0,
        primary_host=primary,
        backlog=backlog,
    )
    stopping = asyncio.Event()
    running = asyncio.create_task(edge.run(stopping))
    try:
        yield Scene(broker, edge, backlog, metrics, plant, faults)
    finally:
        stopping.set()
        await running


def fate(one: Scene, name: str) -> float:
    return float(one.metrics.messages.labels(name)._value.get())


async def test_before_its_host_is_there_nothing_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as one:
        await until(lambda: state_topic("h") in one.broker.subscribed)
        assert one.broker.subscribed[0] == COMMANDS
        one.host(False)
        one.broker.say(COMMANDS, encode_rebirth_command(at_ms=5))
        await one.weld(3)
        one.broker.say(state_topic("another"), encode_state(State(True, 9)))
        one.broker.say(state_topic("h"), b"ONLINE")  # of an older Sparkplug
        await until(lambda: one.broker.connections[-1].empty())
        assert one.broker.sent == []
        assert "h" in (one.edge.problem() or "")
        one.host(True)
        await one.live()
        await one.weld(1)
        assert one.broker.kinds == ["NBIRTH", "DBIRTH"] + ["DDATA"] * 4
        assert one.broker.parts() == [(1, True), (2, True), (3, True), (4, False)]


async def test_when_its_host_goes_it_dies_stores_and_repeats_what_may_not_have_arrived(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(monkeypatch) as one:
        await until(lambda: len(one.broker.subscribed) == 2)
        one.host(True)
        await one.live()
        await one.weld(40)
        one.host(False)
        await until(lambda: len(one.broker.connections) == 2 and len(one.broker.subscribed) == 4)
        assert one.broker.kinds[-1] == "NDEATH"
        await one.weld(2)
        one.broker.sent.clear()
        one.host(True, 6)
        await one.live()
        await one.weld(1)
        again = [(sequence, True) for sequence in range(11, 43)]
        assert one.broker.parts() == [*again, (43, False)]
        assert fate(one, "lost") == 0


async def test_a_host_that_was_away_unnoticed_hears_births_and_the_last_parts_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(monkeypatch) as one:
        await until(lambda: len(one.broker.subscribed) == 2)
        one.host(True)
        await one.live()
        await one.weld(3)
        one.broker.sent.clear()
        one.host(False, 4)  # the will of a session before this one
        one.host(True, 6)
        await until(lambda: len(one.broker.sent) == 5)
        assert one.broker.kinds == ["NBIRTH", "DBIRTH"] + ["DDATA"] * 3
        assert one.broker.parts() == [(1, True), (2, True), (3, True)]
        assert len(one.broker.connections) == 1


@pytest.mark.parametrize("primary", ["h", None])
async def test_when_the_broker_goes_parts_are_stored(
    primary: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(monkeypatch, primary) as one:

        def come(at_ms: int, connection: int) -> Callable[[], bool]:
            def there() -> bool:
                if len(one.broker.connections) < connection:
                    return False
                if primary is not None:
                    one.host(True, at_ms)
                return True

            return there

        await until(come(5, 1))
        await one.live()
        await one.weld(2)
        one.broker.away = True
        await one.weld(1)  # before anybody noticed
        one.broker.break_down()
        await until(lambda: one.edge.problem() is not None)
        await one.weld(2)
        assert len(one.backlog) == 5
        one.broker.away = False
        one.broker.sent.clear()
        await until(come(6, 2))
        await one.live()
        await one.weld(1)
        assert one.broker.parts() == [*((sequence, True) for sequence in range(1, 6)), (6, False)]
        assert fate(one, "lost") == 0


async def test_faults_of_publishing_act_on_what_is_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = (Duplicate(start=1, every=4), Late(start=2, every=100, by=2))
    async with scene(monkeypatch, None, faults) as one:
        await one.live()
        await one.weld(6)
        assert [sequence for sequence, _ in one.broker.parts()] == [1, 2, 2, 4, 5, 3, 6, 6]


async def test_what_is_held_back_is_sent_at_the_end_and_not_lost_with_the_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults = (Late(start=1, every=100, by=50),)
    async with scene(monkeypatch, None, faults) as one:
        await one.live()
        await one.weld(3)
        await one.edge.flush()
        assert [sequence for sequence, _ in one.broker.parts()] == [1, 3, 2]
    async with scene(monkeypatch, None, faults) as one:
        await one.live()
        await one.weld(3)
        one.broker.break_down()
        await until(lambda: one.edge.problem() is not None)
        one.broker.away = False
        one.broker.sent.clear()
        await one.live()
        assert [sequence for sequence, _ in one.broker.parts()] == [1, 2, 3]


async def test_data_without_a_birth_until_a_host_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch, None, (DataBeforeBirth(start=1),)) as one:
        await one.live()
        await one.weld(3)
        assert one.broker.kinds == ["NBIRTH", "DBIRTH", "DDATA", "NDEATH", "DDATA", "DDATA"]
        one.broker.say(COMMANDS, encode_rebirth_command(at_ms=5))
        await until(lambda: one.broker.kinds[-1] == "DBIRTH")
        await one.weld(1)
        assert one.broker.parts() == [(1, False), (4, False)]


async def test_at_the_end_it_declares_its_death_where_it_was_born(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch, None) as one:
        await one.live()
    assert one.broker.kinds == ["NBIRTH", "DBIRTH", str(MessageType.NDEATH)]
    async with scene(monkeypatch) as one:
        await until(lambda: len(one.broker.subscribed) == 2)
    assert one.broker.sent == []
