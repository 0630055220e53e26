"""The circuit breaker on a fake Triton."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from twinloop.contracts.models import ModelContract, ModelRoute, Trial
from twinloop.detector.circuit import Circuit
from twinloop.detector.metrics import Metrics
from twinloop.detector.routes import Routes
from twinloop.tritonio.errors import DeadlineExceeded, InferenceFailed, TritonError, TritonUnavailable
from twinloop.tritonio.server import Floats, Inference

CONTRACT = ModelContract(
    model="m",
    version=1,
    signal_set="s.v1",
    signals=("a",),
    features=("a.mean",),
    window=2,
    hop=2,
    threshold=1.0,
    digest="",
)
WINDOWS = np.zeros((3, 2, 1), np.float32)


@dataclass
class Server:
    """Fails as it is told; the version `sick` alone, where there is one. `hung` never answers."""

    failure: TritonError | None = None
    sick: int | None = None
    hung: int | None = None
    hangs: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[int] = field(default_factory=list)

    async def infer(
        self, contract: ModelContract, *windows: Floats, memory: Floats | None = None
    ) -> Inference:
        self.asked.append(sum(map(len, windows)))
        if contract.version == self.hung:
            self.hangs.set()
            await asyncio.Event().wait()
        if self.failure and self.sick in (None, contract.version):
            raise self.failure
        return Inference(np.zeros(3), np.zeros((3, 1)), np.zeros((3, 1)))

    async def probe(self, contract: ModelContract) -> None:
        await self.infer(contract, WINDOWS[:1])

    async def ready(self) -> bool:
        return True


@dataclass
class Scene:
    server: Server = field(default_factory=Server)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.circuit = Circuit(self.server, Metrics(self.registry))  # type: ignore[arg-type]

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"twinloop_detector_{name}", {"model": "m"})


async def test_after_a_failure_only_the_probe_is_asked_until_it_succeeds() -> None:
    scene = Scene()
    scene.server.failure = TritonUnavailable("gone")
    for _ in range(3):
        with pytest.raises(TritonUnavailable, match="gone"):
            await scene.circuit.infer(CONTRACT, WINDOWS)
    assert scene.server.asked == [3]
    assert scene.metric("circuit_open") == 1
    with pytest.raises(TritonUnavailable):
        await scene.circuit.probe(CONTRACT)
    scene.server.failure = None
    with pytest.raises(TritonUnavailable):
        await scene.circuit.infer(CONTRACT, WINDOWS)
    await scene.circuit.probe(CONTRACT)
    assert len(await scene.circuit.infer(CONTRACT, WINDOWS)) == 3
    assert scene.server.asked == [3, 1, 1, 3]
    assert scene.metric("circuit_open") == 0
    assert scene.metric("circuit_opened_total") == 1


@pytest.mark.parametrize("failure", [InferenceFailed("these windows"), DeadlineExceeded("so many")])
async def test_windows_that_a_model_cannot_take_do_not_open_it(failure: TritonError) -> None:
    scene = Scene()
    scene.server.failure = failure
    for _ in range(2):
        with pytest.raises(type(failure)):
            await scene.circuit.infer(CONTRACT, WINDOWS)
    assert scene.server.asked == [3, 3]


def route(trial: Trial | None = None) -> ModelRoute:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return ModelRoute(event_id="r", scope="s.v1", at=at, contract=CONTRACT, trial=trial)


def told(trial: Trial | None = None) -> Routes:
    routes = Routes()
    routes.set("s.v1", route(trial))
    return routes


async def test_a_model_that_dies_while_nothing_is_asked_is_found() -> None:
    scene, stopping = Scene(), asyncio.Event()
    assert scene.circuit.problem() == "triton was not asked yet"
    scene.server.failure = InferenceFailed("its process has died")
    looking = asyncio.create_task(scene.circuit.run(told(), stopping))
    async with asyncio.timeout(40):
        while scene.circuit.problem() != "its process has died":
            await asyncio.sleep(0.01)
        scene.server.failure = None
        while scene.circuit.problem() is not None:
            await asyncio.sleep(0.01)
    stopping.set()
    await looking


@pytest.mark.parametrize(("assets", "problem"), [((), None), (("x",), "its process has died")])
async def test_a_sick_model_that_decides_nothing_is_no_reason_to_be_unready(
    assets: tuple[str, ...], problem: str | None
) -> None:
    scene, stopping = Scene(), asyncio.Event()
    scene.server.sick, scene.server.failure = 2, InferenceFailed("its process has died")
    trial = Trial(contract=replace(CONTRACT, version=2), assets=assets)
    looking = asyncio.create_task(scene.circuit.run(told(trial), stopping))
    async with asyncio.timeout(40):
        while scene.metric("circuit_open") != 1 or scene.circuit.problem() == "triton was not asked yet":
            await asyncio.sleep(0.01)
    assert scene.circuit.problem() == problem
    await scene.circuit.probe(CONTRACT)
    assert scene.metric("circuit_open") == 1  # the other version is well
    stopping.set()
    await looking


async def test_one_that_hangs_does_not_keep_others_from_being_found_well() -> None:
    scene, stopping, routes = Scene(), asyncio.Event(), told()
    routes.set("x", replace(route(), scope="x", contract=replace(CONTRACT, version=2)))
    scene.server.sick, scene.server.failure = 2, InferenceFailed("its process has died")
    looking = asyncio.create_task(scene.circuit.run(routes, stopping))
    async with asyncio.timeout(40):
        while scene.circuit.problem() != "its process has died":
            await asyncio.sleep(0.01)
        scene.server.hung = 1
        await scene.server.hangs.wait()
        scene.server.failure = None
        while scene.circuit.problem() is not None:
            await asyncio.sleep(0.01)
    stopping.set()
    await looking
