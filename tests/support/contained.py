"""The scene of `make fault` on containers: Kafka, Triton and detectors; load and oracle are here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fault.load import Content
from fault.model import mean_model
from fault.scene import MEMORY_RECORDS, SESSION_TIMEOUT_S, Size, Traffic, serve, watched

from support.images import image
from support.waiting import until
from support.yard import IN_YARD, Running, Yard, healthy, kafka, triton
from twinloop.runtime.kafka.provision import provision
from twinloop.tritonio.repository import publish

SEED = 31
SIZE = Size(frames=6_000, rate=600, idle=False)


@dataclass
class Contained:
    """The containers of a run, and the run as `fault` knows it."""

    ground: Yard
    kafka: Running
    triton: Running
    run: Traffic
    variables: dict[str, str]

    def detector(self, name: str, of: str = "") -> Running:
        """Start one more."""
        return self.ground.launch(name, of or image("detector"), self.variables)

    async def exact(self) -> str:
        """Wait until all is worked off, and reconcile. Raises `Unmet` with what is wrong."""
        return str(await self.run.exact())


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
    await serve(f"127.0.0.1:{at_triton.port}", bootstrap, prefix, share=False)
    variables = {
        **IN_YARD,
        "TWINLOOP_TOPIC_PREFIX": prefix,
        "TWINLOOP_MODEL_PREFIX": "",  # the model is staged without modelops, under its plain name
        "TWINLOOP_DETECTOR_SCORE_EVERY": "1",
        "TWINLOOP_DETECTOR_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
        "TWINLOOP_DETECTOR_MEMORY_RECORDS": str(MEMORY_RECORDS),
        "TWINLOOP_GRACE_S": "20",
    }
    async with watched(Traffic.of(bootstrap, prefix, SIZE, SEED, Content(SEED))) as run:
        yield Contained(ground, at_kafka, at_triton, run, variables)


async def in_charge(detectors: list[Running], timeout_s: float = 120.0) -> None:
    """Wait until each of them is ready."""

    def all_ready() -> bool:
        return all(one.ready for one in detectors)

    def waiting() -> str:
        answers = {one.name: one.get("/health/ready") for one in detectors}
        said = {name: "no answer" if one is None else one.text for name, one in answers.items()}
        return f"the detectors are not ready: {said}"

    await until(all_ready, timeout_s, waiting)
