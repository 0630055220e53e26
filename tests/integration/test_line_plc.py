"""The contract suite of the line's PLC: in memory, and over a real, secured OPC UA server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import ua
from asyncua.server.server import Server
from prometheus_client import CollectorRegistry
from support.line import DEVICE
from support.plant import (
    RECIPE,
    SharedPlc,
    break_plc,
    line_security,
    new_plant,
    serving,
)
from support.ports import free_endpoint
from support.waiting import until

from twinloop.contracts.changes import Hold, Parameter, SetParameter
from twinloop.line.errors import PlcRefused, PlcUnavailable
from twinloop.line.fake import FakePlc, Faults
from twinloop.line.metrics import Metrics
from twinloop.line.opcua import OpcUaPlc, plc
from twinloop.line.plc import BY_OPERATOR, EXECUTE, HELD, LOCAL, REMOTE, Command, Plc
from twinloop.line.security import Security
from twinloop.local.keys import certs as local_certs
from twinloop.runtime.clock import SystemClock
from twinloop.simulator import by_hand
from twinloop.simulator.plc_state import PlcState

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Bench:
    """A PLC under test, and how to disturb it."""

    plc: Plc
    break_it: Callable[..., None]
    by_hand: Callable[[], None]
    lock: Callable[[], None]
    alarm: Callable[[], None]
    go_away: Callable[[], Awaitable[object]]


@asynccontextmanager
async def fake_bench(_shared: SharedPlc, _certs: Path) -> AsyncIterator[Bench]:
    one = FakePlc(
        SystemClock(), replace(DEVICE, part_counter=0, control_source=LOCAL, local_reason="startup")
    )
    names = {
        "refuse_writes": "refuse",
        "ignore_writes": "ignore",
        "apply_fraction": "fraction",
        "echo_read_back": "lie",
        "freeze_beat": "frozen",
    }

    def break_it(**faults: Any) -> None:
        values = {names[name]: value for name, value in faults.items()}
        if "refuse" in values:
            values["refuse"] = "BadUserAccessDenied"
        one.faults = Faults(**values)

    def shown(**what: Any) -> None:
        one.device = replace(one.device, **what)

    async def go_away() -> None:
        one.faults.away = True

    yield Bench(
        one,
        break_it,
        partial(one.by_hand, Parameter.LASER_POWER_W, 1010.0),
        partial(shown, maintenance_lock=True),
        partial(shown, high_alarm=True),
        go_away,
    )


@asynccontextmanager
async def real_bench(shared_plc: SharedPlc, certs: Path) -> AsyncIterator[Bench]:
    plant, one = shared_plc.plant, await shared_plc.renew(watchdog_s=60.0)
    async with AsyncExitStack() as stack:
        device = await stack.enter_async_context(session(shared_plc.endpoint, line_security(certs)))
        await until(lambda: device.problem() is None)

        def operate(act: Callable[[PlcState], PlcState]) -> None:
            plant.operate("weld1", act)

        async def show() -> None:
            await one.refresh("weld1")

        stack.push_async_callback(show)
        yield Bench(
            _Refreshed(device, show),
            partial(break_plc, plant),
            partial(operate, partial(by_hand.set_setpoint, parameter="laser_power_w", value=1010.0)),
            partial(operate, by_hand.lock),
            partial(operate, by_hand.raise_alarm),
            shared_plc.stop,
        )


class _Refreshed:
    """The real one; what was done at the panel is shown before it is read, and time has gone on."""

    def __init__(self, one: OpcUaPlc, show: Callable[[], Awaitable[None]]) -> None:
        self._one = one
        self._show = show
        self.command, self.heartbeat = one.command, one.heartbeat
        self.take_control, self.release_control = one.take_control, one.release_control

    async def read(self, station: str) -> Any:
        await self._show()
        return await self._one.read(station)


@asynccontextmanager
async def session(endpoint: str, security: Security | None = None) -> AsyncIterator[OpcUaPlc]:
    """A PLC client that may not be connected yet."""
    async with plc(
        endpoint,
        ["weld1"],
        asyncio.Event(),
        timeout_s=2.0,
        metrics=Metrics(CollectorRegistry()),
        security=security,
    ) as one:
        yield one


@pytest_asyncio.fixture(params=[fake_bench, real_bench], ids=["fake", "opcua"], loop_scope="module")
async def bench(request: pytest.FixtureRequest, shared_plc: SharedPlc, certs: Path) -> AsyncIterator[Bench]:
    async with request.param(shared_plc, certs) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def remote(bench: Bench) -> Bench:
    """The same, with control taken."""
    await bench.plc.take_control("weld1", "take")
    return bench


def command(command_id: str = "c1", sequence: int = 1, **other: Any) -> Command:
    now = datetime.now(UTC)
    given: dict[str, Any] = {
        "action": SetParameter(parameter=Parameter.LASER_POWER_W, value=1020.0, expected=1000.0),
        "recipe": RECIPE,
        "issued_at": now,
        "expires_at": now + timedelta(seconds=5),
    }
    return Command(command_id=command_id, sequence=sequence, **{**given, **other})


async def refused(request: Awaitable[object]) -> str:
    with pytest.raises(PlcRefused) as found:
        await request
    return found.value.code


async def test_what_is_commanded_is_read_back(remote: Bench) -> None:
    first = await remote.plc.read("weld1")
    assert (first.power_w, first.focus_mm, first.mode, first.recipe) == (1000.0, 0.0, EXECUTE, RECIPE)
    await remote.plc.command("weld1", command())
    focus = SetParameter(parameter=Parameter.FOCUS_MM, value=-0.25, expected=0.0)
    await remote.plc.command("weld1", command("c2", 2, action=focus))
    after = await remote.plc.read("weld1")
    assert (after.power_w, after.focus_mm, after.last_sequence, after.last_command_id) == (
        1020.0,
        -0.25,
        2,
        "c2",
    )


async def test_a_hold_is_read_back_as_held_and_needs_no_control(bench: Bench) -> None:
    await bench.plc.command("weld1", command(action=Hold(reason="gap")))
    after = await bench.plc.read("weld1")
    assert (after.mode, after.control_source) == (HELD, LOCAL)


async def test_a_command_sent_twice_acts_once(remote: Bench) -> None:
    await remote.plc.command("weld1", command())
    await remote.plc.command("weld1", command())
    after = await remote.plc.read("weld1")
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
async def test_the_device_refuses_what_is_wrong(remote: Bench, wrong: dict[str, Any], code: str) -> None:
    assert await refused(remote.plc.command("weld1", command(**wrong))) == code
    assert (await remote.plc.read("weld1")).power_w == 1000.0


async def test_a_refusal_of_its_own_is_told_by_its_code(remote: Bench) -> None:
    remote.break_it(refuse_writes=True)
    assert await refused(remote.plc.command("weld1", command())) == "BadUserAccessDenied"


@pytest.mark.parametrize("how", ["lock", "alarm", "by_hand", "release"])
async def test_what_is_not_ours_to_command_is_refused(remote: Bench, how: str) -> None:
    if how == "release":
        await remote.plc.release_control("weld1", "r", "done")
    else:
        getattr(remote, how)()
    assert await refused(remote.plc.command("weld1", command())) == "BadInvalidState"


async def test_control_is_taken_kept_by_heartbeats_and_released(bench: Bench) -> None:
    before = await bench.plc.read("weld1")
    assert (before.control_source, before.local_reason, before.remote) == (LOCAL, "startup", False)
    assert await refused(bench.plc.heartbeat("weld1", 1)) == "BadInvalidState"
    await bench.plc.take_control("weld1", "t1")
    after = await bench.plc.read("weld1")
    assert (after.control_source, after.local_reason, after.remote) == (REMOTE, "", True)
    assert await bench.plc.heartbeat("weld1", 7) >= 0
    assert await refused(bench.plc.heartbeat("weld1", 7)) == "BadSequenceNumberInvalid"
    await bench.plc.heartbeat("weld1", 8)
    await bench.plc.release_control("weld1", "r1", "done")
    await bench.plc.release_control("weld1", "r2", "again: it is Local already")
    after = await bench.plc.read("weld1")
    assert (after.control_source, after.local_reason) == (LOCAL, "released")
    await bench.plc.take_control("weld1", "t2")
    await bench.plc.heartbeat("weld1", 1)  # a new hold of control counts anew


async def test_an_operator_has_the_key_and_the_lock(bench: Bench) -> None:
    bench.lock()
    assert await refused(bench.plc.take_control("weld1", "t1")) == "BadInvalidState"
    assert (await bench.plc.read("weld1")).maintenance_lock


async def test_a_value_set_by_hand_is_seen_with_its_reason(remote: Bench) -> None:
    remote.by_hand()
    seen = await remote.plc.read("weld1")
    assert (seen.power_w, seen.control_source, seen.local_reason) == (1010.0, LOCAL, BY_OPERATOR)
    assert await refused(remote.plc.take_control("weld1", "t9")) == "BadInvalidState"
    await remote.plc.release_control("weld1", "r9", "the reason why it is Local stays")
    assert (await remote.plc.read("weld1")).local_reason == BY_OPERATOR


async def test_its_beat_goes_on_unless_its_program_stands_still(bench: Bench) -> None:
    first = (await bench.plc.read("weld1")).beat

    async def grown() -> bool:
        return (await bench.plc.read("weld1")).beat > first

    await until(grown)
    bench.break_it(freeze_beat=True)
    frozen = await bench.plc.read("weld1")
    assert (await bench.plc.read("weld1")).beat == frozen.beat


@pytest.mark.parametrize(
    ("faults", "shown"),
    [
        ({"ignore_writes": True}, 1000.0),
        ({"apply_fraction": 0.5}, 1010.0),
        ({"ignore_writes": True, "echo_read_back": True}, 1020.0),
    ],
)
async def test_what_it_shows_is_what_it_says_it_holds(
    remote: Bench, faults: dict[str, Any], shown: float
) -> None:
    """The last one lies, and nobody can tell from here."""
    remote.break_it(**faults)
    await remote.plc.command("weld1", command())
    assert (await remote.plc.read("weld1")).power_w == shown


async def test_a_device_that_is_away_is_unavailable(bench: Bench) -> None:
    await bench.go_away()
    for request in (
        bench.plc.command("weld1", command()),
        bench.plc.take_control("weld1", "t"),
        bench.plc.release_control("weld1", "r", "done"),
        bench.plc.heartbeat("weld1", 1),
    ):
        with pytest.raises(PlcUnavailable):
            await request


# ---- only the real one


async def test_an_answer_that_does_not_come_is_unavailable_and_holds_up_nothing_else() -> None:
    endpoint, plant = free_endpoint(), new_plant(watchdog_s=60.0)
    async with serving(endpoint, plant), session(endpoint) as one:
        await until(lambda: one.problem() is None)
        await one.take_control("weld1", "t")
        break_plc(plant, drop_answers=True)
        waiting = asyncio.create_task(one.command("weld1", command()))
        await until(lambda: plant.plc("weld1").last_sequence == 1)
        await one.heartbeat("weld1", 1)
        assert not waiting.done()
        with pytest.raises(PlcUnavailable):
            await waiting
        assert (await one.read("weld1")).power_w == 1020.0


@pytest.mark.parametrize("code", [ua.StatusCodes.BadSensorFailure, ua.StatusCodes.UncertainLastUsableValue])
async def test_a_value_of_bad_quality_is_none(code: int) -> None:
    endpoint = free_endpoint()
    async with serving(endpoint, new_plant()) as server, session(endpoint) as one:
        await until(lambda: one.problem() is None)
        node = server._nodes["weld1"]["LaserPower"]
        doubtful = ua.DataValue(ua.Variant(1000.0), StatusCode=ua.StatusCode(ua.UInt32(code)))
        await server._server.write_attribute_value(node.nodeid, doubtful)
        with pytest.raises(PlcUnavailable, match="LaserPower of weld1"):
            await one.read("weld1")
        await server._server.write_attribute_value(node.nodeid, ua.DataValue(ua.Variant(1000.0)))
        assert (await one.read("weld1")).power_w == 1000.0


async def test_a_session_is_made_anew_whatever_answered_in_between() -> None:
    """The PLC, nobody, a server that is no PLC of ours, something else altogether, and the PLC again."""
    endpoint, plant = free_endpoint(), new_plant()
    port = int(endpoint.split(":")[2].split("/")[0])
    async with session(endpoint) as one:
        async with serving(endpoint, plant):
            await until(lambda: one.problem() is None)
        await until(lambda: one.problem() is not None)
        other = Server()
        await other.init()
        other.set_endpoint(endpoint)
        async with other:
            await until(lambda: "no namespace" in (one.problem() or ""))
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
            await until(lambda: one.problem() is None)
            assert (await one.read("weld1")).power_w == 1000.0


async def test_without_a_server_there_is_a_problem_and_no_session() -> None:
    one = OpcUaPlc(free_endpoint(), ["weld1"], 1.0, Metrics(CollectorRegistry()))
    assert "no session" in (one.problem() or "")
    with pytest.raises(PlcUnavailable):
        await one.read("weld1")


# ---- whom it believes


async def tries(one: OpcUaPlc) -> str:
    """What is wrong once it has tried to connect."""
    await until(lambda: "yet" not in (one.problem() or "yet"))
    return one.problem() or ""


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and certificates that look the same and are others."""
    folder = tmp_path_factory.mktemp("strangers")
    local_certs.make(folder, datetime.now(UTC))
    return folder


