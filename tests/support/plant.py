"""A plant with two stations behind a real OPC UA server, for tests of whoever talks to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from support.ports import free_endpoint
from twinloop.line.security import Security as LineSecurity
from twinloop.runtime.clock import SystemClock
from twinloop.simulator import metrics
from twinloop.simulator.opcua import PlcServer, serve
from twinloop.simulator.opcua_server import Security
from twinloop.simulator.plant import Plant, StationSpec
from twinloop.simulator.plc_faults import PlcFaults
from twinloop.simulator.plc_state import Range

RECIPE = "cu-al-tab-7"
STATION = "weld1"


def _stations(watchdog_s: float) -> dict[str, StationSpec]:
    spec = StationSpec(RECIPE, Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25), watchdog_s)
    return {STATION: spec, "weld2": spec}


def new_plant(watchdog_s: float = 1.5) -> Plant:
    """Two stations of the reference plant."""
    return Plant(_stations(watchdog_s), 1)


def break_plc(plant: Plant, station: str = STATION, **faults: Any) -> None:
    """From now on this is wrong with the station's PLC, and nothing else."""
    plant.operate(station, lambda state: replace(state, faults=PlcFaults(**faults)))


@asynccontextmanager
async def serving(endpoint: str, plant: Plant, certs: Path | None = None) -> AsyncIterator[PlcServer]:
    """The plant's server; secured by the keys in the folder `certs` of `twinloop.local.keys.certs`."""
    security = None
    if certs is not None:
        own = certs / "opcua"
        security = Security(own / "plc.cert.der", own / "plc.key.pem", own / "trusted-by-plc")
    registry = metrics.Metrics(CollectorRegistry())
    # The machine's own uptime: it goes on from one server of a plant to the next, as the PLC's does.
    clock, uptime = SystemClock(), time.monotonic
    async with serve(endpoint, plant, clock, registry, security=security, uptime=uptime) as server:
        yield server


class _Renewable(Plant):
    def renew(self, watchdog_s: float) -> None:
        super().__init__(_stations(watchdog_s), 1)


class SharedPlc:
    """A plant with its secured server for the tests of a module: to make a server takes seconds.

    Each test begins with `renew`, and may `stop` it. Who talks to it closes his connection before the next.
    """

    def __init__(self, certs: Path) -> None:
        self.endpoint = free_endpoint()
        self.plant = _Renewable(_stations(1.5), 1)
        self._certs = certs
        self._running = AsyncExitStack()
        self._server: PlcServer | None = None

    async def renew(self, watchdog_s: float) -> PlcServer:
        """A new plant, as if nothing had been; the server."""
        self.plant.renew(watchdog_s)
        if self._server is None:
            serves = serving(self.endpoint, self.plant, self._certs)
            self._server = await self._running.enter_async_context(serves)
        for station in self.plant.stations:
            await self._server.refresh(station)
        return self._server

    async def stop(self) -> None:
        """Let nobody be there."""
        self._server = None
        await self._running.aclose()


def line_security(certs: Path) -> LineSecurity:
    """Of the line, from the same folder."""
    own = certs / "opcua"
    return LineSecurity(own / "line.cert.der", own / "line.key.pem", own / "trusted-by-line")
