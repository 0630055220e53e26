"""Control, watchdog and faults of the PLC over real OPC UA, with asyncua's client."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from asyncua import Client, ua
from asyncua.ua.uaerrors import UaStatusCodeError
from prometheus_client import CollectorRegistry
from support.ports import free_endpoint
from support.waiting import until

from twinloop.runtime.clock import ManualClock
from twinloop.simulator import opcua
from twinloop.simulator.campaign import Campaign
from twinloop.simulator.metrics import Metrics
from twinloop.simulator.opcua import NAMESPACE_URI, PlcServer, serve
from twinloop.simulator.panel import panel
from twinloop.simulator.plant import Plant, StationSpec
from twinloop.simulator.plc_faults import PlcFaults
from twinloop.simulator.plc_state import Range

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SPEC = StationSpec("r", Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25), watchdog_s=1.5)
SOON_S = 0.3
"""How long a test waits for an answer that must not come."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Scene:
    """The PLC of weld1 at the other end of a connection, and its own time."""

    plant: Plant
    server: PlcServer
    client: Client
    clock: ManualClock
    index: int
    http: httpx.AsyncClient
    station: Any = None
    uptime_s: list[float] = field(default_factory=lambda: [0.0])

    async def read(self, name: str) -> Any:
        return await (await self.station.get_child(f"{self.index}:{name}")).read_value()

    async def call(self, method: str, *arguments: Any) -> Any:
        return await self.station.call_method(f"{self.index}:{method}", *arguments)

    async def take(self) -> Any:
        return await self.call("TakeControl", uuid.uuid4().hex)

    async def beat(self, counter: int) -> Any:
        return await self.call("Heartbeat", ua.Variant(counter, ua.VariantType.UInt64))

    async def put(self, value: float = 1020.0, expected: float = 1000.0, expires_s: float = 10) -> Any:
        now, sequence = self.clock.now(), self.plant.plc("weld1").last_sequence + 1
        return await self.call(
            "SetParameter",
            uuid.uuid4().hex,
            "laser_power_w",
            value,
            expected,
            ua.Variant(sequence, ua.VariantType.UInt64),
            "r",
            now,
            now + timedelta(seconds=expires_s),
        )

    async def later(self, seconds: float) -> None:
        """The PLCs' time goes on, and they look at it."""
        self.uptime_s[0] += seconds
        await self.server.tick()

    async def begin(self, faults: PlcFaults | None = None) -> None:
        """A campaign with these faults, and control taken anew."""
        plc = {} if faults is None else {"weld1": faults}
        self.plant.start(Campaign(name="x", welds=9, rate_hz=1.0, seed=1, stations=("weld1",), plc=plc))
        await self.take()
        await self.server.tick()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def only() -> AsyncIterator[Scene]:
    endpoint = free_endpoint()
    plant, clock, uptime_s = Plant({"weld1": SPEC}, 1), ManualClock(NOW), [0.0]
    metrics = Metrics(CollectorRegistry())
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            serve(endpoint, plant, clock, metrics, uptime=lambda: uptime_s[0])
        )
        client = await stack.enter_async_context(Client(endpoint))
        transport = httpx.ASGITransport(panel(plant, plant.start, server.refresh))
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://panel")
        )
        index = await client.get_namespace_index(NAMESPACE_URI)
        station = await client.nodes.objects.get_child([f"{index}:Stations", f"{index}:weld1"])
        yield Scene(plant, server, client, clock, index, http, station, uptime_s)


@pytest_asyncio.fixture(loop_scope="module")
async def plc(only: Scene) -> Scene:
    """With control of weld1, whose setpoints are nominal."""
    await only.begin()
    return only


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """The PLC's delays begin once this is set, however slow the machine is."""
    begin, really = asyncio.Event(), opcua._later

    async def later(delay_s: float) -> None:
        if delay_s > 0:
            await begin.wait()
        await really(delay_s)

    monkeypatch.setattr(opcua, "_later", later)
    return begin


async def who(plc: Scene) -> tuple[str, str]:
    return await plc.read("ControlSource"), await plc.read("LocalReason")


async def refused(call: Awaitable[Any]) -> str:
    with pytest.raises(UaStatusCodeError) as caught:
        await call
    return type(caught.value).__name__


async def unanswered(call: Awaitable[Any]) -> bool:
    try:
        await asyncio.wait_for(call, SOON_S)
    except TimeoutError:
        return True
    return False


async def test_control_is_taken_used_and_released(plc: Scene) -> None:
    assert await who(plc) == ("Remote", "")
    assert await plc.put(1020.0) == 1020.0
    assert await plc.call("ReleaseControl", uuid.uuid4().hex, "no longer in AUTO") == "Local"
    assert await who(plc) == ("Local", "released")
    assert await plc.read("LaserPower") == 1020.0
    assert await refused(plc.put(1010.0, 1020.0)) == "BadInvalidState"
    assert await refused(plc.beat(1)) == "BadInvalidState"


async def test_heartbeats_feed_the_watchdog_and_silence_lets_it_fall(plc: Scene) -> None:
    await plc.put(1020.0)
    await plc.later(1.4)
    assert await plc.beat(1) == await plc.read("Beat") == int(plc.uptime_s[0] * 10)
    await plc.later(1.4)
    assert await who(plc) == ("Remote", "")
    assert await refused(plc.beat(1)) == "BadSequenceNumberInvalid"
    await plc.later(0.1)
    assert await who(plc) == ("Local", "watchdog")
    assert await plc.read("LaserPower") == 1000.0
    assert await plc.take() == "Remote"
    assert await plc.beat(1) > 0


