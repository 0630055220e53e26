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
from twinloop.runtime.observability import logging
from twinloop.tritonio.errors import DeadlineExceeded, InferenceFailed, TritonError, TritonUnavailable
from twinloop.tritonio.server import Floats, Inference, InferenceServer

log = logging.logger(__name__)

PROBE_S = 2.0
PROBE_OPEN_S = 0.5
_NOT_YET = "triton was not asked yet"

_Version = tuple[str, int]


class Circuit:
    """Not healthy before the first look."""

    def __init__(self, server: InferenceServer, metrics: Metrics) -> None:
        self._server = server
        self._metrics = metrics
        self._open: dict[_Version, str] = {}
        self._deciding: frozenset[_Version] = frozenset()
        self._probes: dict[_Version, asyncio.Task[None]] = {}
        self._away: str | None = _NOT_YET

    def problem(self) -> str | None:
        """Health check: what is wrong with the server or a model that decides for somebody. Another one holds
        nobody up."""
        problems = (why for version, why in self._open.items() if version in self._deciding)
        return self._away or next(problems, None)

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
        try:
            while not stopping.is_set():
                self._deciding = frozenset(map(_version, routes.deciding()))
                await self._look(routes.contracts())
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), PROBE_OPEN_S if self._open else PROBE_S)
        finally:
            for probe in self._probes.values():
                probe.cancel()

    async def _look(self, contracts: list[ModelContract]) -> None:
        """Begin to probe each version whose last probe has ended: one that hangs holds up itself alone."""
        away = None if await self._server.ready() else "triton does not answer"
        for gone in set(self._open) - {_version(one) for one in contracts}:
            del self._open[gone]  # nobody is served by it any more
            self._tell(gone[0])
        for version in [version for version, probe in self._probes.items() if probe.done()]:
            self._probes.pop(version).result()
        for contract in contracts:
            if _version(contract) not in self._probes:
                self._probes[_version(contract)] = asyncio.ensure_future(self._probe(contract))
        if self._away == _NOT_YET and self._probes:
            await asyncio.wait(self._probes.values())
        self._away = away

    async def _probe(self, contract: ModelContract) -> None:
        with suppress(TritonError):
            await self.probe(contract)

    def _opened(self, contract: ModelContract, why: str) -> None:
        if _version(contract) not in self._open:
            log.warning("circuit opened", model=contract.model, version=contract.version, problem=why)
            self._metrics.circuit_opened.labels(contract.model).inc()
        self._open[_version(contract)] = why
        self._tell(contract.model)

    def _closed(self, contract: ModelContract) -> None:
        if self._open.pop(_version(contract), None) is not None:
            log.info("circuit closed", model=contract.model, version=contract.version)
        self._tell(contract.model)

    def _tell(self, model: str) -> None:
        """Whether any version of it is not asked."""
        self._metrics.circuit_open.labels(model).set(any(name == model for name, _ in self._open))


def _version(contract: ModelContract) -> _Version:
    return contract.model, contract.version
