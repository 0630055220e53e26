"""The detector as a process, on a real broker and a real Triton: killed, without its model, fed garbage."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.processes import ServiceProcess
from support.topics import events
from support.waiting import until

from twinloop.contracts import codec
from twinloop.contracts.codec import Message, frame_message
from twinloop.contracts.events import Anomaly, Verdict
from twinloop.contracts.frames import Frame
from twinloop.contracts.models import ModelContract, ModelRoute, Trial
from twinloop.contracts.topics import ANOMALIES, DEAD_LETTERS, MODELS, SCORES, TELEMETRY_FACTORY, Topic
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.clients import KafkaPublisher, publisher
from twinloop.runtime.kafka.provision import provision
from twinloop.tritonio.client import TritonClient
from twinloop.tritonio.client import triton as triton_client
from twinloop.tritonio.onnx_file import digest
from twinloop.tritonio.repository import publish

WINDOW, HOP, ROWS = 8, 2, 4
SIGNALS = ("level", "noise")


def threshold_model(name: str, window: int, signals: int) -> tuple[ModelContract, bytes]:
    """The mean of all values is the score, the mean of each signal its feature and its deviation."""
    made = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["windows"], ["score"], axes=[1, 2], keepdims=0),
            helper.make_node("ReduceMean", ["windows"], ["features"], axes=[1], keepdims=0),
            helper.make_node("Identity", ["features"], ["deviations"]),
        ],
        name,
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, [None, window, signals])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [None]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, signals]),
            helper.make_tensor_value_info("deviations", TensorProto.FLOAT, [None, signals]),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    content = onnx.ModelProto.SerializeToString(model)
    contract = ModelContract(
        model=name,
        version=1,
        signal_set="level.v1",
        signals=SIGNALS,
        features=tuple(f"{one}.mean" for one in SIGNALS),
        window=window,
        hop=HOP,
        threshold=0.5,
        digest=digest(content),
    )
    return contract, content


def root_model(name: str) -> tuple[ModelContract, bytes]:
    """Reads the level alone; the root of its mean is the score: NaN below zero."""
    tensor = helper.make_tensor_value_info
    made = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["windows"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Sqrt", ["mean"], ["score"]),
            helper.make_node("ReduceMean", ["windows"], ["features"], axes=[1], keepdims=0),
            helper.make_node("Identity", ["features"], ["deviations"]),
        ],
        name,
        [tensor("windows", TensorProto.FLOAT, [None, WINDOW, 1])],
        [
            tensor("score", TensorProto.FLOAT, [None]),
            tensor("features", TensorProto.FLOAT, [None, 1]),
            tensor("deviations", TensorProto.FLOAT, [None, 1]),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    content = onnx.ModelProto.SerializeToString(model)
    like, _ = threshold_model(name, WINDOW, len(SIGNALS))
    level = {"signals": SIGNALS[:1], "features": like.features[:1], "columns": SIGNALS}
    return msgspec.structs.replace(like, **level, digest=digest(content)), content


def summing_model(name: str) -> tuple[ModelContract, bytes]:
    """Remembers the sum of its windows' means, and that is the score."""
    tensor = helper.make_tensor_value_info
    made = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["windows"], ["features"], axes=[1], keepdims=0),
            helper.make_node("Identity", ["features"], ["deviations"]),
            helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Add", ["memory", "mean"], ["next_memory"]),
            helper.make_node("ReduceSum", ["next_memory", "last"], ["score"], keepdims=0),
        ],
        name,
        [
            tensor("windows", TensorProto.FLOAT, [None, WINDOW, len(SIGNALS)]),
            tensor("memory", TensorProto.FLOAT, [None, 1]),
        ],
        [
            tensor("score", TensorProto.FLOAT, [None]),
            tensor("features", TensorProto.FLOAT, [None, len(SIGNALS)]),
            tensor("deviations", TensorProto.FLOAT, [None, len(SIGNALS)]),
            tensor("next_memory", TensorProto.FLOAT, [None, 1]),
        ],
        [numpy_helper.from_array(np.array([1], np.int64), "last")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    content = onnx.ModelProto.SerializeToString(model)
    like, _ = threshold_model(name, WINDOW, len(SIGNALS))
    return msgspec.structs.replace(like, threshold=1e9, memory=1, digest=digest(content)), content


@dataclass
class Scene:
    """A detector with a model that serves every `level.v1`, and what a test sends and reads."""

    kafka: str
    prefix: str
    detector: ServiceProcess
    triton: TritonClient
    contract: ModelContract
    out: KafkaPublisher

    async def send(self, frames: list[Frame]) -> None:
        await self.out.publish([frame_message(TELEMETRY_FACTORY, one, source="test") for one in frames])

    async def read(self, topic: Topic) -> list[Any]:
        """Every event of a topic."""
        return await events(self.kafka, self.prefix, topic)

    async def told(self, topic: Topic, count: int) -> list[Any]:
        """The events of a topic once there are `count`: each of them once."""
        found: list[Any] = []

        async def enough() -> bool:
            found[:] = await self.read(topic)
            return len(found) >= count

        await until(enough)
        assert len(found) == len({one.event_id for one in found}) == count
        return found


def frame(asset: str, sequence: int, level: float = 0.0) -> Frame:
    samples = np.zeros((ROWS, len(SIGNALS)), np.float32)
    samples[:, 0] = level
    return Frame(
        asset=asset,
        signal_set="level.v1",
        sequence=sequence,
        first_at_ns=10**9 * sequence,
        period_ns=10**6,
        samples=samples,
        observed_at_ns=10**9 * sequence,
        event_id=f"{asset}-{sequence}",
        trace_id="0" * 32,
    )


def windows_of(frames: int) -> int:
    return (frames * ROWS - WINDOW) // HOP + 1


@pytest.fixture
def detector(kafka: str, triton: str, topic_prefix: str, tmp_path: Path) -> Iterator[ServiceProcess]:
    one = ServiceProcess(
        "detector",
        {
            "TWINLOOP_KAFKA": kafka,
            "TWINLOOP_TRITON": triton,
            "TWINLOOP_TOPIC_PREFIX": topic_prefix,
            "TWINLOOP_MODEL_PREFIX": "",
            "TWINLOOP_DETECTOR_SCORE_EVERY": "1",
            "TWINLOOP_DETECTOR_SESSION_TIMEOUT_S": "6",
            "TWINLOOP_DETECTOR_MAX_POLL_RECORDS": "50",
        },
        tmp_path / "detector.log",
    )
    yield one
    if one.running:
        one.stop()


@pytest.fixture
async def scene(stack: Stack, topic_prefix: str, detector: ServiceProcess) -> AsyncIterator[Scene]:
    where = stack.endpoints
    contract, content = threshold_model(f"level-{uuid.uuid4().hex[:8]}", WINDOW, len(SIGNALS))
    publish(where.model_repository, contract, content)
    await provision(where.kafka, topic_prefix)
    route = ModelRoute(event_id="r", scope="level.v1", at=datetime.now(UTC), contract=contract)
    async with (
        triton_client(where.triton) as client,
        publisher(where.kafka, topic_prefix, asyncio.Event()) as out,
    ):
        await client.load(contract.model)
        await out.publish([codec.message(MODELS, route, source="test")])
        yield Scene(where.kafka, topic_prefix, detector, client, contract, out)
        await client.unload(contract.model)


async def test_windows_of_many_assets_are_judged_and_the_anomalous_ones_are_told(scene: Scene) -> None:
    scene.detector.start()
    assets = [f"plant.asset{n}" for n in range(20)]
    await scene.send([frame(asset, n) for n in range(10) for asset in assets])
    await scene.send([frame(assets[3], n, level=2.0) for n in range(10, 14)])

    verdicts: list[Verdict] = await scene.told(SCORES, 19 * windows_of(10) + windows_of(14))
    assert scene.detector.metric("windows_total") == len(verdicts)
    assert scene.detector.metric("unrouted_total") == 0
    anomalies: list[Anomaly] = await scene.read(ANOMALIES)
    assert {one.asset for one in anomalies} == {assets[3]}
    # The mean over both signals exceeds 0.5 when more than half of the window is at level 2.
    assert sorted((one.sequence, one.row) for one in anomalies) == [
        (11, 1), (11, 3), (12, 1), (12, 3), (13, 1), (13, 3)
    ]  # fmt: skip
    highest = max(anomalies, key=lambda one: (one.sequence, one.row))
    assert highest.features == {"level.mean": 2.0, "noise.mean": 0.0}
    assert (highest.model, highest.caused_by) == (scene.contract.model, f"{assets[3]}-13")
    assert scene.detector.stop() == 0


async def test_killed_again_and_again_it_judges_every_window_once(scene: Scene) -> None:
    """Frames are half a window long: at every kill, each asset has a window open."""
    assets = [f"plant.asset{n}" for n in range(10)]
    for turn in range(3):
        scene.detector.start()
        before = len(await scene.read(SCORES))
        await scene.send([frame(one, n) for n in range(30 * turn, 30 * turn + 30) for one in assets])

        async def progressed(before: int = before) -> bool:
            return len(await scene.read(SCORES)) > before

        await until(progressed)
        scene.detector.kill()
    scene.detector.start()
    verdicts = await scene.told(SCORES, 10 * windows_of(90))
    assert len({(one.asset, one.sequence, one.row) for one in verdicts}) == len(verdicts)


async def test_killed_again_and_again_a_recurrent_model_forgets_nothing(scene: Scene, stack: Stack) -> None:
    contract, content = summing_model(f"sum-{uuid.uuid4().hex[:8]}")
    publish(stack.endpoints.model_repository, contract, content)
    await scene.triton.load(contract.model)
    assets = [f"plant.asset{n}" for n in range(4)]
    routes = [
        ModelRoute(event_id=f"sum-{one}", scope=one, at=datetime.now(UTC), contract=contract)
        for one in assets
    ]
    await scene.out.publish([codec.message(MODELS, one, source="test") for one in routes])
    for turn in range(3):
        scene.detector.start()
        before = len(await scene.read(SCORES))
        numbers = range(30 * turn, 30 * turn + 30)
        await scene.send([frame(one, n, level=float(n % 7)) for n in numbers for one in assets])

        async def progressed(before: int = before) -> bool:
            return len(await scene.read(SCORES)) > before

        await until(progressed)
        scene.detector.kill()
    scene.detector.start()
    verdicts: list[Verdict] = await scene.told(SCORES, 4 * windows_of(90))
    levels = np.repeat([n % 7 for n in range(90)], ROWS)
    means = [levels[at : at + WINDOW].mean() / len(SIGNALS) for at in range(0, len(levels) - WINDOW + 1, HOP)]
    for asset in assets:
        of_asset = sorted(
            (one for one in verdicts if one.asset == asset), key=lambda one: (one.sequence, one.row)
        )
        assert [one.score for one in of_asset] == pytest.approx(np.cumsum(means))
    await scene.triton.unload(contract.model)


async def test_a_version_of_another_shape_takes_over_without_a_gap(scene: Scene, stack: Stack) -> None:
    """The next version's windows are five times as long: without a past, assets were blind for ten frames."""
    name = scene.contract.model
    longer, content = threshold_model(name, 5 * WINDOW, len(SIGNALS))
    longer = msgspec.structs.replace(longer, version=2)
    assets = [f"plant.asset{n}" for n in range(20)]
    scene.detector.start()
    await scene.send([frame(one, n) for n in range(30) for one in assets])
    await scene.told(SCORES, 20 * windows_of(30))
    publish(stack.endpoints.model_repository, longer, content)
    await scene.triton.load(name)
    swap = ModelRoute(
        event_id="swap", scope="level.v1", at=datetime.now(UTC), contract=longer, previous=scene.contract
    )
    await scene.out.publish([codec.message(MODELS, swap, source="test")])
    number = 30

    async def swapped() -> bool:
        nonlocal number
        await scene.send([frame(one, number) for one in assets])
        number += 1
        return {one.asset for one in await scene.read(SCORES) if one.model_version == 2} == set(assets)

    await until(swapped)
    await scene.send([frame(one, n) for n in range(number, number + 5) for one in assets])
    verdicts: list[Verdict] = await scene.told(SCORES, 20 * windows_of(number + 5))
    ends = {(one.asset, one.sequence, one.row) for one in verdicts}
    assert len(ends) == len(verdicts)
    for asset in assets:
        of_asset = sorted(
            (one for one in verdicts if one.asset == asset), key=lambda one: (one.sequence, one.row)
        )
        versions = [one.model_version for one in of_asset]
        assert versions == sorted(versions)
        assert set(versions) == {1, 2}


async def test_a_version_on_trial_of_other_signals_that_answers_nan_at_times_costs_nothing(
    scene: Scene, stack: Stack
) -> None:
    contract, content = root_model(f"root-{uuid.uuid4().hex[:8]}")
    publish(stack.endpoints.model_repository, contract, content)
    await scene.triton.load(contract.model)
    trial = Trial(contract=contract)
    route = ModelRoute(
        event_id="trial", scope="level.v1", at=datetime.now(UTC), contract=scene.contract, trial=trial
    )
    await scene.out.publish([codec.message(MODELS, route, source="test")])
    scene.detector.start()
    levels = [0.25] * 10 + [-1.0] + [0.25] * 10
    await scene.send([frame("plant.asset", n, level) for n, level in enumerate(levels)])
    rows = np.repeat(levels, ROWS)
    begins = range(0, len(rows) - WINDOW + 1, HOP)
    due = {divmod(at + WINDOW - 1, ROWS): float(rows[at : at + WINDOW].mean()) for at in begins}

    async def judged() -> bool:
        return sum(one.decides for one in await scene.read(SCORES)) >= len(due)

    await until(judged)
    serving, its = [
        {(one.sequence, one.row): one for one in await scene.read(SCORES) if one.decides is decides}
        for decides in (True, False)
    ]
    assert {end: one.score for end, one in serving.items()} == pytest.approx(
        {end: mean / 2 for end, mean in due.items()}
    )
    assert all(one.score == pytest.approx(np.sqrt(due[end])) for end, one in its.items())
    assert all(one.features == {"level.mean": pytest.approx(due[end])} for end, one in its.items())
    assert {one.model_digest for one in serving.values()} == {scene.contract.digest}
    assert {one.model_digest for one in its.values()} <= {contract.digest}
    assert await scene.read(DEAD_LETTERS) == []
    assert scene.detector.metric("trial_failures_total") == len(due) - len(its)
    assert all(due[end] >= 0 for end in its)
    await scene.triton.unload(contract.model)


async def test_without_its_model_it_waits_is_not_ready_and_loses_nothing(scene: Scene) -> None:
    scene.detector.start()
    await scene.send([frame("plant.a", n) for n in range(4)])

    def ready() -> bool:
        return scene.detector.status("/health/ready") == 200

    await scene.told(SCORES, windows_of(4))
    await until(ready)
    await scene.triton.unload(scene.contract.model)
    await scene.send([frame("plant.a", n) for n in range(4, 8)])

    def waiting() -> bool:
        return scene.detector.metric("waiting") == 1

    await until(waiting)
    assert scene.detector.status("/health/ready") == 503
    assert scene.detector.status("/health/live") == 200
    await scene.send([frame("plant.b", n) for n in range(4)])
    await scene.triton.load(scene.contract.model)
    await scene.told(SCORES, windows_of(8) + windows_of(4))
    await until(ready)
    assert scene.detector.metric("waiting") == 0


async def test_what_is_no_frame_is_kept_with_its_bytes_and_the_rest_goes_on(scene: Scene) -> None:
    scene.detector.start()
    good = frame_message(TELEMETRY_FACTORY, frame("plant.a", 0), source="test")
    nan = frame_message(TELEMETRY_FACTORY, frame("plant.a", 5, level=float("nan")), source="test")
    late = frame_message(TELEMETRY_FACTORY, frame("plant.a", 3), source="test")
    garbage = Message(TELEMETRY_FACTORY, b"plant.a", b"\xde\xad no frame", ())
    await scene.out.publish([good, garbage, nan, late, good])
    await scene.send([frame("plant.a", n) for n in range(6, 10)])
    await scene.told(SCORES, windows_of(4))
    letters = {one.reason: one for one in await scene.read(DEAD_LETTERS)}
    assert {reason: one.payload for reason, one in letters.items()} == {
        "undecodable": garbage.value,
        "non_finite": nan.value,
        "out_of_order": late.value,
    }
    assert all(one.source.startswith(TELEMETRY_FACTORY.named(scene.prefix)) for one in letters.values())
    assert scene.detector.metric("duplicates_total") == 1
