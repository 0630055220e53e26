"""Asking the server: batches over partitions, trouble that is told, poison that is found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from twinloop.contracts.codec import decode
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.contracts.topics import SCORES
from twinloop.detector.detection import Detection
from twinloop.detector.judge import judge
from twinloop.detector.metrics import Metrics
from twinloop.detector.partition import Memory
from twinloop.detector.portions import Portions
from twinloop.detector.remembered import Remembered
from twinloop.detector.routes import Judge, Routes
from twinloop.detector.score import Scored, Scorer
from twinloop.detector.taken import Pending, Refused, Taken
from twinloop.detector.turns import Turns
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.stream.errors import Redo, Retry
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.tritonio.errors import DeadlineExceeded, InferenceFailed, TritonUnavailable
from twinloop.tritonio.fake import FakeTriton
from twinloop.tritonio.server import Floats, Inference

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def contract(model: str = "m", version: int = 1) -> ModelContract:
    return ModelContract(
        model=model,
        version=version,
        signal_set="s.v1",
        signals=("a",),
        features=("a.mean",),
        window=2,
        hop=2,
        threshold=1.0,
        digest="the file's",
    )


def mean(windows: Floats) -> Inference:
    score = windows.mean(axis=(1, 2))
    return Inference(score, score[:, None], 2 * score[:, None])


@dataclass
class Server:
    """A fake Triton, and the routes to its models."""

    triton: FakeTriton = field(default_factory=FakeTriton)
    routes: Routes = field(default_factory=Routes)

    async def add(self, model: str = "m", version: int = 1, scope: str = "s.v1") -> Judge:
        self.triton.publish(contract(model, version), mean)
        await self.triton.load(model)
        route = ModelRoute(event_id="r", scope=scope, at=NOW, contract=contract(model, version))
        self.routes.set(scope, route)
        (judge,) = self.routes.of(scope, "s.v1")
        return judge

    @property
    def scorer(self) -> Scorer:
        return Scorer(self.triton, Metrics(CollectorRegistry()))

    @property
    def detection(self) -> Detection:
        metrics = Metrics(CollectorRegistry())
        return Detection(self.routes, self.scorer, nothing_kept, ManualClock(NOW), Memory(), 1, metrics)


async def nothing_kept(_: TopicPartition) -> dict[bytes, bytes]:
    return {}


@dataclass
class Given:
    offset: int
    value: bytes = b"frame"
    key: bytes | None = b"x"


def pending(asked: Judge, *levels: float, start: int = 0, partition: int = 0) -> Pending:
    numbers = range(start, start + len(levels))
    records = [
        Given(n, encode_frame(Frame("x", "s.v1", n, 0, 1, np.zeros((2, 1), np.float32), 0, f"e{n}", "t")))
        for n in numbers
    ]
    values = np.repeat(np.array(levels, np.float32), 2).reshape(-1, 2, 1)
    rows = np.ones(len(levels), np.int64)
    which = np.arange(len(levels))
    of = TopicPartition("telemetry.factory", partition)
    assets = np.zeros(len(levels), np.int64)
    sequences = np.array(numbers, np.uint64)
    salts = np.zeros(1, np.uint64)
    return Pending(
        of, asked, values, assets, sequences, rows, which, records, [b"x"], salts, Remembered(of.topic, {})
    )


def taken(*parts: Pending, refused: Sequence[Refused] = ()) -> Taken:
    return Taken(Turns().take(), list(parts), list(refused))


def scores(scored: Scored) -> dict[int, float]:
    return {
        int(sequence): float(score)
        for one, answer in scored.answers
        for sequence, score in zip(one.sequences, answer.score, strict=True)
    }


async def test_windows_of_all_partitions_go_in_one_request() -> None:
    server = Server()
    version = await server.add()
    scored = await server.scorer.score([pending(version, 1, 2), pending(version, 3, start=2)])
    assert server.triton.batches == [3]
    assert scores(scored) == {0: 1, 1: 2, 2: 3}
    assert not scored.refused


async def test_each_model_gets_its_own_windows() -> None:
    server = Server()
    one, two = await server.add(), await server.add("other", scope="x")
    scored = await server.scorer.score([pending(one, 1, 2), pending(two, 3, start=2)])
    assert {part.judge.contract.model: len(part) for part, _ in scored.answers} == {"m": 2, "other": 1}
    assert sorted(server.triton.batches) == [1, 2]


async def test_a_server_that_is_away_is_no_reason_to_refuse_anything() -> None:
    server = Server()
    version = await server.add()
    server.triton.away = True
    with pytest.raises(TritonUnavailable):
        await server.scorer.score([pending(version, 1, 2)])


async def test_a_model_whose_process_died_is_no_reason_to_refuse_anything() -> None:
    server = Server()
    version = await server.add()
    server.triton.broken.add("m")
    with pytest.raises(InferenceFailed):
        await server.scorer.score([pending(version, 1, 2)])


async def test_while_a_model_is_missing_the_route_may_move_on() -> None:
    server = Server()
    version = await server.add()
    await server.triton.unload("m")
    detection, partition = server.detection, TopicPartition("telemetry.factory", 0)
    work = {partition: taken(pending(version, 1))}
    with pytest.raises(Retry, match="not loaded"):
        await detection.finish(work)
    newer = ModelRoute(event_id="r2", scope="s.v1", at=NOW, contract=contract("m2"))
    server.triton.publish(newer.contract, mean)
    await server.triton.load("m2")
    server.routes.set("s.v1", newer)
    (verdict,) = (await detection.finish(work))[partition]
    assert decode(SCORES, verdict.value).model == "m2"


async def test_when_a_model_is_gone_and_the_next_one_cuts_otherwise_its_records_are_taken_again() -> None:
    server = Server()
    version = await server.add()
    await server.triton.unload("m")
    detection, partition = server.detection, TopicPartition("telemetry.factory", 0)
    work = {partition: taken(pending(version, 1))}
    newer = msgspec.structs.replace(contract("m2"), window=4)
    server.routes.set("s.v1", ModelRoute(event_id="r2", scope="s.v1", at=NOW, contract=newer))
    with pytest.raises(Redo, match="not loaded") as redo:
        await detection.finish(work)
    assert set(redo.value.partitions) == {partition}


async def test_every_partition_gets_its_own_outputs() -> None:
    server = Server()
    version = await server.add()
    other = pending(version, 3.0, start=7, partition=1)
    work = {
        TopicPartition("telemetry.factory", 0): taken(pending(version, 0, 2)),
        TopicPartition("telemetry.factory", 1): taken(
            other, refused=[Refused(Given(9, b"?"), Reason.UNDECODABLE, "why")]
        ),
        TopicPartition("telemetry.factory", 2): taken(),
    }
    outputs = await server.detection.finish(work)
    told = {one.partition: [message.topic.name for message in outputs[one]] for one in work}
    assert told == {0: ["anomalies", "scores", "scores"], 1: ["anomalies", "scores", "dead-letters"], 2: []}


@given(st.lists(st.booleans(), min_size=1, max_size=40))
async def test_exactly_the_windows_that_no_model_can_take_are_refused(poison: list[bool]) -> None:
    server = Server()
    version = await server.add()
    levels = [float(np.float32(3e38)) if bad else 1.0 for bad in poison]
    with np.errstate(over="ignore"):
        scored = await server.scorer.score([pending(version, *levels)])
    assert {one.record.offset for _, one in scored.refused} == {n for n, bad in enumerate(poison) if bad}
    assert all(one.reason is Reason.UNPROCESSABLE for _, one in scored.refused)
    assert scores(scored) == {n: 1.0 for n, bad in enumerate(poison) if not bad}


async def test_above_the_threshold_is_anomalous_and_the_facts_are_the_windows() -> None:
    version = await Server().add()
    part = pending(version, 0.5, 1.0, 1.5)
    anomalies, verdicts = judge(part, mean(part.values), NOW, score_every=1)
    assert [one.sequence for one in anomalies] == [2]
    (one,) = anomalies
    assert (one.features, one.deviations) == ({"a.mean": 1.5}, {"a.mean": 3.0})
    assert (one.caused_by, one.model, one.model_version, one.threshold) == ("e2", "m", 1, 1.0)
    assert [verdict.anomalous for verdict in verdicts] == [False, False, True]
    assert {one.model_digest for one in (one, *verdicts)} == {"the file's"}


async def test_ids_are_of_the_window_and_the_model() -> None:
    server = Server()
    version, other = await server.add(), await server.add("m", 2)
    part = pending(version, 2, 2)
    first, _ = judge(part, mean(part.values), NOW, score_every=0)
    later = datetime(2026, 1, 2, tzinfo=UTC)
    again, _ = judge(part, mean(part.values), later, score_every=0)
    swapped, _ = judge(replace(part, judge=other), mean(part.values), NOW, score_every=0)
    assert [one.event_id for one in first] == [one.event_id for one in again]
    assert len({one.event_id for one in [*first, *swapped]}) == 4


@dataclass
class Slow(FakeTriton):
    """Answers so many windows within the deadline, and no more. `asked`: how many each time."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.asked: list[int] = []

    async def infer(
        self, contract: ModelContract, *windows: Floats, memory: Floats | None = None
    ) -> Inference:
        count = sum(map(len, windows))
        self.asked.append(count)
        if count > self.most:
            raise DeadlineExceeded(f"{count} windows are too many")
        return await super().infer(contract, *windows, memory=memory)

    async def probe(self, contract: ModelContract) -> None:
        if not self.most:
            raise DeadlineExceeded("it hangs")


