"""Health of the models between batches: a synthetic inference on each, every few seconds.

Triton's own readiness is no substitute: it stays ready when a model's process has died.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from twinloop.detector.routes import Routes
from twinloop.tritonio.errors import TritonError
from twinloop.tritonio.server import InferenceServer

EVERY_S = 2.0


class Watch:
    """Knows the newest problem. Not ready before the first look."""

    def __init__(self, server: InferenceServer) -> None:
        self._server = server
        self._problem: str | None = "triton was not asked yet"

    def problem(self) -> str | None:
        """Health check: what is wrong with the server or a model that serves somebody."""
        return self._problem

    async def run(self, routes: Routes, stopping: asyncio.Event) -> None:
        """Look until told to stop."""
        while not stopping.is_set():
            self._problem = await self._look(routes)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), EVERY_S)

    async def _look(self, routes: Routes) -> str | None:
        if not await self._server.ready():
            return "triton does not answer"
        for contract in routes.contracts():
            try:
                await self._server.probe(contract)
            except TritonError as trouble:
                return str(trouble)
        return None
