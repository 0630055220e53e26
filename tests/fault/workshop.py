"""Modelops in a run, and what a data scientist does there: versions of the mean model in several shapes."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import numpy as np
from support.artefacts import card_of
from support.http import asking
from support.line_scene import bearer
from support.processes import ServiceProcess
from support.topics import records
from support.waiting import Unmet, until

from fault.load import SIGNAL_SET
from fault.model import MODEL, Shape, mean_model, rules_of
from fault.oracle import Expected, Given
from fault.scene import Scene
from fault.swaps import Swapped, reconcile_partition
from twinloop.contracts.codec import decode
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.contracts.packing import packed
from twinloop.contracts.topics import MODELS, SCORES, TELEMETRY_FACTORY
from twinloop.local.keys import certs
from twinloop.tritonio.artefact import Artefact, Golden, pack
from twinloop.tritonio.server import Inference

SHAPES = (
    Shape(),
    Shape(32, 2),
    Shape(4, 2, ("level3", "level1")),
    Shape(8, 2, ("level2", "level0")),
    Shape(16, 4),
    Shape(8, 4, ("level1", "level3", "level0", "level2")),
)
"""Versions to swap between; the first serves when a run begins."""
_PATIENT_S = 120.0


class _Named(msgspec.Struct):
    asset: str


_ASSET = msgspec.json.Decoder(_Named)


@dataclass
class Workshop:
    """`contracts`: what was staged of all versions, by number."""

    run: Scene
    modelops: ServiceProcess
    token: dict[str, str]
    contracts: dict[int, ModelContract] = field(default_factory=lambda: {1: mean_model(MODEL)[0]})

    async def ready(self) -> None:
        """Wait until modelops says so."""
        await until(lambda: self.modelops.ready, 60, "modelops is not ready")

    async def stage(self, shape: Shape, note: str = "") -> int:
        """A version of another shape; its number."""
        made = artefact(shape, note)
        answer = await self.send(pack(made))
        if answer.status_code != 200:
            raise Unmet(f"not staged: {answer.text}")
        version = int(answer.json()["version"].partition(":")[2])
        self.contracts[version] = made.contract
        return version

    async def send(self, files: Mapping[str, bytes]) -> httpx.Response:
        """Anything, to be staged."""
        return await self.ask("stage", content=packed(files), params={"reason": "trained"})

    async def ask(self, verb: str, **what: Any) -> httpx.Response:
        """POST a verb; what modelops answers."""
        async with asking(_PATIENT_S) as client:
            url = f"{self.modelops.url}/models/{verb}"
            return await client.post(url, headers=self.token, **what)

    async def act(self, verb: str, **body: Any) -> dict[str, Any]:
        """The same of a verb that must succeed. Raises `Unmet`."""
        answer = await self.ask(verb, json={"reason": "the table of faults", **body})
        if answer.status_code != 200:
            raise Unmet(f"{verb}: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json()
        return found

    async def listed(self) -> dict[str, Any]:
        """What modelops tells of routes and versions."""
        async with asking(_PATIENT_S) as client:
            answer = await client.get(f"{self.modelops.url}/models", headers=self.token)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def routes(self) -> list[ModelRoute]:
        """Every route there was, in order."""
        found = await records(self.run.kafka, self.run.prefix, MODELS)
        return [decode(MODELS, one.value) for one in found if one.key == SIGNAL_SET.encode()]

    async def decided(self, version: int, timeout_s: float = 120.0) -> None:
        """Wait until `version`, and nobody else, decides."""
        deciders = self.run.watch.deciders
        problem = f"version {version} does not decide"
        await until(lambda: set(deciders.values()) == {version}, timeout_s, problem)

    async def swapped(self) -> Swapped:
        """Every verdict that decided, held against what each version would have said, and against who was to
        decide when."""
        routes = await self.routes()
        rules = {
            number: rules_of(contract, self.run.memory_records) for number, contract in self.contracts.items()
        }
        given, scores = defaultdict[int, list[Given]](list), defaultdict[int, list[bytes]](list)
        partitions = dict[bytes, int]()
        for one in await records(self.run.kafka, self.run.prefix, TELEMETRY_FACTORY):
            given[one.partition].append(Given(one.topic, one.partition, one.offset, one.value))
            partitions[one.key] = one.partition
        for one in await records(self.run.kafka, self.run.prefix, SCORES):
            scores[partitions[_ASSET.decode(one.value).asset.encode()]].append(one.value)
        result, loop = Swapped(), asyncio.get_running_loop()
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            for found in asyncio.as_completed(
                [
                    loop.run_in_executor(pool, reconcile_partition, given[n], scores[n], rules, routes)
                    for n in {*given, *scores}
                ]
            ):
                result.add(await found)
        return result

    async def letters(self, expected: Expected) -> None:
        """Dead letters do not depend on who decides. Raises `Unmet`."""
        found = await self.run.reconcile(expected)
        (letters,) = [one for one in found.differences if one.topic == "dead letters"]
        if letters:
            raise Unmet(str(letters))


def artefact(shape: Shape, note: str = "") -> Artefact:
    """The mean model in a shape, as training would leave it."""
    return around(*mean_model(MODEL, version=0, shape=shape, note=note))


def around(contract: ModelContract, onnx: bytes) -> Artefact:
    """An artefact of any file, with the golden answers of the mean model."""
    draw = np.random.default_rng(1)
    windows = (draw.integers(0, 512, (16, contract.window, len(contract.signals))) / 256).astype(np.float32)
    features = windows.mean(axis=1)
    answer = Inference(windows.mean(axis=(1, 2)), features, features)
    return Artefact(contract, card_of(contract), onnx, Golden(windows, answer))


@contextlib.asynccontextmanager
async def workshop(run: Scene) -> AsyncIterator[Workshop]:
    """Modelops, beside the model that the run was begun with."""
    people = run.folder / "certs"
    certs.make(people, datetime.now(UTC))
    modelops = ServiceProcess(
        "modelops",
        {
            **run.settings,
            "TWINLOOP_MODEL_REPOSITORY": str(run.stack.endpoints.model_repository),
            "TWINLOOP_MODELOPS_AUDIT": str(run.folder / "audit"),
            "TWINLOOP_MODELOPS_LOOK_S": "0.5",
            "TWINLOOP_MODELOPS_QUIET_S": "6",
            "TWINLOOP_MODELOPS_BUDGET_S": "5",  # a stall of the machine is no slow model
            "TWINLOOP_MODELOPS_RUN_S": "15",
            "TWINLOOP_ACCESS_PEOPLE": str(people / "people.toml"),
        },
        run.folder / "modelops.log",
    )
    modelops.start()
    try:
        one = Workshop(run, modelops, bearer(people, "dana"))
        await one.ready()
        yield one
    finally:
        if modelops.running:
            modelops.kill()
