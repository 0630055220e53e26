"""Health and metrics over HTTP: `/health/live`, `/health/ready`, `/metrics`.

Live means that the event loop turns; an outage of Kafka or Triton must not fail it. Ready means that every
registered check passes; before the service has registered its first, it is starting.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

Check = Callable[[], str | None]


class Health:
    """Readiness checks by name. A check returns `None` when all is well, else what is missing.

    `beneath` are those of what every service stands on.
    """

    def __init__(self, **beneath: Check) -> None:
        self._beneath = beneath
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Register `check`; it is called on each request and must not block."""
        self._checks[name] = check

    def missing(self) -> dict[str, str]:
        """What is not ready, by check; empty when ready."""
        checks = [*self._beneath.items(), *self._checks.items()]
        found = {name: problem for name, check in checks if (problem := check()) is not None}
        return found if self._checks else {"service": "starting", **found}


def routes(health: Health, registry: CollectorRegistry) -> list[BaseRoute]:
    """The three routes that every service serves."""

    async def live(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(_: Request) -> Response:
        missing = health.missing()
        return JSONResponse({"ready": not missing, "missing": missing}, status_code=503 if missing else 200)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics),
    ]


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the service's life cycle owns the signals."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


@contextlib.asynccontextmanager
async def serve(
    health: Health, registry: CollectorRegistry, host: str, port: int, api: ASGIApp | None = None
) -> AsyncIterator[int]:
    """Serve health, metrics and, beside them, the service's own `api`; yields the port bound.

    Raises `OSError` when the port is taken.
    """
    listener = socket.create_server((host, port))
    listener.setblocking(False)
    bound: int = listener.getsockname()[1]
    app = Starlette(routes=[*routes(health, registry), *([Mount("/", api)] if api is not None else [])])
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        yield bound
    finally:
        server.should_exit = True
        await task
        listener.close()
