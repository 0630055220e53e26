"""The PLC as OPC UA clients see it: the real asyncua server, and asyncua's client as `line` uses it."""

from __future__ import annotations

import gc
import math
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua
from asyncua.ua.uaerrors import UaStatusCodeError
from prometheus_client import CollectorRegistry
from support.ports import free_endpoint

from twinloop.runtime.clock import ManualClock
from twinloop.simulator.campaign import Campaign
from twinloop.simulator.metrics import Metrics
from twinloop.simulator.opcua import NAMESPACE_URI, PlcServer, serve
from twinloop.simulator.plant import Plant, StationSpec
from twinloop.simulator.plc_faults import PlcFaults
from twinloop.simulator.plc_state import Range

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RECIPE = "cu-al-tab-7"
SPEC = StationSpec(RECIPE, Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25))


@dataclass
class Plc:
    """A PLC at the other end of a connection."""

    plant: Plant
    server: PlcServer
    client: Client
    clock: ManualClock
    registry: CollectorRegistry
    index: int
    uptime_s: list[float]

    async def later(self, seconds: float) -> None:
        """Let the PLCs' time go on."""
        self.uptime_s[0] += seconds
        await self.server.tick()

    async def take(self, station: str = "weld1") -> Any:
        return await self.call("TakeControl", uuid.uuid4().hex, station=station)

    async def beat(self, counter: int, station: str = "weld1") -> Any:
        return await self.call("Heartbeat", ua.Variant(counter, ua.VariantType.UInt64), station=station)

    def path(self, *names: str) -> list[str]:
        return [f"{self.index}:{name}" for name in ("Stations", *names)]

    async def node(self, *names: str) -> Any:
        return await self.client.nodes.objects.get_child(self.path(*names))

    async def read(self, name: str, station: str = "weld1") -> Any:
        return await (await self.node(station, name)).read_value()

    async def call(self, method: str, *arguments: Any, station: str = "weld1") -> Any:
        node = await self.node(station)
        return await node.call_method(f"{self.index}:{method}", *arguments)

    def next_sequence(self, station: str = "weld1") -> int:
        return self.plant.plc(station).last_sequence + 1

    async def put(
        self,
        value: float = 1020.0,
        expected: float = 1000.0,
        *,
        command_id: str | None = None,
        parameter: str = "laser_power_w",
        sequence: int | None = None,
        recipe: str = RECIPE,
        issued_s: float = 0,
        expires_s: float = 10,
    ) -> Any:
        return await self.call(
            "SetParameter",
            uuid.uuid4().hex if command_id is None else command_id,
            parameter,
            value,
            expected,
            ua.Variant(self.next_sequence() if sequence is None else sequence, ua.VariantType.UInt64),
            recipe,
            self.clock.now() + timedelta(seconds=issued_s),
            self.clock.now() + timedelta(seconds=expires_s),
        )

    async def hold(self) -> Any:
        number = ua.Variant(self.next_sequence(), ua.VariantType.UInt64)
        now = self.clock.now()
        return await self.call("Hold", uuid.uuid4().hex, "gap", number, now, now + timedelta(seconds=10))

    def refusals(self, code: str) -> float:
        labels = {"station": "weld1", "method": "SetParameter", "code": code}
        return self.registry.get_sample_value("twinloop_simulator_commands_total", labels) or 0.0

    async def reset(self, faults: PlcFaults | None = None) -> None:
        """As the panel does before a campaign."""
        plc = {} if faults is None else {"weld1": faults}
        self.plant.start(
            Campaign(name="x", welds=1, rate_hz=1.0, seed=1, stations=("weld1", "weld2"), plc=plc)
        )
        for station in self.plant.stations:
            await self.server.refresh(station)


@asynccontextmanager
async def connected(endpoint: str, **login: str) -> AsyncIterator[Client]:
    client = Client(endpoint)
    if login:
        client.set_user(login["user"])
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


# Starting a server reads the whole standard address space: once for all tests is enough.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def only_server() -> AsyncIterator[Plc]:
    plant, clock, registry = Plant({"weld1": SPEC, "weld2": SPEC}, 1), ManualClock(NOW), CollectorRegistry()
    endpoint, uptime_s = free_endpoint(), [0.0]
    async with (
        serve(endpoint, plant, clock, Metrics(registry), uptime=lambda: uptime_s[0]) as server,
        connected(endpoint) as client,
    ):
        index = await client.get_namespace_index(NAMESPACE_URI)
        yield Plc(plant, server, client, clock, registry, index, uptime_s)


@pytest_asyncio.fixture(loop_scope="module")
async def plc(only_server: Plc) -> Plc:
    """With control of weld1."""
    await only_server.reset()
    await only_server.take()
    return only_server


async def test_what_a_client_reads_at_first(only_server: Plc) -> None:
    plc = only_server
    expected = {
        "LaserPower": 1000.0,
        "FocusOffset": 0.0,
        "EndOfLineLimit": 55.0,
        "PartCounter": 0,
        "PackMLState": "Execute",
        "Recipe": RECIPE,
        "LastCommandSequence": 0,
        "LastCommandId": "",
        "ControlSource": "Local",
        "LocalReason": "startup",
        "Beat": 0,
        "MaintenanceLock": False,
        "HighAlarm": False,
    }
    for station in ("weld1", "weld2"):
        assert {name: await plc.read(name, station) for name in expected} == expected


