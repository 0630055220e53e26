"""A run: Kafka, Triton, detectors, load, a watching reader; and at the end the reconciliation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from support.processes import ServiceProcess
from support.topics import records
from support.watch import Watch

from fault.load import Content, Load, Mix
from fault.model import mean_model, rules_of
from fault.oracle import Expected, Given, Rules, expect
from fault.reconcile import Reconciled, reconcile
from twinloop.contracts import codec
from twinloop.contracts.models import ModelRoute
from twinloop.contracts.topics import ANOMALIES, DEAD_LETTERS, MODELS, SCORES, TELEMETRY_FACTORY
from twinloop.local.stack import Stack
from twinloop.runtime.kafka import publisher
from twinloop.runtime.provision import provision
from twinloop.tritonio.client import triton
from twinloop.tritonio.repository import publish

MEMORY_RECORDS = 3000
SESSION_TIMEOUT_S = 6
GRACE_S = 20.0


class Unmet(AssertionError):
    """Raised when a run does not hold what its row promises."""


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


@dataclass
class Scene:
    """What a row works with. Everything random comes from `rng`."""

    stack: Stack
    kafka: str
    triton: str
    prefix: str
    folder: Path
    size: Size
    rng: random.Random
    content: Content
    settings: dict[str, str]
    load: Load
    watch: Watch
    memory_records: int
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
        due = {**{one: end for one, end in (await self.ends()).items() if end}, **(halts or {})}
        last: dict[int, int] = {}

        async def there() -> bool:
            with contextlib.suppress(KafkaError):
                last.update(await self.positions(group))
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
        async with triton(stack.endpoints.triton) as server, publisher(at, prefix, asyncio.Event()) as out:
            await server.load(contract.model)
            route = ModelRoute(
                event_id="fault", scope=contract.signal_set, at=datetime.now(UTC), contract=contract
            )
            await out.publish([codec.message(MODELS, route, source="fault")])
        content = Content(seed, mix=mix)
        one = Scene(
            stack,
            at,
            stack.endpoints.triton,
            prefix,
            folder,
            size,
            random.Random(seed),
            content,
            {
                "TWINLOOP_KAFKA": at,
                "TWINLOOP_TRITON": stack.endpoints.triton,
                "TWINLOOP_TOPIC_PREFIX": prefix,
                "TWINLOOP_MODEL_PREFIX": "",
                "TWINLOOP_DETECTOR_SCORE_EVERY": "1",
                "TWINLOOP_DETECTOR_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
                "TWINLOOP_DETECTOR_MEMORY_RECORDS": str(memory_records),
                "TWINLOOP_GRACE_S": str(GRACE_S),
            },
            Load(at, TELEMETRY_FACTORY.named(prefix), content, size.rate),
            Watch(at, SCORES.named(prefix), SCORES.partitions, model),
            memory_records,
        )
        watching = asyncio.create_task(one.watch.run())
        try:
            yield one
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            for process in one.detectors:
                if process.running:
                    os.kill(process.pids[-1], 18)  # SIGCONT: it may be stopped
                    process.kill()


@contextlib.asynccontextmanager
async def loaded(run: Scene) -> AsyncIterator[None]:
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


async def until(
    true: Callable[[], bool | Awaitable[bool]], timeout_s: float, problem: str | Callable[[], str]
) -> None:
    """Poll until `true`, called in a thread, says so. Raises `Unmet` with the problem."""
    end = time.monotonic() + timeout_s
    while True:
        answer = await asyncio.to_thread(true)
        if answer if isinstance(answer, bool) else await answer:
            return
        if time.monotonic() > end:
            raise Unmet(problem if isinstance(problem, str) else problem())
        await asyncio.sleep(0.05)
