"""Recurrent models: each window with what is remembered of its asset, in order, kept with the verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from twinloop.contracts.codec import Message, decode
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.frame_batch import source_of
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.contracts.topics import DEAD_LETTERS, MODEL_MEMORY, SCORES
from twinloop.detector.detection import Detection
from twinloop.detector.metrics import Metrics
from twinloop.detector.partition import Memory, Partition
from twinloop.detector.remembered import Remembered
from twinloop.detector.routes import Routes
from twinloop.detector.score import Scorer
from twinloop.detector.taken import Taken
from twinloop.detector.turns import Turns
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.stream.errors import Retry
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.recovery import Resume
from twinloop.tritonio.fake import FakeTriton
from twinloop.tritonio.server import Floats, Inference

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE, OTHER = TopicPartition("telemetry.factory", 0), TopicPartition("telemetry.factory", 1)
CONTRACT = ModelContract(
    model="sum",
    version=1,
    signal_set="s.v1",
    signals=("a",),
    features=("a.last",),
    window=1,
    hop=1,
    threshold=1e9,
    digest="",
    memory=2,
)
POISON = float(np.float32(3e38))


def total(windows: Floats, memory: Floats) -> Inference:
    """Remembers how many windows there were, and their sum: the score. One of `POISON` is too much for it."""
    last = windows[:, -1]
    with np.errstate(over="ignore"):
        remembered = memory + np.concatenate([np.ones_like(last), 2 * last], axis=1)
    return Inference(remembered[:, 1] / 2, last, last, remembered)


@dataclass
class Given:
    offset: int
    value: bytes
    key: bytes | None = b"x"


@dataclass
class Desk:
    """A detector without Kafka: what a topic would keep of memories is in `kept`."""

    triton: FakeTriton = field(default_factory=FakeTriton)
    kept: dict[TopicPartition, dict[bytes, bytes]] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    offset: int = 0

    async def start(self) -> Desk:
        self.triton.publish(CONTRACT, total)
        await self.triton.load("sum")
        self.new()
        return self

    def new(self) -> None:
        """A process of the detector."""
        routes, metrics = Routes(), Metrics(CollectorRegistry())
        routes.set("s.v1", ModelRoute(event_id="r", scope="s.v1", at=NOW, contract=CONTRACT))
        scorer = Scorer(self.triton, metrics)
        self.detection = Detection(routes, scorer, self._kept, ManualClock(NOW), Memory(), 1, metrics)

    async def _kept(self, partition: TopicPartition) -> Mapping[bytes, bytes]:
        return dict(self.kept.get(partition, {}))

    async def open(self, partition: TopicPartition = ONE) -> Partition:
        return await self.detection.open(partition, Resume(self.offset, self.offset))

    def take(self, partition: Partition, *said: tuple[str, float]) -> Taken:
        """Frames of one row: which asset says what."""
        given = []
        for asset, value in said:
            sequence = self.sequences[asset] = self.sequences.get(asset, -1) + 1
            samples = np.array([[value]], np.float32)
            frame = Frame(asset, "s.v1", sequence, 0, 1, samples, 0, f"{asset}{sequence}", "t")
            given.append(Given(self.offset, encode_frame(frame)))
            self.offset += 1
        return partition.take(given)

    async def finish(self, **work: Taken) -> list[Message]:
        """A round, and the commit of what came of it."""
        places = {"one": ONE, "other": OTHER}
        outputs = await self.detection.finish({places[name]: taken for name, taken in work.items()})
        for place, messages in outputs.items():
            for one in messages:
                if one.topic == MODEL_MEMORY:
                    assert one.partition == place.partition
                    self.kept.setdefault(place, {})[one.key] = one.value
        return [one for messages in outputs.values() for one in messages]


def scores(messages: Iterable[Message]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in sorted(
        (decode(SCORES, one.value) for one in messages if one.topic == SCORES), key=lambda one: one.sequence
    ):
        found.setdefault(one.asset, []).append(one.score)
    return found


async def test_each_window_comes_with_what_was_remembered_of_its_asset() -> None:
    desk = await Desk().start()
    one, other = await desk.open(ONE), await desk.open(OTHER)
    said = await desk.finish(
        one=desk.take(one, ("x", 1), ("y", 10), ("x", 2), ("x", 3)), other=desk.take(other, ("z", 100))
    )
    assert scores(said) == {"x": [1, 3, 6], "y": [10], "z": [100]}
    assert desk.triton.batches == [3, 1, 1]  # one request a step, over all partitions
    assert scores(await desk.finish(one=desk.take(one, ("y", 5), ("x", 4)))) == {"x": [10], "y": [15]}
    assert len(desk.kept[ONE]) == 2


async def test_the_next_owner_goes_on_with_what_was_kept() -> None:
    desk = await Desk().start()
    await desk.finish(one=desk.take(await desk.open(), ("x", 1), ("y", 10), ("x", 2)))
    desk.new()
    one = await desk.open()
    assert scores(await desk.finish(one=desk.take(one, ("y", 1), ("x", 1)))) == {"x": [4], "y": [11]}


async def test_what_cannot_be_read_or_is_of_another_topic_begins_anew() -> None:
    desk = await Desk().start()
    await desk.finish(one=desk.take(await desk.open(), ("x", 1), ("y", 10)))
    kept = desk.kept[ONE]
    (mine,) = [key for key in kept if b"|x|" in key]
    vehicle = TopicPartition("telemetry.vehicle", 0)
    desk.kept = {ONE: {**kept, mine: b"?"}, vehicle: kept}
    desk.new()
    assert scores(await desk.finish(one=desk.take(await desk.open(), ("x", 1), ("y", 1)))) == {
        "x": [1],
        "y": [11],
    }
    remembered = Remembered(vehicle.topic, kept)
    assert remembered.recall(CONTRACT, [source_of("y", "s.v1")]).tolist() == [[0, 0]]


async def test_a_round_that_is_tried_again_begins_where_it_began() -> None:
    desk = await Desk().start()
    one = await desk.open()
    first = desk.take(one, ("x", 1), ("x", 2))
    desk.triton.away = True
    with pytest.raises(Retry):
        await desk.finish(one=first)
    desk.triton.away = False
    assert scores(await desk.finish(one=first)) == {"x": [1, 3]}


async def test_a_round_waits_for_what_the_one_before_it_leaves() -> None:
    desk = await Desk().start()
    one = await desk.open()
    first, second = desk.take(one, ("x", 1)), desk.take(one, ("x", 2))
    later = asyncio.create_task(desk.finish(one=second))
    await asyncio.sleep(0)
    desk.triton.away = True
    with pytest.raises(Retry):
        await desk.finish(one=first)
    desk.triton.away = False
    assert not later.done()
    assert scores(await desk.finish(one=first)) == {"x": [1]}
    assert scores(await later) == {"x": [3]}


async def test_nobody_waits_for_a_partition_that_was_given_up() -> None:
    desk = await Desk().start()
    one = await desk.open()
    desk.take(one, ("x", 1))
    later = asyncio.create_task(desk.finish(one=desk.take(one, ("x", 2))))
    await asyncio.sleep(0)
    one.close()
    await asyncio.wait_for(later, 1)
    turn = Turns().take()
    await turn.comes()


async def test_a_window_that_no_answer_can_be_had_for_leaves_what_is_remembered_as_it_was() -> None:
    desk = await Desk().start()
    one = await desk.open()
    said = await desk.finish(one=desk.take(one, ("x", 1), ("y", 5), ("x", POISON), ("y", 5), ("x", 2)))
    assert scores(said) == {"x": [1, 3], "y": [5, 10]}
    (letter,) = [decode(DEAD_LETTERS, message.value) for message in said if message.topic == DEAD_LETTERS]
    assert (letter.reason, letter.source) == (Reason.UNPROCESSABLE, "telemetry.factory/0/2")


@given(
    st.lists(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(-9, 9)), max_size=12), max_size=6),
    st.sets(st.integers(0, 5)),
)
async def test_rounds_and_restarts_change_nothing(
    rounds: list[list[tuple[str, int]]], restarts: set[int]
) -> None:
    desk = await Desk().start()
    one = await desk.open()
    found: dict[str, list[float]] = {}
    for number, said in enumerate(rounds):
        if number in restarts:
            desk.new()
            one = await desk.open()
        if said:
            for asset, values in scores(await desk.finish(one=desk.take(one, *said))).items():
                found.setdefault(asset, []).extend(values)
    said_by = {asset: [value for said in rounds for who, value in said if who == asset] for asset in "xyz"}
    assert found == {asset: list(accumulate(values)) for asset, values in said_by.items() if values}