async def test_a_server_with_another_certificate_is_not_believed(certs: Path, strangers: Path) -> None:
    """It trusts us, whoever it is; we do not trust it."""
    endpoint = free_endpoint()
    own = certs / "opcua" / "line.cert.der"
    (strangers / "opcua" / "trusted-by-plc" / "the-line.cert.der").write_bytes(own.read_bytes())
    plant = new_plant()
    async with serving(endpoint, plant, strangers), session(endpoint, line_security(certs)) as one:
        await until(lambda: "BadCertificateUntrusted" in (one.problem() or ""))
        with pytest.raises(PlcUnavailable):
            await one.command("weld1", command())


async def test_a_client_with_another_certificate_is_not_let_in(certs: Path, strangers: Path) -> None:
    endpoint = free_endpoint()
    theirs = line_security(strangers)
    believes = Security(theirs.certificate, theirs.key, line_security(certs).trusted)
    async with serving(endpoint, new_plant(), certs), session(endpoint, believes) as one:
        assert "no session" in await tries(one)


async def test_a_server_that_speaks_in_the_clear_is_not_spoken_to(certs: Path) -> None:
    endpoint = free_endpoint()
    async with serving(endpoint, new_plant()), session(endpoint, line_security(certs)) as one:
        assert "no session" in await tries(one)


async def test_without_keys_there_is_no_session_with_a_secured_plc(certs: Path) -> None:
    endpoint = free_endpoint()
    async with serving(endpoint, new_plant(), certs), session(endpoint) as one:
        assert "no session" in await tries(one)


@pytest.mark.parametrize("missing", ["certificate", "key", "trusted"])
async def test_missing_files_are_named(certs: Path, tmp_path: Path, missing: str) -> None:
    security = replace(line_security(certs), **{missing: tmp_path / "missing.pem"})
    endpoint = free_endpoint()
    async with serving(endpoint, new_plant(), certs), session(endpoint, security) as one:
        assert "missing.pem" in await tries(one)
