"""Versions that decide nothing: whatever they do, those that decide are neither held up nor refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from twinloop.contracts.codec import decode
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelContract, ModelRoute, Trial
from twinloop.contracts.topics import ANOMALIES, DEAD_LETTERS, SCORES
from twinloop.detector.beside import Patience
from twinloop.detector.detection import Detection
from twinloop.detector.metrics import Metrics
from twinloop.detector.partition import Memory, Partition
from twinloop.detector.routes import Routes
from twinloop.detector.score import Scorer
from twinloop.detector.taken import Taken
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.stream.errors import Redo, Retry
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.recovery import Resume
from twinloop.tritonio.errors import InferenceFailed, TritonUnavailable
from twinloop.tritonio.fake import FakeTriton
from twinloop.tritonio.server import Floats, Inference

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OF = TopicPartition("telemetry.factory", 0)
POISON = 7.0


def version(number: int, *, window: int = 1, memory: int = 0) -> ModelContract:
    return ModelContract(
        model="m",
        version=number,
        signal_set="s.v1",
        signals=("a",),
        features=("a.last",),
        window=window,
        hop=1,
        threshold=1.0,
        digest="",
        memory=memory,
    )


def last(windows: Floats) -> Inference:
    score = windows[:, -1, 0]
    return Inference(score, score[:, None], score[:, None])


def nan_of_poison(windows: Floats) -> Inference:
    score = np.where(windows[:, -1, 0] == POISON, np.nan, windows[:, -1, 0]).astype(np.float32)
    return Inference(score, score[:, None], score[:, None])


def nan_of_anything(windows: Floats) -> Inference:
    score = np.where(windows[:, -1, 0] == 0, 0, np.nan).astype(np.float32)
    return Inference(score, score[:, None], score[:, None])


def raising(windows: Floats) -> Inference:
    raise InferenceFailed("the backend raised")


def counting(windows: Floats, memory: Floats) -> Inference:
    """Its score is how many windows of the asset it has answered."""
    count = memory + 1
    count[windows[:, -1] == POISON] = np.nan
    return Inference(count[:, 0], count, count, count)


@dataclass
class Given:
    offset: int
    value: bytes
    key: bytes | None = b"x"


@dataclass
class Hanging(FakeTriton):
    """Never answers to the versions in `hung`; `asked` counts requests to each."""

    def __init__(self) -> None:
        super().__init__()
        self.hung: set[int] = set()
        self.asked: Counter[int] = Counter()

    async def infer(
        self, contract: ModelContract, *windows: Floats, memory: Floats | None = None
    ) -> Inference:
        self.asked[contract.version] += 1
        if contract.version in self.hung:
            await asyncio.Event().wait()
        return await super().infer(contract, *windows, memory=memory)


@dataclass
class Desk:
    """A detector without Kafka. Version 1 serves."""

    triton: Hanging = field(default_factory=Hanging)
    routes: Routes = field(default_factory=Routes)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    offset: int = 0

    def __post_init__(self) -> None:
        metrics = Metrics(self.registry)
        scorer = Scorer(self.triton, metrics, patience=Patience(metrics, patience_s=0.05, rest_s=60))
        self.detection = Detection(self.routes, scorer, nothing_kept, ManualClock(NOW), Memory(), 1, metrics)

    async def try_out(
        self, trial: ModelContract, function: Callable[..., Inference], *assets: str
    ) -> Partition:
        """Both versions judge; the one on trial decides for `assets`."""
        self.triton.publish(version(1), last)
        self.triton.publish(trial, function)
        await self.triton.load("m")
        self.announce(Trial(contract=trial, assets=assets))
        return await self.detection.open(OF, Resume(0, 0))

    def announce(self, trial: Trial | None) -> None:
        route = ModelRoute(event_id="r", scope="s.v1", at=NOW, contract=version(1), trial=trial)
        self.routes.set("s.v1", route)

    def take(self, partition: Partition, *said: tuple[str, float]) -> Taken:
        given = []
        for asset, value in said:
            samples = np.array([[value]], np.float32)
            frame = Frame(asset, "s.v1", self.offset, 0, 1, samples, 0, f"{self.offset}", "t")
            given.append(Given(self.offset, encode_frame(frame)))
            self.offset += 1
        return partition.take(given)

    async def finish(self, taken: Taken) -> tuple[dict[int, list[tuple[str, float]]], int]:
        """By version, its verdicts: assets and scores; and how many dead letters there are."""
        messages = (await self.detection.finish({OF: taken}))[OF]
        verdicts: dict[int, list[tuple[str, float]]] = {}
        for one in [decode(SCORES, message.value) for message in messages if message.topic == SCORES]:
            verdicts.setdefault(one.model_version, []).append((one.asset, one.score))
        anomalies = [decode(ANOMALIES, one.value) for one in messages if one.topic == ANOMALIES]
        assert all(one.model_version == 1 or one.asset == "own" for one in anomalies)
        return verdicts, sum(message.topic == DEAD_LETTERS for message in messages)

    def dropped(self, reason: str) -> float:
        labels = {"model": "m", "reason": reason}
        return self.registry.get_sample_value("twinloop_detector_trial_failures_total", labels) or 0.0


async def nothing_kept(_: TopicPartition) -> Mapping[bytes, bytes]:
    return {}


SAID = [("x", 1.0), ("x", POISON), ("y", 2.0), ("y", 0.0)]


async def test_windows_that_a_version_on_trial_cannot_judge_are_its_own_loss() -> None:
    desk = Desk()
    partition = await desk.try_out(version(2), nan_of_poison)
    verdicts, letters = await desk.finish(desk.take(partition, *SAID))
    assert verdicts == {1: SAID, 2: [one for one in SAID if one[1] != POISON]}
    assert (letters, desk.dropped("failed"), partition.halted) == (0, 1, None)


async def test_however_many_they_are_the_partition_goes_on() -> None:
    desk = Desk()
    partition = await desk.try_out(version(2), nan_of_anything)
    for _ in range(3):
        verdicts, letters = await desk.finish(desk.take(partition, *[("x", 1.0)] * 500))
        assert (len(verdicts[1]), letters, partition.halted) == (500, 0, None)
        assert 2 not in verdicts
    assert desk.dropped("failed") + desk.dropped("late") == 1500


@pytest.mark.parametrize(("function", "reason"), [(raising, "failed"), (last, "unavailable")])
async def test_one_that_does_not_answer_holds_nobody_up(
    function: Callable[..., Inference], reason: str
) -> None:
    desk = Desk()
    partition = await desk.try_out(version(2), function)
    if reason == "unavailable":
        desk.triton.withdraw("m", 2)
        await desk.triton.load("m")
    assert await desk.finish(desk.take(partition, *SAID)) == ({1: SAID}, 0)
    assert desk.dropped(reason) == len(SAID)


async def test_one_that_hangs_is_waited_for_once_and_not_for_long() -> None:
    desk = Desk()
    partition = await desk.try_out(version(2), last)
    desk.triton.hung.add(2)
    for _ in range(3):
        assert await desk.finish(desk.take(partition, *SAID)) == ({1: SAID}, 0)
    assert desk.triton.asked == {1: 3, 2: 1}
    assert desk.dropped("late") == 3 * len(SAID)


async def test_where_it_decides_it_is_treated_as_one_that_decides() -> None:
    desk = Desk()
    partition = await desk.try_out(version(2), nan_of_poison, "own")
    said = [("own", POISON), ("own", 0.5), ("x", POISON), ("x", 0.5)]
    verdicts, letters = await desk.finish(desk.take(partition, *said))
    assert sorted(verdicts[1]) == sorted(said)
    assert sorted(verdicts[2]) == [("own", 0.5), ("x", 0.5)]
    assert (letters, desk.dropped("failed")) == (1, 1)
    desk.triton.hung.add(1)  # where that serves, all wait for it; not so where it shadows
    assert await desk.finish(desk.take(partition, ("own", 0.5))) == ({2: [("own", 0.5)]}, 0)


async def test_a_memory_stays_as_it_was_where_there_was_no_answer() -> None:
    desk = Desk()
    trial = msgspec.structs.replace(version(1), model="counting", memory=1)
    desk.triton.publish(trial, counting)
    await desk.triton.load("counting")
    partition = await desk.try_out(version(3), last)
    desk.announce(Trial(contract=trial))
    partition = await desk.detection.open(OF, Resume(0, 0))
    found = []
    for value in (1.0, POISON, 1.0):
        verdicts, letters = await desk.finish(desk.take(partition, ("x", value)))
        found.append([score for _, score in verdicts[1]])
        assert letters == 0
    assert found == [[1.0, 1.0], [POISON], [1.0, 2.0]]


async def test_a_canary_that_hangs_lets_go_of_its_windows_once_its_trial_is_over() -> None:
    """They are cut as nobody else's, so they are cut anew for whoever decides now."""
    desk = Desk()
    partition = await desk.try_out(version(2, window=2), last, "own")
    taken = desk.take(partition, ("own", 0.5), ("own", 0.5))

    async def away(*_: object, **__: object) -> Inference:
        raise TritonUnavailable("it does not answer within the deadline")

    desk.triton.infer = away  # type: ignore[method-assign]
    with pytest.raises(Retry):
        await desk.finish(taken)
    desk.announce(None)
    with pytest.raises(Redo) as redo:
        await desk.finish(taken)
    assert set(redo.value.partitions) == {OF}
