"""The line as a process between a real broker and a real OPC UA server; and the contract suite of its PLC."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asyncua import ua
from asyncua.server.server import Server
from prometheus_client import CollectorRegistry
from support.processes import ServiceProcess
from support.topics import events, until

from twinloop.contracts.changes import (
    Approved,
    Diagnosis,
    Hold,
    Issued,
    Parameter,
    Proposed,
    SetParameter,
    Simulated,
)
from twinloop.contracts.codec import Message, message
from twinloop.contracts.topics import CHANGES, DEAD_LETTERS, Topic
from twinloop.line.errors import PlcRefused, PlcUnavailable
from twinloop.line.fake import FakePlc
from twinloop.line.metrics import Metrics
from twinloop.line.opcua import OpcUaPlc, plc
from twinloop.line.plc import EXECUTE, HELD, Command, Device, Plc
from twinloop.local.places import find_places
from twinloop.runtime.clock import SystemClock
from twinloop.runtime.kafka import KafkaPublisher, publisher
from twinloop.runtime.provision import provision
from twinloop.simulator import metrics as simulator_metrics
from twinloop.simulator.campaign import Campaign
from twinloop.simulator.opcua import PlcServer, serve
from twinloop.simulator.plant import Plant, StationSpec
from twinloop.simulator.plc import PlcFaults, Range

ASSET = "acme.berlin.packs.line1.weld1"
RECIPE = "cu-al-tab-7"
SPEC = StationSpec(RECIPE, Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25))
NOMINAL = Device(1000.0, 0.0, 0, EXECUTE, RECIPE, 0, "")


def free_endpoint() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"opc.tcp://127.0.0.1:{listener.getsockname()[1]}/twinloop/"


# ---- the contract of a PLC, over the real one and the one in memory


@dataclass
class Bench:
    """A PLC under test, and how to disturb it."""

    plc: Plc
    refuse: Callable[[], object]
    go_away: Callable[[], Awaitable[object]]


@asynccontextmanager
async def fake_bench() -> AsyncIterator[Bench]:
    one = FakePlc(SystemClock(), NOMINAL)

    async def go_away() -> None:
        one.away = True

    yield Bench(one, lambda: setattr(one, "refuse", "BadUserAccessDenied"), go_away)


@asynccontextmanager
async def real_bench() -> AsyncIterator[Bench]:
    endpoint, plant = free_endpoint(), Plant({"weld1": SPEC, "weld2": SPEC}, 1)
    async with AsyncExitStack() as stack:
        server = AsyncExitStack()
        await server.enter_async_context(
            serve(endpoint, plant, SystemClock(), simulator_metrics.Metrics(CollectorRegistry()))
        )
        stack.push_async_callback(server.aclose)
        device = await stack.enter_async_context(
            plc(endpoint, ["weld1"], asyncio.Event(), timeout_s=2.0, metrics=Metrics(CollectorRegistry()))
        )

        async def connected() -> bool:
            return device.problem() is None

        await until(connected)

        def refuse() -> None:
            faults = PlcFaults(refuse_writes=True)
            plant.start(
                Campaign(name="x", welds=1, rate_hz=1, seed=1, stations=("weld1",), plc={"weld1": faults})
            )

        yield Bench(device, refuse, server.aclose)


@pytest.fixture(params=[fake_bench, real_bench], ids=["fake", "opcua"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with request.param() as one:
        yield one


def command(command_id: str = "c1", sequence: int = 1, **other: Any) -> Command:
    now = datetime.now(UTC)
    given: dict[str, Any] = {
        "action": SetParameter(parameter=Parameter.LASER_POWER_W, value=1020.0, expected=1000.0),
        "recipe": RECIPE,
        "issued_at": now,
        "expires_at": now + timedelta(seconds=5),
    }
    return Command(command_id=command_id, sequence=sequence, **{**given, **other})


async def test_what_is_commanded_is_read_back(bench: Bench) -> None:
    first = await bench.plc.read("weld1")
    assert (first.power_w, first.focus_mm, first.mode, first.recipe) == (1000.0, 0.0, EXECUTE, RECIPE)
    await bench.plc.command("weld1", command())
    focus = SetParameter(parameter=Parameter.FOCUS_MM, value=-0.25, expected=0.0)
    await bench.plc.command("weld1", command("c2", 2, action=focus))
    after = await bench.plc.read("weld1")
    assert (after.power_w, after.focus_mm, after.last_sequence, after.last_command_id) == (
        1020.0,
        -0.25,
        2,
        "c2",
    )


async def test_a_hold_is_read_back_as_held(bench: Bench) -> None:
    await bench.plc.command("weld1", command(action=Hold(reason="gap")))
    assert (await bench.plc.read("weld1")).mode == HELD


async def test_a_command_sent_twice_acts_once(bench: Bench) -> None:
    await bench.plc.command("weld1", command())
    await bench.plc.command("weld1", command())
    after = await bench.plc.read("weld1")
    assert (after.power_w, after.last_sequence) == (1020.0, 1)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "BadRequestTimeout"),
        ({"sequence": 0}, "BadSequenceNumberInvalid"),
        ({"recipe": "other"}, "BadInvalidState"),
        (
            {"action": SetParameter(parameter=Parameter.LASER_POWER_W, value=1020.0, expected=990.0)},
            "BadInvalidState",
        ),
    ],
)
async def test_the_device_refuses_what_is_wrong(bench: Bench, wrong: dict[str, Any], code: str) -> None:
    with pytest.raises(PlcRefused) as refused:
        await bench.plc.command("weld1", command(**wrong))
    assert refused.value.code == code
    assert (await bench.plc.read("weld1")).power_w == 1000.0


async def test_a_refusal_of_its_own_is_told_by_its_code(bench: Bench) -> None:
    bench.refuse()
    with pytest.raises(PlcRefused) as refused:
        await bench.plc.command("weld1", command())
    assert refused.value.code == "BadUserAccessDenied"


async def test_a_device_that_is_away_is_unavailable(bench: Bench) -> None:
    await bench.go_away()
    with pytest.raises(PlcUnavailable):
        await bench.plc.read("weld1")
    with pytest.raises(PlcUnavailable):
        await bench.plc.command("weld1", command())


@asynccontextmanager
async def session(endpoint: str) -> AsyncIterator[OpcUaPlc]:
    """A PLC client that may not be connected yet."""
    metrics = Metrics(CollectorRegistry())
    async with plc(endpoint, ["weld1"], asyncio.Event(), timeout_s=2.0, metrics=metrics) as one:
        yield one


def serving(endpoint: str, plant: Plant) -> AbstractAsyncContextManager[PlcServer]:
    return serve(endpoint, plant, SystemClock(), simulator_metrics.Metrics(CollectorRegistry()))


@pytest.mark.parametrize("code", [ua.StatusCodes.BadSensorFailure, ua.StatusCodes.UncertainLastUsableValue])
async def test_a_value_of_bad_quality_is_none(code: int) -> None:
    endpoint = free_endpoint()
    async with serving(endpoint, Plant({"weld1": SPEC}, 1)) as server, session(endpoint) as one:

        async def connected() -> bool:
            return one.problem() is None

        await until(connected)
        node = server._nodes["weld1"]["LaserPower"]
        doubtful = ua.DataValue(ua.Variant(1000.0), StatusCode=ua.StatusCode(ua.UInt32(code)))
        await server._server.write_attribute_value(node.nodeid, doubtful)
        with pytest.raises(PlcUnavailable, match="LaserPower of weld1"):
            await one.read("weld1")
        await server._server.write_attribute_value(node.nodeid, ua.DataValue(ua.Variant(1000.0)))
        assert (await one.read("weld1")).power_w == 1000.0


async def test_a_session_is_made_anew_whatever_answered_in_between() -> None:
    """The PLC, nobody, a server that is no PLC of ours, something else altogether, and the PLC again."""
    endpoint, plant = free_endpoint(), Plant({"weld1": SPEC}, 1)
    port = int(endpoint.split(":")[2].split("/")[0])
    async with session(endpoint) as one:

        async def connected() -> bool:
            return one.problem() is None

        async def stranger() -> bool:
            return "no namespace" in (one.problem() or "")

        async with serving(endpoint, plant):
            await until(connected)

        async def away() -> bool:
            return not await connected()

        await until(away)
        other = Server()
        await other.init()
        other.set_endpoint(endpoint)
        async with other:
            await until(stranger)
        talked_to = asyncio.Event()

        async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.6 " * 4)
            await writer.drain()
            writer.close()
            talked_to.set()

        async with await asyncio.start_server(babble, "127.0.0.1", port):
            async with asyncio.timeout(20):
                await talked_to.wait()
        async with serving(endpoint, plant):
            await until(connected)
            assert (await one.read("weld1")).power_w == 1000.0


async def test_without_a_server_there_is_a_problem_and_no_session() -> None:
    one = OpcUaPlc(free_endpoint(), ["weld1"], 1.0, Metrics(CollectorRegistry()))
    assert "no session" in (one.problem() or "")
    with pytest.raises(PlcUnavailable):
        await one.read("weld1")


# ---- the service


@dataclass
class Scene:
    """A line, its PLC, and the log of changes."""

    kafka: str
    prefix: str
    line: ServiceProcess
    endpoint: str
    plant: Plant
    server: PlcServer
    stop_server: Callable[[], Awaitable[None]]
    out: KafkaPublisher

    async def ready(self) -> bool:
        return self.line.ready

    async def publish(self, *events: Any) -> None:
        await self.out.publish([message(CHANGES, one, source="test") for one in events])

    def proposal(self, change_id: str, action: Any, expires_s: float) -> Proposed:
        return Proposed(
            **head(change_id, "proposed"),
            action=action,
            diagnosis=Diagnosis.DIRTY_WINDOW,
            recipe=RECIPE,
            reason="",
            evidence=(),
            expires_at=datetime.now(UTC) + timedelta(seconds=expires_s),
            model="weld",
            model_version=1,
            input_digest="",
        )

    async def release(self, change_id: str, action: Any, expires_s: float = 20.0) -> Proposed:
        proposed = self.proposal(change_id, action, expires_s)
        await self.publish(
            proposed,
            Simulated(**head(change_id, "simulated"), do_nothing=None, do_this=None),
            Approved(**head(change_id, "approved"), approver="policy:auto", reason=""),
        )
        return proposed

    async def read(self, topic: Topic) -> list[Any]:
        return await events(self.kafka, self.prefix, topic)

    async def told(self, change_id: str) -> list[Any]:
        """What the line said of a change, after `approved`."""
        events = [one for one in await self.read(CHANGES) if one.change_id == change_id]
        names = ("issued", "applied", "failed", "expired")
        return [one for one in events if one.__struct_config__.tag in names and one.event_id != "by-hand"]

    async def ended(self, change_id: str) -> list[Any]:
        """The same, once it has ended."""
        told: list[Any] = []

        async def over() -> bool:
            told[:] = await self.told(change_id)
            return bool(told) and told[-1].__struct_config__.tag != "issued"

        await until(over)
        return told


def head(change_id: str, kind: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "event_id": f"{change_id}-{kind}",
        "asset": ASSET,
        "at": now,
        "observed_at": now,
        "trace_id": "0" * 32,
        "change_id": change_id,
    }


def power(value: float, expected: float = 1000.0) -> SetParameter:
    return SetParameter(parameter=Parameter.LASER_POWER_W, value=value, expected=expected)


def new_line(kafka: str, topic_prefix: str, log: Path) -> ServiceProcess:
    return ServiceProcess(
        "line",
        {
            "TWINLOOP_KAFKA": kafka,
            "TWINLOOP_TOPIC_PREFIX": topic_prefix,
            "TWINLOOP_LINE_ASSETS": str(find_places().config / "line.toml"),
            "TWINLOOP_LINE_SESSION_TIMEOUT_S": "6",
        },
        log,
    )


@pytest.fixture
def line(kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[ServiceProcess]:
    one = new_line(kafka, topic_prefix, tmp_path / "line.log")
    yield one
    if one.running:
        one.stop()


@pytest.fixture
def second(kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[ServiceProcess]:
    one = new_line(kafka, topic_prefix, tmp_path / "second.log")
    yield one
    if one.running:
        one.stop()


@pytest.fixture
async def scene(kafka: str, topic_prefix: str, line: ServiceProcess) -> AsyncIterator[Scene]:
    endpoint, plant = free_endpoint(), Plant({"weld1": SPEC, "weld2": SPEC}, 1)
    line.settings["TWINLOOP_OPCUA"] = endpoint
    await provision(kafka, topic_prefix)
    async with AsyncExitStack() as stack:
        server_stack = AsyncExitStack()
        server = await server_stack.enter_async_context(
            serve(endpoint, plant, SystemClock(), simulator_metrics.Metrics(CollectorRegistry()))
        )
        stack.push_async_callback(server_stack.aclose)
        out = await stack.enter_async_context(publisher(kafka, topic_prefix, asyncio.Event()))
        yield Scene(kafka, topic_prefix, line, endpoint, plant, server, server_stack.aclose, out)
        if line.running:
            await asyncio.to_thread(line.stop)


def names(events: list[Any]) -> list[str]:
    return [str(one.__struct_config__.tag) for one in events]


async def test_a_released_change_reaches_the_device_once_and_is_read_back(scene: Scene) -> None:
    scene.line.start()
    await until(scene.ready)
    await scene.release("c1", power(1020.0))
    told = await scene.ended("c1")
    assert names(told) == ["issued", "applied"]
    assert told[1].actual == 1020.0
    state = scene.plant.plc("weld1")
    assert (state.setpoints["laser_power_w"], state.last_sequence, state.last_command_id) == (1020.0, 1, "c1")
    # Everything said again, and a new process that reads all of it: nothing happens.
    await scene.release("c1", power(1020.0))
    await asyncio.to_thread(scene.line.kill)
    scene.line.start()
    await until(scene.ready, timeout_s=60)
    await scene.release("c2", power(1200.0, expected=1020.0))  # far beyond a step: only to see it pass by
    assert names(await scene.ended("c2")) == ["failed"]
    assert names(await scene.told("c1")) == ["issued", "applied"]
    assert scene.plant.plc("weld1").last_sequence == 1


async def test_what_the_device_refuses_has_failed_and_is_not_applied(scene: Scene) -> None:
    faults = PlcFaults(refuse_writes=True)
    scene.plant.start(
        Campaign(name="x", welds=1, rate_hz=1, seed=1, stations=("weld1",), plc={"weld1": faults})
    )
    scene.line.start()
    await until(scene.ready)
    await scene.release("c1", power(1020.0))
    told = await scene.ended("c1")
    assert names(told) == ["issued", "failed"]
    assert "BadUserAccessDenied" in told[1].reason
    assert scene.plant.plc("weld1").setpoints["laser_power_w"] == 1000.0


async def test_a_read_back_that_disagrees_has_failed(scene: Scene) -> None:
    faults = PlcFaults(read_back_offset={"laser_power_w": 9.0})
    scene.plant.start(
        Campaign(name="x", welds=1, rate_hz=1, seed=1, stations=("weld1",), plc={"weld1": faults})
    )
    scene.line.start()
    await until(scene.ready)
    await scene.release("c1", power(1020.0))
    told = await scene.ended("c1")
    assert names(told) == ["issued", "failed"]
    assert told[1].guard == "read_back"


async def test_issued_before_a_crash_it_is_concluded_by_reading_and_not_sent_again(scene: Scene) -> None:
    """Two changes were issued by a process that died: the device took the one and not the other."""
    lost = await scene.release("lost", power(1010.0), expires_s=1.0)
    await scene.publish(Issued(**{**head("lost", "issued"), "event_id": "by-hand"}, command_sequence=1))
    scene.line.start()
    told = await scene.ended("lost")
    assert (names(told), told[0].guard) == (["failed"], "outcome")
    assert told[0].at > lost.expires_at
    assert scene.plant.plc("weld1").last_sequence == 0
    await asyncio.to_thread(scene.line.kill)

    await scene.release("taken", Hold(reason="gap"))
    await scene.publish(Issued(**{**head("taken", "issued"), "event_id": "by-hand"}, command_sequence=1))
    async with plc(
        scene.endpoint, ["weld1"], asyncio.Event(), timeout_s=2.0, metrics=Metrics(CollectorRegistry())
    ) as hand:

        async def connected() -> bool:
            return hand.problem() is None

        await until(connected)
        await hand.command("weld1", command("taken", action=Hold(reason="gap")))
    scene.line.start()
    assert names(await scene.ended("taken")) == ["applied"]
    assert scene.plant.plc("weld1").last_sequence == 1


async def test_without_a_plc_it_is_alive_not_ready_and_changes_expire(scene: Scene) -> None:
    await scene.stop_server()
    scene.line.start()

    async def live() -> bool:
        return scene.line.status("/health/live") == 200

    await until(live)
    await scene.release("c1", power(1020.0), expires_s=2.0)
    assert names(await scene.ended("c1")) == ["expired"]
    assert scene.line.status("/health/ready") == 503


async def test_a_change_waits_for_a_plc_that_comes_back(scene: Scene) -> None:
    scene.line.start()
    await until(scene.ready)
    await scene.stop_server()

    async def red() -> bool:
        return scene.line.status("/health/ready") == 503

    await until(red)
    await scene.release("c1", power(1020.0))
    assert await scene.told("c1") == []
    async with serving(scene.endpoint, scene.plant):
        assert names(await scene.ended("c1")) == ["issued", "applied"]
        await until(scene.ready)


async def test_what_is_released_too_late_is_never_issued(scene: Scene) -> None:
    await scene.release("c1", power(1020.0), expires_s=-1.0)
    scene.line.start()
    assert names(await scene.ended("c1")) == ["expired"]
    state = scene.plant.plc("weld1")
    assert (state.setpoints["laser_power_w"], state.last_command_id) == (1000.0, "")


async def test_another_member_takes_over_what_a_first_one_left(scene: Scene, second: ServiceProcess) -> None:
    """The second one reads the log of the partitions that it is given, and repeats nothing."""
    scene.line.start()
    await until(scene.ready)
    await scene.release("c1", power(1020.0))
    assert names(await scene.ended("c1")) == ["issued", "applied"]
    second.settings["TWINLOOP_OPCUA"] = scene.endpoint
    second.start()

    async def ready() -> bool:
        return second.ready

    await until(ready, timeout_s=60)
    await asyncio.to_thread(scene.line.stop)
    await scene.release("c1", power(1020.0))
    await scene.release("c2", power(1040.0, expected=1020.0))
    assert [(one.guard, names([one])) for one in await scene.ended("c2")] == [("cooldown", ["failed"])]
    assert names(await scene.told("c1")) == ["issued", "applied"]
    assert scene.plant.plc("weld1").last_sequence == 1


async def test_what_is_no_change_goes_to_dead_letters_and_the_rest_goes_on(scene: Scene) -> None:
    scene.line.start()
    await until(scene.ready)
    zoneless = scene.proposal("c0", power(1020.0), expires_s=20.0)
    zoneless = msgspec.structs.replace(zoneless, expires_at=zoneless.expires_at.replace(tzinfo=None))
    refused = [b'{"type": "proposed"', msgspec.json.encode(zoneless)]
    await scene.out.publish([Message(CHANGES, ASSET.encode(), one, ()) for one in refused])
    await scene.release("c1", power(1020.0))
    assert names(await scene.ended("c1")) == ["issued", "applied"]
    letters = await scene.read(DEAD_LETTERS)
    assert [(one.reason, one.payload, one.service) for one in letters] == [
        ("undecodable", payload, "line") for payload in refused
    ]
