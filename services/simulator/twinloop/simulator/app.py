"""The simulator, wired: panel -> plant -> edge node (MQTT) and PLCs (OPC UA); panel -> fleet -> vehicles."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from twinloop.runtime.observability.logging import logger
from twinloop.runtime.service import Context
from twinloop.simulator import opcua, panel_fleets, telemetry
from twinloop.simulator.backlog import Backlog
from twinloop.simulator.campaign import Campaign, Run
from twinloop.simulator.commands import FOCUS, LIMIT, POWER
from twinloop.simulator.edge import EdgeNode
from twinloop.simulator.fleets.runner import FleetRunner
from twinloop.simulator.metrics import Metrics
from twinloop.simulator.panel import panel
from twinloop.simulator.plant import Plant
from twinloop.simulator.settings import PlantTable, SimulatorSettings
from twinloop.sparkplug import NodeId, Value

log = logger(__name__)


async def main(settings: SimulatorSettings, context: Context, *, table: PlantTable) -> None:
    """Run the plant until `context.stopping` is set."""
    started_at = context.clock.now().timestamp()
    # Part counters and bdSeq must go on from process to process. A real PLC retains them; the clock will do.
    first_part = int(started_at * 100) if settings.first_part is None else settings.first_part
    metrics = Metrics(context.registry)
    plant = Plant({name: station.spec() for name, station in table.stations.items()}, first_part)

    def birth_values() -> Mapping[str, Mapping[str, Value]]:
        plcs = {name: plant.plc(name) for name in plant.stations}
        return {
            name: telemetry.at_birth(
                plc.setpoints[POWER], plc.setpoints[FOCUS], plc.setpoints[LIMIT], plc.recipe
            )
            for name, plc in plcs.items()
        }

    node = NodeId(table.group, table.node)
    edge = EdgeNode(
        settings.mqtt_access,
        node,
        plant.stations,
        birth_values,
        context.clock,
        metrics,
        bd_seq=int(started_at) % 256,
        primary_host=settings.host,
        backlog=Backlog(settings.store_parts, round(1000 * settings.store_s)),
    )
    context.health.add("mqtt", edge.problem)
    plcs = await context.stack.enter_async_context(
        opcua.serve(settings.opcua, plant, context.clock, metrics, security=settings.security())
    )
    context.health.add("plc", plcs.problem)
    welding = Welding(plant, edge, plcs, metrics)
    fleets = FleetRunner(
        plant,
        node,
        settings.mqtt_access,
        settings.ingest,
        context.clock,
        metrics,
        asyncio.get_running_loop().time,
        settings.ingest_token_file,
    )
    context.api = panel(plant, welding.start, plcs.refresh, panel_fleets.routes(plant, fleets, context.clock))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fleets.run(context.stopping))
        tasks.create_task(edge.run(context.stopping))
        tasks.create_task(welding.run(context.stopping))


class Welding:
    """Makes the welds of the campaign at the panel when they are due, and reports them."""

    def __init__(self, plant: Plant, edge: EdgeNode, plcs: opcua.PlcServer, metrics: Metrics) -> None:
        self._plant = plant
        self._edge = edge
        self._plcs = plcs
        self._metrics = metrics
        self._begun = asyncio.Event()
        self._started_s = 0.0

    def start(self, campaign: Campaign) -> Run:
        """Begin `campaign` now."""
        run = self._plant.start(campaign)
        self._started_s = asyncio.get_running_loop().time()
        self._begun.set()
        log.info("campaign begins", name=campaign.name, welds=campaign.welds, stations=campaign.stations)
        return run

    async def run(self, stopping: asyncio.Event) -> None:
        """Weld until `stopping` is set."""
        stop = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
                await self._next(stop)
        finally:
            stop.cancel()

    async def _next(self, stop: asyncio.Task[bool]) -> None:
        """Wait for the next weld to be due, or for a campaign to begin, and weld."""
        run = self._plant.run
        if run is None or run.finished:
            await self._wait(stop, None)
            return
        loop = asyncio.get_running_loop()
        due_s = self._started_s + run.campaign.due_s(run.number)
        if due_s > loop.time():
            await self._wait(stop, due_s - loop.time())
            return
        self._metrics.behind_seconds.set(loop.time() - due_s)
        await self._weld(run)

    async def _wait(self, stop: asyncio.Task[bool], timeout_s: float | None) -> None:
        """Until it is time, a campaign begins, or the service stops."""
        begun = asyncio.create_task(self._begun.wait())
        try:
            await asyncio.wait({stop, begun}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
        self._begun.clear()

    async def _weld(self, run: Run) -> None:
        if run.number == 0:
            await self._edge.flush()
        with self._metrics.weld_seconds.time():
            parts = self._plant.weld_next()
        for part in parts:
            self._metrics.welds.labels(part.station).inc()
            await self._edge.report(part, run.campaign.faults.get(part.station, ()))
            await self._plcs.refresh(part.station)
        after = self._plant.run
        if after is not None and after.finished and after.campaign is run.campaign:
            await self._edge.flush()
            log.info("campaign ends", name=run.campaign.name, welds=after.number)
