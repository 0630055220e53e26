"""From an upload to a version that may serve: step by step, and nothing is left of what fails one.

unpack, check -> run (a process of its own), compare, latency -> publish -> load -> serve (the same windows
through Triton) -> marked as staged
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.models import ModelContract
from twinloop.modelops.errors import Refused, Step
from twinloop.modelops.golden import Bounds, enough, p99_s, run
from twinloop.modelops.loading import Keeper
from twinloop.modelops.metrics import Metrics
from twinloop.modelops.plan import Said, named
from twinloop.modelops.shelf import Held, Shelf, Staged
from twinloop.modelops.upload import files_of
from twinloop.runtime.observability import logging
from twinloop.tritonio.answers import differences
from twinloop.tritonio.artefact import Artefact, BadArtefact, Golden, unpack
from twinloop.tritonio.errors import ContractMismatch, TritonError, TritonUnavailable, VersionTaken
from twinloop.tritonio.server import InferenceServer, largest_request

log = logging.logger(__name__)


@dataclass(frozen=True, slots=True)
class Demands:
    """What a version must keep: the process's bounds, and seconds for the p99 of requests of one window."""

    bounds: Bounds
    budget_s: float


class Full(NamedTuple):
    """A request of as many windows as are sent at once, and how long it took; `None`: too long."""

    windows: int
    seconds: float | None


class Staging:
    """One artefact at a time. `now_s` measures latencies."""

    def __init__(
        self,
        shelf: Shelf,
        server: InferenceServer,
        keeper: Keeper,
        demands: Demands,
        metrics: Metrics,
        now_s: Callable[[], float],
    ) -> None:
        self._shelf = shelf
        self._server = server
        self._keeper = keeper
        self._demands = demands
        self._metrics = metrics
        self._now_s = now_s
        self._one = asyncio.Lock()

    async def stage(self, sent: bytes, said: Said) -> tuple[Held, bool]:
        """The version in the repository, and whether it is new. Raises `Refused`, and `TritonUnavailable`
        when it cannot be told whether the artefact is to blame: nothing is left in both cases."""
        async with self._one:
            try:
                held, new = await self._stage(sent, said)
            except Refused as refused:
                self._metrics.staged.labels(refused.step).inc()
                log.warning("refused", by=said.by, step=refused.step, problem=str(refused))
                raise
        self._metrics.staged.labels("staged" if new else "known").inc()
        log.info("staged", version=named(held.contract), by=said.by, new=new)
        return held, new

    async def _stage(self, sent: bytes, said: Said) -> tuple[Held, bool]:
        async with self._timed(Step.UNPACK):
            files = files_of(sent)
        async with self._timed(Step.CHECK):
            try:
                artefact = self._shelf.own(await asyncio.to_thread(unpack, files))
            except (BadArtefact, ContractMismatch) as error:
                raise Refused(Step.CHECK, str(error)) from error
        if (same := self._shelf.same(artefact.contract)) is not None and same.may_serve:
            return same, False
        run_p99_s = await self._run(artefact, files["golden.npz"])
        async with self._keeper.lock(artefact.contract.model):
            contract = await self._publish(artefact)
            try:
                await self._load(contract)
                served_p99_s, full = await self._serve(contract, artefact)
                staged = Staged(
                    at=said.at,
                    by=said.by,
                    reason=said.reason,
                    run_p99_s=run_p99_s,
                    served_p99_s=served_p99_s,
                    full_windows=full.windows,
                    full_s=full.seconds,
                )
                self._shelf.mark(contract, staged)
            except BaseException:
                await self._take_out(contract)
                raise
        held = self._shelf.find(contract.model, contract.version)
        assert held is not None
        return held, True

    async def _run(self, artefact: Artefact, golden: bytes) -> float:
        contract = artefact.contract
        async with self._timed(Step.RUN):
            ran = await run(contract, artefact.onnx, golden, self._demands.bounds)
        if wrong := differences(contract, artefact.golden.answer, ran.answer):
            raise Refused(Step.COMPARE, f"it answers otherwise than the trainer's computation: {_and(wrong)}")
        return self._latency(Step.LATENCY, ran.seconds)

    async def _publish(self, artefact: Artefact) -> ModelContract:
        async with self._timed(Step.PUBLISH):
            try:
                return await asyncio.to_thread(self._shelf.put, artefact)
            except (ContractMismatch, VersionTaken) as error:
                raise Refused(Step.PUBLISH, str(error)) from error

    async def _load(self, contract: ModelContract) -> None:
        async with self._timed(Step.LOAD):
            try:
                await self._server.load(contract.model)
            except TritonUnavailable:
                raise
            except TritonError as error:
                raise Refused(Step.LOAD, str(error)) from error

    async def _serve(self, contract: ModelContract, artefact: Artefact) -> tuple[float, Full]:
        """The p99 of requests of one window, and how a full one went."""
        golden = artefact.golden
        async with self._timed(Step.SERVE):
            try:
                await self._server.check(contract)
                await self._server.probe(contract)
                answer = await self._server.infer(contract, golden.windows, memory=golden.memory)
                if wrong := differences(contract, golden.answer, answer):
                    raise Refused(Step.SERVE, f"through Triton it answers otherwise: {_and(wrong)}")
                seconds: list[float] = []
                while not enough(seconds, self._demands.bounds):
                    one = np.array([len(seconds) % len(golden.windows)])
                    seconds.append(await self._asked_s(contract, golden, one))
                return self._latency(Step.SERVE, seconds), await self._full(contract, golden)
            except TritonUnavailable as error:
                if not await self._server.ready():
                    raise
                raise Refused(Step.SERVE, f"through Triton it does not answer in time: {error}") from error
            except TritonError as error:
                raise Refused(Step.SERVE, str(error)) from error

    async def _full(self, contract: ModelContract, golden: Golden) -> Full:
        """As a detector with many assets asks. One that takes too long for that is sent fewer at once: it is
        told here, since whoever has so many assets needs another version, or more instances."""
        windows = largest_request(contract.window, len(contract.signals))
        try:
            seconds = await self._asked_s(contract, golden, np.arange(windows) % len(golden.windows))
        except TritonUnavailable:
            if not await self._server.ready():
                raise
            log.warning("no answer to a full request in time", version=named(contract), windows=windows)
            return Full(windows, None)
        return Full(windows, seconds)

    async def _asked_s(self, contract: ModelContract, golden: Golden, which: NDArray[np.int64]) -> float:
        """Seconds for a request of these golden windows."""
        memory = None if golden.memory is None else golden.memory[which]
        began_s = self._now_s()
        await self._server.infer(contract, golden.windows[which], memory=memory)
        return self._now_s() - began_s

    def _latency(self, step: Step, seconds: Sequence[float]) -> float:
        """The p99 of requests, within the budget."""
        p99 = p99_s(seconds)
        if p99 > self._demands.budget_s:
            raise Refused(
                step,
                f"99 % of {len(seconds)} requests of one window took up to {p99 * 1000:.1f} ms, and"
                f" {self._demands.budget_s * 1000:g} ms is the budget",
            )
        return p99

    async def _take_out(self, contract: ModelContract) -> None:
        """As if it had never been there. Should Triton be away, it is told when it is back."""
        with contextlib.suppress(TritonUnavailable):
            await self._keeper.take_out(contract.model, contract.version)

    @contextlib.asynccontextmanager
    async def _timed(self, step: Step) -> AsyncIterator[None]:
        with self._metrics.stage_seconds.labels(step).time():
            yield


def _and(wrong: list[str]) -> str:
    return ", ".join(wrong)