async def test_the_operator_goes_first(plc: Scene) -> None:
    body = {"parameter": "laser_power_w", "value": 950}
    assert (await plc.http.post("/stations/weld1/operator", json=body)).status_code == 200
    assert await who(plc) == ("Local", "operator")
    assert await plc.read("LaserPower") == 950.0
    assert await refused(plc.take()) == "BadInvalidState"
    assert (await plc.http.post("/stations/weld1/release")).status_code == 200
    assert await who(plc) == ("Local", "released")
    assert await plc.take() == "Remote"


async def test_lock_and_alarm(plc: Scene) -> None:
    await plc.http.post("/stations/weld1/lock")
    assert await plc.read("MaintenanceLock") is True
    assert await refused(plc.put()) == await refused(plc.take()) == "BadInvalidState"
    await plc.http.post("/stations/weld1/unlock")
    await plc.http.post("/stations/weld1/alarm", json={"active": True})
    assert (await plc.read("MaintenanceLock"), await plc.read("HighAlarm")) == (False, True)
    assert await refused(plc.put()) == "BadInvalidState"
    await plc.http.post("/stations/weld1/alarm", json={"active": False})
    assert await plc.put() == 1020.0


async def test_arguments_of_other_types_are_refused_not_raised(plc: Scene) -> None:
    assert await refused(plc.call("TakeControl", 1)) == "BadInvalidArgument"
    assert await refused(plc.call("TakeControl", "")) == "BadInvalidArgument"
    assert await refused(plc.call("ReleaseControl", "r")) == "BadInvalidArgument"
    wrong = ua.Variant(1, ua.VariantType.Int64)
    assert await refused(plc.call("Heartbeat", wrong)) == "BadInvalidArgument"


async def test_a_dropped_command_is_never_answered_and_holds_up_nothing_else(plc: Scene) -> None:
    await plc.begin(PlcFaults(drop_commands=True))
    before = await plc.read("LastCommandId")
    assert await unanswered(plc.put())
    assert await plc.beat(1) >= 0
    assert (await plc.read("LaserPower"), await plc.read("LastCommandId")) == (1000.0, before)


async def test_a_dropped_answer_is_of_a_command_that_acted(plc: Scene) -> None:
    await plc.begin(PlcFaults(drop_answers=True))
    sequence = plc.plant.plc("weld1").last_sequence
    call = asyncio.create_task(plc.put())
    await until(shows(plc, "LaserPower", 1020.0))
    assert await unanswered(call)
    assert (await plc.read("LaserPower"), await plc.read("LastCommandSequence")) == (1020.0, sequence + 1)


async def test_a_command_that_acts_late_acts_only_if_it_has_not_expired(
    plc: Scene, delays: asyncio.Event
) -> None:
    await plc.begin(PlcFaults(act_after_s=SOON_S))
    call = asyncio.create_task(plc.put(expires_s=10))
    assert await plc.beat(1) >= 0  # while it waits
    assert await plc.read("LaserPower") == 1000.0
    delays.set()
    assert await call == 1020.0
    delays.clear()
    call = asyncio.create_task(plc.put(1040.0, 1020.0, expires_s=10))
    assert await plc.beat(2) >= 0  # so the command is there before it expires
    plc.clock.advance(10)
    delays.set()
    assert await refused(call) == "BadRequestTimeout"
    assert await plc.read("LaserPower") == 1020.0


async def test_a_late_answer_is_of_a_command_that_acted_at_once(plc: Scene, delays: asyncio.Event) -> None:
    await plc.begin(PlcFaults(answer_after_s=SOON_S))
    call = asyncio.create_task(plc.put())
    await until(shows(plc, "LaserPower", 1020.0))
    assert not call.done()
    delays.set()
    assert await call == 1020.0


@pytest.mark.parametrize(
    ("faults", "shown", "in_force"),
    [
        (PlcFaults(apply_fraction=0.25), 1005.0, 1005.0),
        (PlcFaults(apply_fraction=0.25, echo_read_back=True), 1020.0, 1005.0),
        (PlcFaults(ignore_writes=True, echo_read_back=True), 1020.0, 1000.0),
    ],
    ids=["half", "half and a lie", "nothing and a lie"],
)
async def test_what_the_variables_show_and_what_the_next_part_is_made_with(
    plc: Scene, faults: PlcFaults, shown: float, in_force: float
) -> None:
    await plc.begin(faults)
    assert await plc.put(1020.0) == 1020.0
    assert await plc.read("LaserPower") == shown
    [part] = plc.plant.weld_next()
    assert part.power_w == in_force


async def test_lost_heartbeats_let_the_watchdog_fall(plc: Scene) -> None:
    await plc.begin(PlcFaults(lose_heartbeats=True))
    await plc.put(1020.0)
    await plc.later(1.0)
    assert await unanswered(plc.beat(1))
    await plc.later(0.5)
    assert await who(plc) == ("Local", "watchdog")
    assert await plc.read("LaserPower") == 1000.0


async def test_a_frozen_beat_stands_still_and_heartbeats_are_answered(plc: Scene) -> None:
    await plc.begin(PlcFaults(freeze_beat=True))
    frozen = await plc.read("Beat")
    await plc.later(1.0)
    assert await plc.beat(1) == await plc.read("Beat") == frozen
    assert await who(plc) == ("Remote", "")


def shows(plc: Scene, name: str, value: object) -> Callable[[], Awaitable[bool]]:
    async def answer() -> bool:
        return bool(await plc.read(name) == value)

    return answer


async def test_time_goes_on_by_itself(plc: Scene) -> None:
    """Nobody has to call for the watchdog to fall: the server's own task looks at the clock."""
    plc.uptime_s[0] += 1.5
    started_s = time.monotonic()
    await until(shows(plc, "LocalReason", "watchdog"))
    assert time.monotonic() - started_s < 5
    assert plc.server.problem() is None