async def test_a_command_acts_and_is_read_back(plc: Plc) -> None:
    sequence = plc.next_sequence()
    assert await plc.put(1020.0, command_id="acts", sequence=sequence) == 1020.0
    assert await plc.read("LaserPower") == 1020.0
    assert await plc.read("LaserPower", "weld2") == 1000.0
    assert (await plc.read("LastCommandSequence"), await plc.read("LastCommandId")) == (sequence, "acts")
    assert await plc.put(-0.25, 0.0, parameter="focus_mm") == -0.25
    assert await plc.read("FocusOffset") == -0.25


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ({"value": 1031.0}, "BadOutOfRange"),
        ({"value": 99999.0}, "BadOutOfRange"),
        ({"sequence": 0}, "BadSequenceNumberInvalid"),
        ({"expires_s": 0}, "BadRequestTimeout"),
        ({"issued_s": 1.5}, "BadInvalidTimestamp"),
        ({"expected": 1000.01}, "BadInvalidState"),
        ({"recipe": "other"}, "BadInvalidState"),
        ({"parameter": "speed_mm_s"}, "BadInvalidArgument"),
        ({"value": math.nan}, "BadInvalidArgument"),
        ({"command_id": ""}, "BadInvalidArgument"),
    ],
)
async def test_each_refusal_is_its_status_code_and_changes_nothing(
    plc: Plc, command: dict[str, Any], status: str
) -> None:
    before = plc.refusals(status)
    with pytest.raises(UaStatusCodeError) as caught:
        await plc.put(**command)
    assert type(caught.value).__name__ == status
    assert await plc.read("LaserPower") == 1000.0
    assert plc.refusals(status) == before + 1


async def test_a_repeated_command_id_gets_the_stored_answer(plc: Plc) -> None:
    sequence = plc.next_sequence()
    assert await plc.put(1020.0, command_id="again", sequence=sequence) == 1020.0
    assert await plc.put(1020.0, command_id="again", sequence=sequence, expires_s=-60) == 1020.0
    assert await plc.read("LaserPower") == 1020.0


async def test_hold_and_resume(plc: Plc) -> None:
    assert await plc.hold() == "Held"
    assert await plc.read("PackMLState") == "Held"
    with pytest.raises(ua.uaerrors.BadInvalidState):
        await plc.put()
    assert await plc.call("Resume", uuid.uuid4().hex) == "Execute"
    assert await plc.read("PackMLState") == "Execute"


async def test_arguments_of_other_types_or_numbers_are_refused_not_raised(plc: Plc) -> None:
    wrong: list[list[Any]] = [
        [],
        ["a"],
        [1],
        ["a", "laser_power_w", "1020", 1000.0, ua.Variant(1, ua.VariantType.UInt64), RECIPE, NOW, NOW],
        ["a", "laser_power_w", 1020.0, 1000.0, ua.Variant(-1, ua.VariantType.Int64), RECIPE, NOW, NOW],
        [None] * 8,
    ]
    for arguments in wrong:
        with pytest.raises(ua.uaerrors.BadInvalidArgument):
            await plc.call("SetParameter", *arguments)
    with pytest.raises(ua.uaerrors.BadInvalidArgument):
        await plc.call("Resume", 1)


async def test_no_client_can_write_a_variable(plc: Plc) -> None:
    for name in ("LaserPower", "FocusOffset", "PackMLState", "LastCommandSequence"):
        node = await plc.node("weld1", name)
        before = await node.read_data_value()
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await node.write_value(ua.DataValue(before.Value))
    assert await plc.read("LaserPower") == 1000.0


async def test_nobody_logs_in_as_admin(plc: Plc) -> None:
    """asyncua would take whoever calls itself so for an administrator, who may write read-only variables."""

    async def write_as_admin() -> None:
        async with connected(plc.client.server_url.geturl(), user="admin") as admin:
            node = await admin.nodes.objects.get_child(plc.path("weld1", "LaserPower"))
            await node.write_value(ua.Variant(99999.0, ua.VariantType.Double))

    with pytest.raises(UaStatusCodeError):
        await write_as_admin()
    assert await plc.read("LaserPower") == 1000.0


@pytest.mark.parametrize(
    ("faults", "shown"),
    [(PlcFaults(ignore_writes=True), 1000.0), (PlcFaults(read_back_offset={"laser_power_w": 4.0}), 1024.0)],
)
async def test_a_plc_whose_read_back_disagrees(plc: Plc, faults: PlcFaults, shown: float) -> None:
    campaign = Campaign(name="x", welds=1, rate_hz=1.0, seed=1, stations=("weld1",), plc={"weld1": faults})
    plc.plant.start(campaign)
    assert await plc.put(1020.0) == 1020.0
    assert await plc.read("LaserPower") == shown


async def test_a_plc_that_refuses_writes(plc: Plc) -> None:
    await plc.reset(PlcFaults(refuse_writes=True))
    with pytest.raises(ua.uaerrors.BadUserAccessDenied):
        await plc.put()
    assert await plc.hold() == "Held"


async def test_a_taken_port_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"opc.tcp://127.0.0.1:{listener.getsockname()[1]}/twinloop/"
        plant = Plant({"weld1": SPEC}, 1)
        with pytest.raises(OSError, match="in use"):
            async with serve(endpoint, plant, ManualClock(NOW), Metrics(CollectorRegistry())):
                pass


async def test_a_stopped_server_leaves_nothing_to_the_collector() -> None:
    """Its address space has 400,000 objects; a process that starts one after the other would stand still."""
    plant = Plant({"weld1": SPEC}, 1)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        async with serve(free_endpoint(), plant, ManualClock(NOW), Metrics(CollectorRegistry())):
            assert len(gc.get_objects()) - before > 200_000
        assert len(gc.get_objects()) - before < 20_000
    finally:
        gc.enable()
