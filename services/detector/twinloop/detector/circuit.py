"""The circuit breaker between the detector and Triton, one for each model version.

closed: inferences go through; a probe every `PROBE_S` finds out what happens between them.
open:   since one failed, all fail at once; a probe every `PROBE_OPEN_S` closes it.

The probe is an inference on zeros. Triton's own readiness is no substitute: it stays ready when a model's
process has died, and answers 500 for ever.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from twinloop.contracts.models import ModelContract
from twinloop.detector.metrics import Metrics
from twinloop.detector.routes import Routes
from twinloop.runtime import logging
from twinloop.tritonio.errors import DeadlineExceeded, InferenceFailed, TritonError, TritonUnavailable
from twinloop.tritonio.server import Floats, Inference, InferenceServer

log = logging.logger(__name__)

PROBE_S = 2.0
PROBE_OPEN_S = 0.5

_Version = tuple[str, int]


class Circuit:
    """Not healthy before the first look."""

    def __init__(self, server: InferenceServer, metrics: Metrics) -> None:
        self._server = server
        self._metrics = metrics
        self._open: dict[_Version, str] = {}
        self._away: str | None = "triton was not asked yet"

    def problem(self) -> str | None:
        """Health check: what is wrong with the server or a model that serves somebody."""
        return self._away or next(iter(self._open.values()), None)

    async def infer(
        self, contract: ModelContract, *windows: Floats, memory: Floats | None = None
    ) -> Inference:
        """See `InferenceServer`. Raises `TritonUnavailable` at once while the circuit is open.

        An `InferenceFailed` or a `DeadlineExceeded` leaves it as it is: the windows, or their number, may be
        to blame; `probe` tells.
        """
        if (why := self._open.get(_version(contract))) is not None:
            raise TritonUnavailable(why)
        try:
            return await self._server.infer(contract, *windows, memory=memory)
        except (InferenceFailed, DeadlineExceeded):
            raise
        except TritonError as trouble:
            self._opened(contract, str(trouble))
            raise

    async def probe(self, contract: ModelContract) -> None:
        """See `InferenceServer`. Opens or closes the circuit."""
        try:
            await self._server.probe(contract)
        except TritonError as trouble:
            self._opened(contract, str(trouble))
            raise
        self._closed(contract)

    async def run(self, routes: Routes, stopping: asyncio.Event) -> None:
        """Probe until told to stop."""
        while not stopping.is_set():
            await self._look(routes.contracts())
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), PROBE_OPEN_S if self._open else PROBE_S)

    async def _look(self, contracts: list[ModelContract]) -> None:
        self._away = None if await self._server.ready() else "triton does not answer"
        for gone in set(self._open) - {_version(one) for one in contracts}:
            del self._open[gone]  # nobody is served by it any more
            self._metrics.circuit_open.labels(gone[0]).set(0)
        for contract in contracts:
            with suppress(TritonError):
                await self.probe(contract)

    def _opened(self, contract: ModelContract, why: str) -> None:
        if _version(contract) not in self._open:
            log.warning("circuit opened", model=contract.model, version=contract.version, problem=why)
            self._metrics.circuit_opened.labels(contract.model).inc()
        self._open[_version(contract)] = why
        self._metrics.circuit_open.labels(contract.model).set(1)

    def _closed(self, contract: ModelContract) -> None:
        if self._open.pop(_version(contract), None) is not None:
            log.info("circuit closed", model=contract.model, version=contract.version)
        self._metrics.circuit_open.labels(contract.model).set(0)


def _version(contract: ModelContract) -> _Version:
    return contract.model, contract.version
