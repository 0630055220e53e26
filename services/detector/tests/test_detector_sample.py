"""Which verdicts are published: the same share whatever the shape, of the same windows for all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest

from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelContract, ModelRoute, Trial
from twinloop.detector.judge import judge
from twinloop.detector.partition import Memory, Partition
from twinloop.detector.routes import Role, Routes
from twinloop.detector.taken import Taken
from twinloop.detector.turns import Turns
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.recovery import Resume
from twinloop.tritonio.server import Inference

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OF = TopicPartition("telemetry.factory", 0)
WINDOWS = 1000
Window = tuple[str, int, int]
"""Asset, sequence and row of its end."""


def version(number: int, window: int, hop: int) -> ModelContract:
    return ModelContract(
        model="m",
        version=number,
        signal_set="s.v1",
        signals=("a",),
        features=(),
        window=window,
        hop=hop,
        threshold=1.0,
        digest="",
    )


@dataclass
class Given:
    offset: int
    value: bytes
    key: bytes | None = b"x"


def taken(
    one: ModelContract,
    trial: Trial | None = None,
    rows: int = 1,
    assets: tuple[str, ...] = ("x",),
    first: int = 0,
) -> Taken:
    """`WINDOWS` windows of each asset, from its sequence `first` on."""
    table = Routes()
    table.set("s.v1", ModelRoute(event_id="r", scope="s.v1", at=NOW, contract=one, trial=trial))
    samples = np.zeros((rows, 1), np.float32)
    frames = [
        Frame(asset, "s.v1", first + n, 0, 1, samples, 0, f"{n}", "t")
        for n in range((WINDOWS * one.hop + one.window) // rows)
        for asset in assets
    ]
    memory = Memory(records=len(frames))
    partition = Partition(OF, Resume(0, 0), table, memory, {}, Turns())
    return partition.take([Given(n, encode_frame(frame)) for n, frame in enumerate(frames)])


def published(found: Taken, every: int, role: Role = Role.DECIDES) -> set[Window]:
    said: set[Window] = set()
    for one in found.pending:
        if one.judge.role is role:
            none = np.zeros((len(one), 0), np.float32)
            answer = Inference(np.zeros(len(one), np.float32), none, none)
            _, verdicts = judge(one, answer, NOW, score_every=every)
            said |= {(verdict.asset, verdict.sequence, verdict.row) for verdict in verdicts}
    return said


@pytest.mark.parametrize("first", [7, 2**63])
@pytest.mark.parametrize(
    ("window", "hop", "rows"), [(10, 10, 1), (11, 10, 1), (300, 10, 1), (64, 16, 8), (8, 2, 4)]
)
def test_of_windows_of_any_shape_the_same_share_is_published(
    window: int, hop: int, rows: int, first: int
) -> None:
    """Within five standard deviations of a fair draw."""
    found = taken(version(1, window, hop), rows=rows, first=first)
    for every in (2, 10, 100):
        due = WINDOWS / every
        assert abs(len(published(found, every)) - due) < 5 * np.sqrt(due)


def test_assets_that_speak_at_once_are_not_published_at_once() -> None:
    found = published(taken(version(1, 1, 1), assets=("x", "y")), 10)
    x, y = ({(sequence, row) for asset, sequence, row in found if asset == name} for name in "xy")
    assert len(x & y) < len(x) / 2


def test_both_versions_of_a_trial_are_published_on_the_same_windows() -> None:
    trial = Trial(contract=version(2, 12, 2), every=5)
    found = taken(version(1, 4, 2), trial)
    serving, its = published(found, 100), published(found, 100, Role.SHADOWS)
    begins = {(asset, sequence, row) for asset, sequence, row in serving if sequence >= 11}
    assert its == begins
    assert published(taken(version(1, 4, 2)), 100) <= serving  # also those that are published anyway


def test_the_draw_is_the_same_for_every_process() -> None:
    assert sorted(published(taken(version(1, 1, 1)), 100))[:2] == [("x", 81, 0), ("x", 249, 0)]
