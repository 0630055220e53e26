"""The whole stack under measurement: all that `make up` starts, commissioned, with models for the loads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import httpx
from bench.workload import announce, serve

from bench_capacity.meter import Snapshot, cpu_s, folder_bytes, log_bytes, rss, summed
from bench_capacity.points import SHAPES
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import TELEMETRY_FACTORY
from twinloop.local.demo.commissioning import commission, served
from twinloop.local.demo.operator import People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.scenarios import CLOSED, OPEN, asset
from twinloop.local.services import SERVICES
from twinloop.local.stack import Stack

PROGRAMS: Final = (
    "ingest",
    "detector",
    "historian",
    "modelops",
    "controller",
    "twin",
    "line",
    "kafka",
    "triton",
)
FILE_AGE_S: Final = 2
"""Of the historian: how long a record waits for its file at most. As delivered, 60: larger files."""
DRAIN_S: Final = 120.0

Say = Callable[[str], None]


class Scene:
    """A commissioned stack that can be read. `metrics`: where Triton serves its own."""

    def __init__(self, stack: Stack, panel: Panel, metrics: str) -> None:
        self.stack, self.panel = stack, panel
        self._metrics = metrics
        # A connection of its own each time: a service closes one that was quiet, perhaps just as it is used.
        self._client = httpx.AsyncClient(timeout=10, limits=httpx.Limits(max_keepalive_connections=0))

    async def close(self) -> None:
        await self._client.aclose()

    async def look(self) -> Snapshot:
        """Everything, now."""
        where = self.stack.endpoints
        counted: dict[str, float] = {}
        pages = {**{name: f"{where.health[name]}/metrics" for name in where.health}, "triton": self._metrics}
        for name, url in pages.items():
            answer = await self._client.get(url)
            answer.raise_for_status()
            counted |= {f"{name}:{metric}": value for metric, value in summed(answer.text).items()}
        return Snapshot(
            at_s=time.monotonic(),
            cpu_s={name: cpu_s(self.stack.pid(name)) for name in PROGRAMS},
            rss={name: rss(self.stack.pid(name)) for name in PROGRAMS},
            log=log_bytes(where.state / "kafka" / "data"),
            parquet=folder_bytes(where.parquet, "*.parquet"),
            counted=counted,
        )

    async def drained(self, before: Snapshot, frames: int) -> Snapshot:
        """When the detector and the historian have done `frames` more and nobody has anything left to read.
        Raises TimeoutError, which says what was left."""
        deadline = time.monotonic() + DRAIN_S
        while True:
            now = await self.look()
            done = now.more(before, "detector:twinloop_detector_records_total")
            left = sum(value for name, value in now.counted.items() if name.endswith("_lag_records"))
            left += now.counted.get("historian:twinloop_historian_waiting_records", 0.0)
            kept = now.more(before, "historian:twinloop_historian_records_total")
            if done >= frames and kept >= frames and left == 0:
                return now
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"of {frames} frames the detector has done {done:.0f} and the historian kept {kept:.0f}"
                    f" after {DRAIN_S:.0f} s, with {left:.0f} records left to read"
                )
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def scene(folder: Path, say: Say) -> AsyncIterator[Scene]:
    """Start everything, commission the line, and serve a model for each shape."""
    sets = folder / "signal-sets.toml"
    sets.write_text(_signal_sets())
    port = _free_port()
    services = [
        {
            "ingest": one.with_settings(TWINLOOP_INGEST_SIGNAL_SETS=str(sets)),
            "historian": one.with_settings(TWINLOOP_HISTORIAN_MAX_AGE_S=str(FILE_AGE_S)),
            # As delivered: one verdict in a hundred.
            "detector": one.with_settings(TWINLOOP_DETECTOR_SCORE_EVERY="100"),
        }.get(one.name, one)
        for one in SERVICES
    ]
    env = {"TWINLOOP_TRITON_METRICS_PORT": str(port)}
    async with Stack(folder / "stack", services=services, env=env) as stack:
        where = stack.endpoints
        async with Panel(where.health["simulator"]) as panel:
            await stack.guard(commission(stack, panel, say))
            async with People(where.health["twin"], stack.state.certs / "tokens") as people:
                await people.promote(asset(CLOSED), Mode.AUTO, "commissioned to be measured")
            for one in SHAPES.values():
                await serve(stack, one)
                await announce(where.kafka, "", one)
            await served(where.health["detector"], 1 + len(SHAPES))
            made = Scene(stack, panel, f"http://127.0.0.1:{port}/metrics")
            try:
                yield made
            finally:
                await made.close()


def stations() -> list[str]:
    """Those that weld."""
    return [CLOSED, OPEN]


def telemetry(log: dict[str, int]) -> int:
    """Bytes of the factory's telemetry."""
    return log.get(TELEMETRY_FACTORY.name, 0)


def _signal_sets() -> str:
    tables = []
    for one in SHAPES.values():
        signals = ",\n  ".join(f'{{ name = "signal{n}", unit = "1" }}' for n in range(one.signals))
        tables.append(
            f'[[signal_set]]\nname = "{one.signal_set}"\nkind = "factory"\nsignals = [\n  {signals}\n]\n'
        )
    return "\n".join(tables)


def _free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        number: int = holder.getsockname()[1]
        return number
