"""Modelops as a process, on a real broker and a real Triton: the life of a version, and deaths."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from support.artefacts import SIGNAL_SET, SIGNALS, WINDOW, artefact_of
from support.line_scene import bearer
from support.processes import ServiceProcess
from support.stubs import stubs
from support.topics import events
from support.waiting import until

from twinloop.contracts.codec import frame_message
from twinloop.contracts.frames import Frame
from twinloop.contracts.models import ModelRoute
from twinloop.contracts.packing import packed
from twinloop.contracts.topics import AUDIT, MODELS, SCORES, TELEMETRY_FACTORY
from twinloop.local.stack import Stack
from twinloop.modelops.errors import NotHere
from twinloop.modelops.plan import Said, promote
from twinloop.modelops.routes import MemoryRoutes, Routes, RouteTable
from twinloop.runtime.kafka.clients import KafkaPublisher, consumer, publisher
from twinloop.runtime.kafka.provision import provision
from twinloop.tritonio.artefact import Artefact, pack
from twinloop.tritonio.client import TritonClient
from twinloop.tritonio.client import triton as triton_client
from twinloop.tritonio.errors import InferenceFailed, ModelUnavailable
from twinloop.tritonio.repository import contracts, listed, retired

ROWS = WINDOW
ASSET = "acme.berlin.packs.line1.weld1"


@dataclass
class Scene:
    """Modelops and a detector, and what a data scientist and a plant do."""

    stack: Stack
    certs: Path
    prefix: str
    model: str
    modelops: ServiceProcess
    detector: ServiceProcess
    triton: TritonClient
    out: KafkaPublisher
    sequence: int = 0
    draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    @property
    def repository(self) -> Path:
        return self.stack.endpoints.model_repository

    def artefact(self, factor: float) -> Artefact:
        return artefact_of(self.model, factor)

    async def stage(self, made: Artefact) -> httpx.Response:
        return await self._ask("POST", "stage", content=packed(pack(made)), params={"reason": "trained"})

    async def act(self, verb: str, **body: Any) -> dict[str, Any]:
        answer = await self._ask("POST", verb, json={"reason": "because", **body})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def list(self) -> dict[str, Any]:
        answer = await self._ask("GET", "")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def _ask(self, method: str, verb: str, **what: Any) -> httpx.Response:
        url = f"{self.modelops.url}/models{'/' if verb else ''}{verb}"
        async with httpx.AsyncClient(timeout=120) as client:
            return await client.request(method, url, headers=bearer(self.certs, "dana"), **what)

    async def makes(self, frames: int) -> None:
        """The plant makes so many healthy frames more."""
        made = []
        for _ in range(frames):
            samples = (0.1 * self.draw.standard_normal((ROWS, len(SIGNALS)))).astype(np.float32)
            made.append(
                Frame(
                    asset=ASSET,
                    signal_set=SIGNAL_SET,
                    sequence=self.sequence,
                    first_at_ns=10**9 * self.sequence,
                    period_ns=10**6,
                    samples=samples,
                    observed_at_ns=10**9 * self.sequence,
                    event_id=f"{ASSET}-{self.sequence}",
                    trace_id="0" * 32,
                )
            )
            self.sequence += 1
        await self.out.publish([frame_message(TELEMETRY_FACTORY, one, source="test") for one in made])

    async def routes(self) -> list[ModelRoute]:
        return await events(self.stack.endpoints.kafka, self.prefix, MODELS)

    async def followed(self, count: int) -> None:
        """The detector follows so many records of `models`."""
        await until(lambda: self.detector.metric("routes") == count)


@pytest.fixture
def processes(
    stack: Stack, certs: Path, topic_prefix: str, tmp_path: Path
) -> Iterator[tuple[ServiceProcess, ServiceProcess]]:
    where = stack.endpoints
    shared = {
        "TWINLOOP_KAFKA": where.kafka,
        "TWINLOOP_TRITON": where.triton,
        "TWINLOOP_TOPIC_PREFIX": topic_prefix,
        "TWINLOOP_MODEL_PREFIX": "",
    }
    modelops = ServiceProcess(
        "modelops",
        {
            **shared,
            "TWINLOOP_MODEL_REPOSITORY": str(where.model_repository),
            "TWINLOOP_MODELOPS_AUDIT": str(tmp_path / "audit"),
            "TWINLOOP_MODELOPS_LOOK_S": "0.5",
            "TWINLOOP_MODELOPS_QUIET_S": "6",
            "TWINLOOP_MODELOPS_BUDGET_S": "5",
            "TWINLOOP_ACCESS_PEOPLE": str(certs / "people.toml"),
        },
        tmp_path / "modelops.log",
    )
    detector = ServiceProcess(
        "detector", {**shared, "TWINLOOP_DETECTOR_SESSION_TIMEOUT_S": "6"}, tmp_path / "detector.log"
    )
    yield modelops, detector
    for one in (modelops, detector):
        if one.running:
            one.stop()


@pytest.fixture
async def scene(
    stack: Stack, certs: Path, topic_prefix: str, processes: tuple[ServiceProcess, ServiceProcess]
) -> AsyncIterator[Scene]:
    modelops, detector = processes
    where = stack.endpoints
    await provision(where.kafka, topic_prefix)
    modelops.start()
    await until(lambda: modelops.ready)
    model = f"level-{uuid.uuid4().hex[:8]}"
    async with triton_client(where.triton) as client:
        async with publisher(where.kafka, topic_prefix, asyncio.Event()) as out:
            yield Scene(stack, certs, topic_prefix, model, modelops, detector, client, out)
            if modelops.running:
                modelops.stop()  # it would load again what is unloaded
        await client.unload(model)


async def test_a_version_is_staged_tried_promoted_and_the_one_before_retired(scene: Scene) -> None:
    first, second = f"{scene.model}:1", f"{scene.model}:2"
    assert (await scene.stage(scene.artefact(1.0))).json()["version"] == first
    await scene.act("promote", version=first)
    scene.detector.start()
    await until(lambda: scene.detector.ready)
    await scene.makes(20)
    staged = await scene.stage(scene.artefact(1.0001))
    assert staged.json() == {"version": second, "new": True, "digest": staged.json()["digest"]}
    assert (await scene.stage(scene.artefact(1.0001))).json()["new"] is False
    assert await scene.triton.versions(scene.model) == (1, 2)

    await scene.act("shadow", version=second, auto=True, more_alarms=0.1)

    async def promoted() -> bool:
        await scene.makes(5)
        return (await scene.routes())[-1].contract.version == 2

    await until(promoted, 120)
    route = (await scene.routes())[-1]
    assert (route.by, route.trial, route.previous and route.previous.version) == ("modelops", None, 1)
    assert "within its 10.00%" in route.reason
    listing = await scene.list()
    assert listing["routes"][0]["serving"] == second

    refused = await scene._ask("POST", "retire", json={"version": first, "reason": "old"})
    assert (refused.status_code, "is kept to serve level.v1 again" in refused.text) == (409, True)
    await scene.stage(scene.artefact(1.0002))
    await scene.act("promote", version=f"{scene.model}:3")
    await scene.act("retire", version=first)

    async def gone() -> bool:
        return await scene.triton.versions(scene.model) == (2, 3)

    await until(gone)
    assert retired(scene.repository, scene.model) == (1,)
    entries = await events(scene.stack.endpoints.kafka, scene.prefix, AUDIT)
    assert Counter(one.what for one in entries)["retire model"] == 1

    # Every window has one verdict that decides, whoever gave it.
    windows = scene.sequence * ROWS - WINDOW + 1
    decided: Counter[tuple[int, int]] = Counter()

    async def all_told() -> bool:
        decided.clear()
        for one in await events(scene.stack.endpoints.kafka, scene.prefix, SCORES):
            if one.decides:
                decided[one.sequence, one.row] += 1
        return len(decided) >= windows / 100  # every hundredth where no trial runs

    await until(all_told)
    assert set(decided.values()) == {1}
    assert scene.detector.metric("dead_letters_total") == 0


async def test_a_version_with_many_more_alarms_is_stopped_within_few_windows(scene: Scene) -> None:
    await scene.stage(scene.artefact(1.0))
    await scene.act("promote", version=f"{scene.model}:1")
    scene.detector.start()
    await until(lambda: scene.detector.ready)
    await scene.makes(10)
    await scene.stage(scene.artefact(50.0))
    await scene.act("canary", version=f"{scene.model}:2", share=0.5)

    async def stopped() -> bool:
        await scene.makes(2)
        return (await scene.routes())[-1].trial is None

    await until(stopped, 60)
    route = (await scene.routes())[-1]
    assert (route.contract.version, route.by) == (1, "modelops")
    assert "are too many" in route.reason
    spoke = Counter(
        one.model_version for one in await events(scene.stack.endpoints.kafka, scene.prefix, SCORES)
    )
    assert spoke[2] < 1000  # of one asset; more are made while modelops reads
    await until(lambda: scene.modelops.metric("decided_total", how="stopped"))
    assert scene.modelops.metric("decided_total", how="stopped") == 1


async def test_a_new_process_reads_what_a_trial_has_shown_meanwhile(scene: Scene) -> None:
    await scene.stage(scene.artefact(1.0))
    await scene.act("promote", version=f"{scene.model}:1")
    scene.detector.start()
    await until(lambda: scene.detector.ready)
    await scene.stage(scene.artefact(50.0))
    await scene.act("shadow", version=f"{scene.model}:2")
    scene.modelops.stop()

    async def judged() -> bool:
        await scene.makes(20)
        told = await events(scene.stack.endpoints.kafka, scene.prefix, SCORES)
        return sum(one.model_version == 2 for one in told) > 1000

    await until(judged)
    assert (await scene.routes())[-1].trial is not None
    scene.modelops.start()

    async def stopped() -> bool:
        return (await scene.routes())[-1].trial is None

    await until(stopped)


async def test_what_triton_does_not_serve_is_loaded_again(scene: Scene) -> None:
    await scene.stage(scene.artefact(1.0))
    await scene.act("promote", version=f"{scene.model}:1")
    await scene.triton.unload(scene.model)

    async def back() -> bool:
        return await scene.triton.versions(scene.model) == (1,)

    await until(back)
    await until(lambda: scene.modelops.ready)


async def test_a_version_whose_process_died_answers_again_and_the_others_all_the_time(scene: Scene) -> None:
    for factor in (1.0, 2.0):
        await scene.stage(scene.artefact(factor))
    await scene.act("promote", version=f"{scene.model}:1")
    first, second = contracts(scene.repository, scene.model)

    async def answers() -> bool:
        await scene.triton.probe(second)
        try:
            await scene.triton.probe(first)
        except (InferenceFailed, ModelUnavailable):
            return False
        return True

    scene.modelops.pause()  # it shall not heal before the harm was seen
    try:
        for one in stubs(scene.model, 1):
            one.kill()
        assert not await answers()
    finally:
        scene.modelops.go_on()
    await until(answers)
    await until(lambda: scene.modelops.ready)


async def test_what_a_model_may_take_is_in_force_after_a_restart_and_no_request_fails(
    scene: Scene, tmp_path: Path
) -> None:
    await scene.stage(scene.artefact(1.0))
    await scene.act("promote", version=f"{scene.model}:1")
    contract = contracts(scene.repository, scene.model)[0]
    await scene.triton.check(contract)
    serving = tmp_path / "serving.toml"
    serving.write_text(f"[models.{scene.model}]\ninstances = 2\n")
    scene.modelops.stop()
    scene.modelops.settings["TWINLOOP_SERVING"] = str(serving)
    scene.modelops.start()

    async def twofold() -> bool:
        await scene.triton.probe(contract)
        return len(stubs(scene.model, 1)) == 2

    await until(twofold)
    await scene.triton.probe(contract)


async def test_whenever_modelops_is_killed_what_serves_goes_on_and_nothing_is_half_done(scene: Scene) -> None:
    """Killed while it stages, at moments that come later each time; and at once after it has published."""
    await scene.stage(scene.artefact(1.0))
    await scene.act("promote", version=f"{scene.model}:1")
    (serving,) = contracts(scene.repository, scene.model)

    async def at(moment: float | None, factor: float) -> None:
        staging = asyncio.create_task(scene.stage(scene.artefact(factor)))
        if moment is None:
            await until(lambda: len(contracts(scene.repository, scene.model)) > 1)
        else:
            await asyncio.wait({staging}, timeout=moment)
        if not staging.done():
            scene.modelops.kill()
            await asyncio.gather(staging, return_exceptions=True)
            scene.modelops.start()
        await scene.triton.probe(serving)
        await until(lambda: scene.modelops.ready)

        async def whole() -> bool:
            """What is listed has passed and is served, and nothing else is."""
            states = [
                (one["state"], one["served"])
                for one in (await scene.list())["versions"]
                if one["version"].startswith(scene.model)
            ]
            served = await scene.triton.versions(scene.model)
            return served == listed(scene.repository, scene.model) and all(
                one in (("serving", True), ("staged", True)) for one in states
            )

        await until(whole)
        assert not [one for one in scene.repository.glob(".incoming-*") if scene.model in one.name]

    for n, moment in enumerate((0.3, 1.0, 2.0, None, None)):
        await at(moment, 2.0 + n)
    assert (await scene.stage(scene.artefact(99.0))).status_code == 200
    assert (await scene.list())["routes"][0]["serving"] == f"{scene.model}:1"


async def test_a_model_that_cannot_serve_is_refused_and_leaves_nothing(scene: Scene) -> None:
    await scene.stage(scene.artefact(1.0))
    before = sorted(one.relative_to(scene.repository) for one in (scene.repository / scene.model).rglob("*"))
    answer = await scene.stage(artefact_of(scene.model, 2.0, error=0.5))
    assert (answer.status_code, answer.json()["problem"][:9]) == (422, "compare: ")
    answer = await scene.stage(artefact_of(scene.model, 2.0, recurrent=True))
    assert (answer.status_code, answer.json()["problem"][:9]) == (422, "publish: ")
    after = sorted(one.relative_to(scene.repository) for one in (scene.repository / scene.model).rglob("*"))
    assert after == before
    assert await scene.triton.versions(scene.model) == (1,)


async def test_a_second_process_waits_for_the_first(
    scene: Scene, tmp_path: Path, processes: tuple[ServiceProcess, ServiceProcess]
) -> None:
    other = ServiceProcess(
        "modelops",
        {**scene.modelops.settings, "TWINLOOP_MODELOPS_AUDIT": str(tmp_path / "audit2")},
        tmp_path / "other.log",
    )
    other.start()
    try:
        await until(lambda: other.status("/health/live") == 200)
        answer = other.get("/health/ready")
        assert answer is not None
        assert "another process decides about it" in answer.text
        scene.modelops.kill()
        await until(lambda: other.ready)
    finally:
        other.stop()


# ---- the topic


@pytest.fixture(params=["memory", "kafka"])
async def routes(request: pytest.FixtureRequest, kafka: str, topic_prefix: str) -> AsyncIterator[Routes]:
    if request.param == "memory":
        yield MemoryRoutes()
        return
    await provision(kafka, topic_prefix)
    stopping = asyncio.Event()
    async with (
        publisher(kafka, topic_prefix, stopping) as out,
        consumer(kafka, [MODELS], topic_prefix, stopping, group=None) as client,
    ):
        table = RouteTable(client, out)
        running = asyncio.create_task(table.run(stopping))
        yield table
        stopping.set()
        await running


def route(scope: str, version: int) -> ModelRoute:
    contract = artefact_of("level", 1.0).contract
    numbered = type(contract)(
        **{**{name: getattr(contract, name) for name in contract.__struct_fields__}, "version": version}
    )
    said = Said("person:dana", "because", artefact_of("level", 1.0).card.at)
    return promote(scope, None, numbered, said)


async def test_what_is_published_is_in_force_when_that_returns(routes: Routes) -> None:
    assert await routes.current() == {}
    for version in range(1, 20):
        await routes.publish(route("a", version))
        assert routes.known["a"].contract.version == version
    await routes.publish(route("b", 1))
    assert {scope: one.contract.version for scope, one in (await routes.current()).items()} == {
        "a": 19,
        "b": 1,
    }


async def test_what_others_publish_is_read_before_anything_is_decided(kafka: str, topic_prefix: str) -> None:
    await provision(kafka, topic_prefix)
    stopping = asyncio.Event()
    async with (
        publisher(kafka, topic_prefix, stopping) as out,
        consumer(kafka, [MODELS], topic_prefix, stopping, group=None) as client,
        consumer(kafka, [MODELS], topic_prefix, stopping, group=None) as another,
    ):
        tables = [RouteTable(one, out) for one in (client, another)]
        running = [asyncio.create_task(one.run(stopping)) for one in tables]
        for version in range(1, 30):
            await tables[version % 2].publish(route("a", version))
            assert (await tables[1 - version % 2].current())["a"].contract.version == version
        ends = await asyncio.gather(
            *(one.publish(route("a", 100 + n)) for n, one in enumerate(tables)), return_exceptions=True
        )
        assert sum(isinstance(one, NotHere) for one in ends) <= 1
        assert all(one is None or isinstance(one, NotHere) for one in ends)
        stopping.set()
        await asyncio.gather(*running)
