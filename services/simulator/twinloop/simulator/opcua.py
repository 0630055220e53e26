"""The OPC UA side of the plant: the PLC of each station, as variables that are read and methods that decide.

    Objects/Stations/<station>/ LaserPower FocusOffset EndOfLineLimit PartCounter PackMLState Recipe
                                LastCommandSequence LastCommandId ControlSource LocalReason Beat
                                MaintenanceLock HighAlarm
                                SetParameter() Hold() Resume() TakeControl() ReleaseControl() Heartbeat()

All in the namespace `urn:twinloop:reference-plant`. The variables are read-only for every client: a writable
one would take any value. A refusal is a status code that is returned; raising would turn it into
BadUnexpectedError.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC

from asyncua import ua
from asyncua.common.node import Node
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes

from twinloop.runtime.clock import Clock
from twinloop.runtime.observability.logging import logger
from twinloop.simulator.commands import FOCUS, LIMIT, POWER, Code
from twinloop.simulator.metrics import Metrics
from twinloop.simulator.opcua_methods import (
    BOOLEAN,
    DOUBLE,
    METHODS,
    STRING,
    UINT64,
    Method,
    argument,
    command_in,
)
from twinloop.simulator.opcua_server import PlantServer, Security, Unanswered
from twinloop.simulator.plant import Plant
from twinloop.simulator.plc_faults import fate

log = logger(__name__)

NAMESPACE_URI = "urn:twinloop:reference-plant"
TICK_S = 0.05
"""How often the PLCs look at their clocks: a watchdog falls at most this much late."""

Call = Callable[..., Awaitable[list[ua.Variant] | ua.StatusCode]]


class PlcServer:
    """The server's address space, kept like `plant`. Use `serve`."""

    def __init__(
        self, server: Server, plant: Plant, clock: Clock, metrics: Metrics, uptime: Callable[[], float]
    ) -> None:
        self._server = server
        self._plant = plant
        self._clock = clock
        self._uptime = uptime
        self._metrics = metrics
        self._nodes: dict[str, dict[str, Node]] = {}
        self._shown: dict[tuple[str, str], object] = {}
        self._refreshing = asyncio.Lock()
        self._problem: str | None = None

    def problem(self) -> str | None:
        """Health check: why the PLCs' time stands still."""
        return self._problem

    async def build(self) -> None:
        """Create the nodes of every station."""
        index = await self._server.register_namespace(NAMESPACE_URI)
        stations = await self._server.nodes.objects.add_folder(
            _node_id("Stations", index), ua.QualifiedName("Stations", index)
        )
        for name in self._plant.stations:
            station = await stations.add_object(_node_id(name, index), ua.QualifiedName(name, index))
            self._nodes[name] = {
                variable: await station.add_variable(
                    _node_id(f"{name}/{variable}", index), ua.QualifiedName(variable, index), value
                )
                for variable, value in self._values(name).items()
            }
            for method, how in METHODS.items():
                await station.add_method(
                    _node_id(f"{name}/{method}", index),
                    ua.QualifiedName(method, index),
                    self._method(name, method, how),
                    [argument(*one) for one in how.arguments],
                    [argument(*how.answer)],
                )

    async def keep(self) -> None:
        """Let the PLCs' time go on, until cancelled."""
        try:
            while True:
                await self.tick()
                await asyncio.sleep(TICK_S)
        except Exception as error:
            self._problem = f"the PLCs' time stands still: {error!r}"
            log.exception("the plcs' time stands still")
            raise

    async def tick(self) -> None:
        """Let the PLCs look at their clocks, and show what came of it."""
        self._plant.tick(self._uptime())
        for station in self._plant.stations:
            await self.refresh(station)

    async def refresh(self, station: str) -> None:
        """Show what the station's PLC and part counter are now."""
        # One at a time: a slower one would write what it read before a faster one wrote the newer.
        async with self._refreshing:
            now = ua.DateTime.fromtimestamp(self._clock.now().timestamp(), UTC)
            for variable, value in self._values(station).items():
                if self._shown.get((station, variable)) != value.Value:
                    self._shown[station, variable] = value.Value
                    await self._server.write_attribute_value(
                        self._nodes[station][variable].nodeid,
                        ua.DataValue(value, SourceTimestamp=now),
                    )

    def _values(self, station: str) -> dict[str, ua.Variant]:
        plc = self._plant.plc(station)
        return {
            "LaserPower": ua.Variant(plc.shown[POWER], DOUBLE),
            "FocusOffset": ua.Variant(plc.shown[FOCUS], DOUBLE),
            "EndOfLineLimit": ua.Variant(plc.shown[LIMIT], DOUBLE),
            "PartCounter": ua.Variant(self._plant.counter(station), UINT64),
            "PackMLState": ua.Variant(plc.mode.value, STRING),
            "Recipe": ua.Variant(plc.recipe, STRING),
            "LastCommandSequence": ua.Variant(plc.last_sequence, UINT64),
            "LastCommandId": ua.Variant(plc.last_command_id, STRING),
            "ControlSource": ua.Variant(plc.control.value, STRING),
            "LocalReason": ua.Variant(plc.local_reason.value, STRING),
            "Beat": ua.Variant(plc.beat, UINT64),
            "MaintenanceLock": ua.Variant(plc.maintenance_lock, BOOLEAN),
            "HighAlarm": ua.Variant(plc.high_alarm, BOOLEAN),
        }

    def _method(self, station: str, method: str, how: Method) -> Call:
        async def call(_parent: ua.NodeId, *given: ua.Variant) -> list[ua.Variant] | ua.StatusCode:
            command = command_in(how, given)
            if command is None:
                self._metrics.commands.labels(station, method, Code.BAD_INVALID_ARGUMENT).inc()
                return ua.StatusCode(ua.UInt32(StatusCodes.BadInvalidArgument))
            becomes = fate(self._plant.plc(station).faults, command)
            if not becomes.acts:
                self._metrics.commands.labels(station, method, "Unanswered").inc()
                raise Unanswered
            await _later(becomes.acts_after_s)
            outcome = self._plant.command(station, command, self._clock.now(), self._uptime())
            await self.refresh(station)
            if not becomes.answers:
                self._metrics.commands.labels(station, method, "Unanswered").inc()
                raise Unanswered
            await _later(becomes.answers_after_s)
            self._metrics.commands.labels(station, method, outcome.code).inc()
            if outcome.code is not Code.GOOD:
                return ua.StatusCode(ua.UInt32(getattr(StatusCodes, outcome.code)))
            return [ua.Variant(how.value(outcome), how.answer[1])]

        return call


async def _later(delay_s: float) -> None:
    if delay_s > 0:
        await asyncio.sleep(delay_s)


def _node_id(text: str, index: int) -> ua.NodeId:
    return ua.NodeId.from_string(f"ns={index};s={text}")


@contextlib.asynccontextmanager
async def serve(
    endpoint: str,
    plant: Plant,
    clock: Clock,
    metrics: Metrics,
    *,
    security: Security | None = None,
    uptime: Callable[[], float] | None = None,
) -> AsyncIterator[PlcServer]:
    """Serve the PLCs of `plant` at `endpoint`, `opc.tcp://host:port/path`, and let their time go on.

    `security` `None` lets everybody in. `uptime`: seconds since the PLCs' start, by default the machine's.
    Raises `OSError` when the port is taken, and `SecurityUnusable`.
    """
    started_s = time.monotonic()
    server = PlantServer()
    await server.open(endpoint, security)
    plcs = PlcServer(server, plant, clock, metrics, uptime or (lambda: time.monotonic() - started_s))
    await plcs.build()
    await server.start()
    keeping = asyncio.create_task(plcs.keep(), name="plcs")
    try:
        yield plcs
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await server.stop()
