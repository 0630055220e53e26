"""The life cycle of a service: start, run, stop in order and within a deadline.

    settings -> logs -> health server -> main(context) ... SIGTERM -> stopping -> main returns -> exit 0

`main` opens what it needs on `context.stack` (closed in reverse order) and returns once `context.stopping`
is set and its work is drained and committed. When it has not returned `grace_s` after the signal it is
cancelled and the process exits with 1: a supervisor must see that the drain was cut short.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import uvloop
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from starlette.types import ASGIApp, Receive, Scope, Send

from twinloop.runtime.clock import Clock, SystemClock
from twinloop.runtime.health import Health, serve
from twinloop.runtime.kafka import clients
from twinloop.runtime.observability import logging, tracing
from twinloop.runtime.observability.metrics import ServiceMetrics
from twinloop.runtime.settings import ServiceSettings

log = logging.logger(__name__)

_MEASURE_S = 0.1


@dataclass
class Context:
    """What `main` is given. `stack` closes in reverse order after `main` has returned."""

    name: str
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    health: Health = field(default_factory=lambda: Health(kafka=clients.not_started))
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    clock: Clock = field(default_factory=SystemClock)
    api: ASGIApp | None = None
    """The service's own HTTP API, served beside health and metrics; `main` may set it at any time."""

    async def serve_api(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand an HTTP or WebSocket request to `api`, or answer 404 while there is none."""
        if self.api is not None:
            await self.api(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"this service has no API\n"})


S = TypeVar("S", bound=ServiceSettings)
Main = Callable[[S, Context], Awaitable[None]]


async def _run(name: str, settings: S, main: Main[S]) -> int:
    context = Context(name)
    ProcessCollector(registry=context.registry)
    PlatformCollector(registry=context.registry)
    loop = asyncio.get_running_loop()
    measuring = asyncio.create_task(_measure_lag(ServiceMetrics(context.registry, name)))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, context.stopping.set)

    async def whole() -> None:
        async with context.stack:
            await main(settings, context)

    async with serve(
        context.health, context.registry, settings.health_host, settings.health_port, context.serve_api
    ) as port:
        log.info("started", host=settings.health_host, port=port)
        work = asyncio.create_task(whole(), name=name)
        stop = asyncio.create_task(context.stopping.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not work.done():
            log.info("stopping", grace_s=settings.grace_s)
            await asyncio.wait({work}, timeout=settings.grace_s)
        if not work.done():
            log.error("not stopped within the grace period")
            work.cancel()
            await asyncio.wait({work}, timeout=settings.grace_s)
            return 1
        try:
            work.result()
        except (Exception, asyncio.CancelledError) as error:
            log.error("failed", exc_info=error)
            return 1
    measuring.cancel()
    log.info("stopped")
    return 0


async def _measure_lag(metrics: ServiceMetrics) -> None:
    now = asyncio.get_running_loop().time
    while True:
        due = now() + _MEASURE_S
        await asyncio.sleep(_MEASURE_S)
        metrics.loop_lag_seconds.observe(max(0.0, now() - due))


def run(name: str, settings: S, main: Main[S], *, much_traffic: bool = False) -> int:
    """Run a service until it is told to stop; returns the process's exit status.

    With `much_traffic` on an event loop made for that (uvloop), and with a garbage collector that looks less
    often at many short-lived objects: each is worth a fifth of the detector's rate (`make bench`).
    """
    logging.configure(name, settings.log_format, settings.log_level)
    tracing.configure(name)
    if much_traffic:
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if much_traffic else None) as runner:
            return runner.run(_run(name, settings, main))
    except OSError as error:
        log.error("cannot start", problem=str(error))
        return 1
    finally:
        tracing.close()
