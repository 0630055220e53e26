"""A run: Kafka, Triton, detectors, load, a watching reader; and at the end the reconciliation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from support.processes import ServiceProcess
from support.topics import records
from support.waiting import Unmet, until
from support.watch import Watch

from fault.load import Content, Load, Mix
from fault.model import mean_model, rules_of
from fault.oracle import Expected, Given, Rules, expect
from fault.reconcile import Reconciled, reconcile
from twinloop.contracts import codec
from twinloop.contracts.models import ModelRoute
from twinloop.contracts.topics import ANOMALIES, DEAD_LETTERS, MODELS, SCORES, TELEMETRY_FACTORY
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.clients import publisher
from twinloop.runtime.kafka.provision import provision
from twinloop.tritonio.client import triton
from twinloop.tritonio.repository import publish

MEMORY_RECORDS = 3000
SESSION_TIMEOUT_S = 6
GRACE_S = 20.0


T = TypeVar("T", bound="Traffic")


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a row is played. `frames`: at least so many; `rate`: frames a second while harm is done;
    `times`: of the row's usual number of injections, this share, and at least one; `idle`: whether the
    machine has nothing else to do, so that times may be compared."""

    frames: int = 100_000
    rate: float = 1500.0
    share: float = 1.0
    idle: bool = True

    def times(self, usual: int) -> int:
        """How often to do harm."""
        return max(1, round(usual * self.share))


