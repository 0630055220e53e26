"""The scene of `make fault` on containers: Kafka, Triton and detectors; load and oracle are here."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from fault.load import Content, Load
from fault.model import mean_model
from fault.scene import MEMORY_RECORDS, SESSION_TIMEOUT_S, Scene, Size, Unmet, until

from support.watch import Watch
from support.yard import IN_YARD, Running, Yard, healthy, image, kafka, triton
from twinloop.contracts import codec
from twinloop.contracts.models import ModelRoute
from twinloop.contracts.topics import MODELS, SCORES, TELEMETRY_FACTORY
from twinloop.local.stack import Stack
from twinloop.runtime.kafka import publisher
from twinloop.runtime.provision import provision
from twinloop.tritonio.client import triton as triton_at
from twinloop.tritonio.repository import publish

SEED = 31
SIZE = Size(frames=6_000, rate=600, idle=False)


@dataclass
class Contained:
    """The containers of a run, and the run as `fault` knows it."""

    ground: Yard
    kafka: Running
    triton: Running
    run: Scene
    variables: dict[str, str]

    def detector(self, name: str, of: str = "") -> Running:
        """Start one more."""
        return self.ground.launch(name, of or image("detector"), self.variables)

    async def exact(self) -> str:
        """Wait until all is worked off, and reconcile. Raises `Unmet` with what is wrong."""
        await self.run.settled(timeout_s=180)
        found = await self.run.reconcile(await self.run.expected())
        if not found.exact:
            raise Unmet(str(found))
        return str(found)


@contextlib.asynccontextmanager
async def contained(ground: Yard) -> AsyncIterator[Contained]:
    """Kafka and Triton, with a model that serves; detectors are for the test to start."""
    models = ground.room("models")
    contract, file = mean_model()
    publish(models, contract, file)
    at_kafka, bootstrap = await asyncio.to_thread(kafka, ground)
    at_triton = await asyncio.to_thread(triton, ground, models)
    await asyncio.to_thread(healthy, at_kafka, at_triton)
    prefix = "c."
    await provision(bootstrap, prefix)
    async with (
        triton_at(f"127.0.0.1:{at_triton.port}", share=False) as server,
        publisher(bootstrap, prefix, asyncio.Event()) as out,
    ):
        await server.load(contract.model)
        route = ModelRoute(
            event_id="contained", scope=contract.signal_set, at=datetime.now(UTC), contract=contract
        )
        await out.publish([codec.message(MODELS, route, source="contained")])
    variables = {
        **IN_YARD,
        "TWINLOOP_TOPIC_PREFIX": prefix,
        "TWINLOOP_DETECTOR_SCORE_EVERY": "1",
        "TWINLOOP_DETECTOR_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
        "TWINLOOP_DETECTOR_MEMORY_RECORDS": str(MEMORY_RECORDS),
        "TWINLOOP_GRACE_S": "20",
    }
    content = Content(SEED)
    run = Scene(
        cast(Stack, None),  # nothing of it is a process of this machine
        bootstrap,
        f"127.0.0.1:{at_triton.port}",
        prefix,
        ground.folder,
        SIZE,
        random.Random(SEED),
        content,
        {},
        Load(bootstrap, TELEMETRY_FACTORY.named(prefix), content, SIZE.rate),
        Watch(bootstrap, SCORES.named(prefix), SCORES.partitions, ""),
        MEMORY_RECORDS,
    )
    watching = asyncio.create_task(run.watch.run())
    try:
        yield Contained(ground, at_kafka, at_triton, run, variables)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def in_charge(detectors: list[Running], timeout_s: float = 120.0) -> None:
    """Wait until each of them is ready."""

    def all_ready() -> bool:
        return all(one.ready for one in detectors)

    def waiting() -> str:
        answers = {one.name: one.get("/health/ready") for one in detectors}
        said = {name: "no answer" if one is None else one.text for name, one in answers.items()}
        return f"the detectors are not ready: {said}"

    await until(all_ready, timeout_s, waiting)