async def test_what_is_too_much_within_the_deadline_is_asked_for_in_portions() -> None:
    slow = Slow(30)
    server = Server(slow)
    version = await server.add()
    scored = await server.scorer.score([pending(version, *range(100))])
    assert scores(scored) == {n: n for n in range(100)}
    assert not scored.refused
    assert slow.asked[:3] == [100, 50, 25]


async def test_the_next_round_begins_with_what_was_not_too_much() -> None:
    slow = Slow(0)
    server = Server(slow)
    version = await server.add()
    scorer = server.scorer
    for _ in range(4):
        with pytest.raises(TritonUnavailable):
            await scorer.score([pending(version, *range(20))])
    slow.most = 2
    assert len(scores(await scorer.score([pending(version, *range(20))]))) == 20
    assert slow.asked[:5] == [20, 10, 5, 2, 1]


async def test_one_window_alone_is_waited_for_and_never_refused() -> None:
    slow = Slow(1)
    server = Server(slow)
    version = await server.add()

    async def busy(*_: object, **__: object) -> Inference:
        raise DeadlineExceeded("others take all of its time")

    slow.infer = busy  # type: ignore[method-assign]
    with pytest.raises(TritonUnavailable):
        await server.scorer.score([pending(version, 1)])


def test_portions_grow_again_once_they_are_quick() -> None:
    portions, version = Portions(deadline_s=4), contract()
    assert portions.most(version) == sys.maxsize
    portions.missed(version, 16_000)
    assert portions.most(version) == 1024
    portions.missed(version, 1024)
    portions.answered(version, 512, took_s=1.1)
    portions.answered(version, 511, took_s=0.1)
    assert portions.most(version) == 512
    portions.answered(version, 512, took_s=0.9)
    assert portions.most(version) == 1024