@dataclass(kw_only=True)
class Traffic:
    """Load on its way through detectors, wherever those run, and what becomes of it. Everything random comes
    from `rng`."""

    kafka: str
    prefix: str
    size: Size
    rng: random.Random
    content: Content
    load: Load
    watch: Watch
    memory_records: int

    @classmethod
    def of(
        cls,
        kafka: str,
        prefix: str,
        size: Size,
        seed: int,
        content: Content,
        *,
        model: str = "",
        memory_records: int = MEMORY_RECORDS,
        **more: Any,
    ) -> Self:
        """`content` on the topics of `prefix`. `model`: whose verdicts are watched; empty: everybody's."""
        return cls(
            kafka=kafka,
            prefix=prefix,
            size=size,
            rng=random.Random(seed),
            content=content,
            load=Load(kafka, TELEMETRY_FACTORY.named(prefix), content, size.rate),
            watch=Watch(kafka, SCORES.named(prefix), SCORES.partitions, model),
            memory_records=memory_records,
            **more,
        )

    async def flowing(self, timeout_s: float = 60.0) -> None:
        """Wait for a verdict on a frame that is sent from now on."""
        await self.back(time.time(), timeout_s)

    async def back(self, harmed_at: float, timeout_s: float = 60.0) -> float:
        """Wait for the first verdict on a frame sent after the harm; how long after it that came, seconds."""
        await until(
            lambda: self.watch.back_after_s(harmed_at) is not None,
            timeout_s,
            f"no verdict within {timeout_s:g} s",
        )
        found = self.watch.back_after_s(harmed_at)
        assert found is not None
        return found

    async def some_time(self, least_s: float, most_s: float) -> None:
        """A random moment."""
        await asyncio.sleep(self.rng.uniform(least_s, most_s))

    async def positions(self, group: str = "detector") -> dict[int, int]:
        """What a group has committed, by partition of the input."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            topic = TELEMETRY_FACTORY.named(self.prefix)
            found = await admin.list_consumer_group_offsets(f"{self.prefix}{group}")
            return {one.partition: at.offset for one, at in found.items() if one.topic == topic}
        finally:
            await admin.close()

    async def ends(self) -> dict[int, int]:
        """Where the input ends."""
        topic = TELEMETRY_FACTORY.named(self.prefix)
        client = AIOKafkaConsumer(bootstrap_servers=self.kafka)
        await client.start()
        try:
            partitions = [TopicPartition(topic, n) for n in range(TELEMETRY_FACTORY.partitions)]
            return {one.partition: at for one, at in (await client.end_offsets(partitions)).items()}
        finally:
            await client.stop()

    async def given(self) -> list[Given]:
        """The input, as Kafka holds it."""
        found = await records(self.kafka, self.prefix, TELEMETRY_FACTORY)
        return [Given(one.topic, one.partition, one.offset, one.value) for one in found]

    async def settled(
        self, halts: Mapping[int, int] | None = None, timeout_s: float = 120.0, group: str = "detector"
    ) -> None:
        """Wait until a group has committed all of the input; up to `halts` where a partition stops."""

        async def wanted() -> dict[int, int]:
            return {one: end for one, end in (await self.ends()).items() if end} | dict(halts or {})

        due = await wanted()
        last: dict[int, int] = {}

        async def there() -> bool:
            with contextlib.suppress(KafkaError):
                last.update(await self.positions(group))
                if any(last.get(one, -1) > at for one, at in due.items()):  # more has come meanwhile
                    due.update(await wanted())
            return all(last.get(one) == at for one, at in due.items())

        def behind() -> str:
            return f"not all input was worked off: committed {last}, due {due}"

        await until(there, timeout_s, behind)

    async def reconcile(self, expected: Expected) -> Reconciled:
        """Compare with what is committed."""
        scores, anomalies, letters = [
            [one.value for one in await records(self.kafka, self.prefix, topic)]
            for topic in (SCORES, ANOMALIES, DEAD_LETTERS)
        ]
        return reconcile(expected, scores, anomalies, letters)

    def rules(self) -> Rules:
        """What the oracle is told."""
        contract, _ = mean_model()
        return rules_of(contract, self.memory_records)

    async def expected(self, *, since: dict[int, int] | None = None) -> Expected:
        """What the oracle says of the input."""
        given = await self.given()
        return await asyncio.to_thread(expect, given, self.rules(), since=since)

    async def exact(self, timeout_s: float = 180.0) -> Reconciled:
        """Wait until all that was sent is worked off: each frame has what it must have, once. Raises `Unmet`
        with what is wrong."""
        await self.settled(timeout_s=timeout_s)
        found = await self.reconcile(await self.expected())
        if not found.exact:
            raise Unmet(str(found))
        return found


@dataclass(kw_only=True)
class Scene(Traffic):
    """What a row works with: traffic, and the parts and detectors of this machine that it goes through."""

    stack: Stack
    triton: str
    folder: Path
    settings: dict[str, str]
    detectors: list[ServiceProcess] = field(default_factory=list)

    def detector(self, *, module: str = "twinloop.detector", **settings: str) -> ServiceProcess:
        """Start one more; `settings` by their names in the environment."""
        log = self.folder / f"detector-{len(self.detectors)}.log"
        one = ServiceProcess("detector", {**self.settings, **settings}, log, module=module)
        one.start()
        self.detectors.append(one)
        return one

    async def ready(self, detector: ServiceProcess, timeout_s: float = 60.0) -> None:
        """Wait until it says so."""
        await until(lambda: detector.ready, timeout_s, "the detector is not ready")


@contextlib.asynccontextmanager
async def watched(one: T) -> AsyncIterator[T]:
    """Its reader watches for the time of the context."""
    watching = asyncio.create_task(one.watch.run())
    try:
        yield one
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def serve(at_triton: str, kafka: str, prefix: str, *, share: bool = True) -> None:
    """Have Triton load the model, whose files it has, and tell detectors that it serves: without modelops."""
    contract, _ = mean_model()
    async with triton(at_triton, share=share) as server, publisher(kafka, prefix, asyncio.Event()) as out:
        await server.load(contract.model)
        route = ModelRoute(
            event_id="fault", scope=contract.signal_set, at=datetime.now(UTC), contract=contract
        )
        await out.publish([codec.message(MODELS, route, source="fault")])


@contextlib.asynccontextmanager
async def scene(
    folder: Path,
    seed: int,
    size: Size,
    *,
    mix: Mix | None = None,
    kafka: str = "",
    replication: int = 1,
    memory_records: int = MEMORY_RECORDS,
    model: str = "",
) -> AsyncIterator[Scene]:
    """Real parts with a model that serves, and load that begins with the context and may be `finished`.

    `kafka`: a cluster that is used instead of one's own; `model`: whose verdicts are watched, everybody's
    when empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = ("triton",) if kafka else ("kafka", "triton")
    async with Stack(folder / "stack", parts=parts) as stack:
        at, prefix = kafka or stack.endpoints.kafka, f"f{uuid.uuid4().hex[:6]}."
        await provision(at, prefix, replication)
        contract, onnx_file = mean_model()
        publish(stack.endpoints.model_repository, contract, onnx_file)
        await serve(stack.endpoints.triton, at, prefix)
        one = Scene.of(
            at,
            prefix,
            size,
            seed,
            Content(seed, mix=mix),
            model=model,
            memory_records=memory_records,
            stack=stack,
            triton=stack.endpoints.triton,
            folder=folder,
            settings={
                "TWINLOOP_KAFKA": at,
                "TWINLOOP_TRITON": stack.endpoints.triton,
                "TWINLOOP_TOPIC_PREFIX": prefix,
                "TWINLOOP_MODEL_PREFIX": "",
                "TWINLOOP_DETECTOR_SCORE_EVERY": "1",
                "TWINLOOP_DETECTOR_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
                "TWINLOOP_DETECTOR_MEMORY_RECORDS": str(memory_records),
                "TWINLOOP_GRACE_S": str(GRACE_S),
            },
        )
        try:
            async with watched(one):
                yield one
        finally:
            for process in one.detectors:
                if process.running:
                    os.kill(process.pids[-1], 18)  # SIGCONT: it may be stopped
                    process.kill()


@contextlib.asynccontextmanager
async def loaded(run: Traffic) -> AsyncIterator[None]:
    """Load for the time of the context; at its end all of it has been sent."""
    loading = asyncio.create_task(run.load.run(run.size.frames))
    try:
        yield
        if loading.done():
            loading.result()
        run.load.stop()
        async with asyncio.timeout(180):
            await loading
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
