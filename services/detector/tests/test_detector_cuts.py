"""Versions that read unlike signals of the same frames, and routes that no windows can be cut for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry

from twinloop.contracts.codec import message
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelContract, ModelNamespace, ModelRoute, Trial
from twinloop.contracts.topics import MODELS
from twinloop.detector.app import apply
from twinloop.detector.metrics import Metrics
from twinloop.detector.partition import Memory, Partition
from twinloop.detector.routes import Role, Routes
from twinloop.detector.taken import Taken
from twinloop.detector.turns import Turns
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.recovery import Resume

OF = TopicPartition("telemetry.factory", 0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = ("a", "b", "c")
FEWER = ("c", "a")
"""Fewer signals, in another order."""


def version(number: int, signals: tuple[str, ...] = COLUMNS, **other: object) -> ModelContract:
    given: dict[str, object] = {"window": 4, "hop": 2, "threshold": 1.0, "columns": COLUMNS} | other
    return ModelContract(
        model="m",
        version=number,
        signal_set="s.v1",
        signals=signals,
        features=signals,
        digest=str(number),
        **given,  # type: ignore[arg-type]
    )


def route(
    serving: ModelContract, trial: ModelContract | None = None, previous: ModelContract | None = None
) -> ModelRoute:
    on_trial = None if trial is None else Trial(contract=trial)
    return ModelRoute(event_id="r", scope="s.v1", at=NOW, contract=serving, trial=on_trial, previous=previous)


@dataclass
class Given:
    offset: int
    value: bytes
    key: bytes | None = b"x"


def frames(start: int, count: int) -> list[Given]:
    """Frames of two rows. Signal k of row r of the stream is 10 r + k."""
    given = []
    for sequence in range(start, start + count):
        rows = 2 * sequence + np.arange(2)[:, None]
        samples = (10 * rows + np.arange(len(COLUMNS))).astype(np.float32)
        frame = Frame("x", "s.v1", sequence, 0, 1, samples, 0, f"{sequence}", "t")
        given.append(Given(sequence, encode_frame(frame)))
    return given


def partition(table: Routes) -> Partition:
    return Partition(OF, Resume(0, 0), table, Memory(), {}, Turns())


def windows(taken: Taken, role: Role = Role.DECIDES) -> dict[int, list[list[float]]]:
    """By version, the first rows of its windows."""
    return {
        one.judge.contract.version: one.values[:, 0, :].tolist()
        for one in taken.pending
        if one.judge.role is role
    }


@pytest.mark.parametrize("signals", [("a",), FEWER, ("b", "a", "c"), ("c", "b")])
def test_a_version_is_given_its_own_signals_in_its_own_order(signals: tuple[str, ...]) -> None:
    table = Routes()
    table.set("s.v1", route(version(1), version(2, signals)))
    taken = partition(table).take(frames(0, 3))
    assert windows(taken) == {1: [[0, 1, 2], [20, 21, 22]]}
    its = [COLUMNS.index(one) for one in signals]
    assert windows(taken, Role.SHADOWS) == {2: [[row + k for k in its] for row in (0, 20)]}
    assert all(one.values.flags.c_contiguous for one in taken.pending)


def test_a_version_of_other_signals_takes_over_at_once_where_windows_lie_alike() -> None:
    table = Routes()
    table.set("s.v1", route(version(1)))
    one = partition(table)
    assert windows(one.take(frames(0, 2))) == {1: [[0, 1, 2]]}
    table.set("s.v1", route(version(2, FEWER), previous=version(1)))
    assert windows(one.take(frames(2, 1))) == {2: [[22, 20]]}
    assert one.renewal() is None


def test_who_reads_fewer_signals_may_serve_and_refuses_the_frames_that_all_refuse() -> None:
    """What is refused is a matter of the frame, and not of who judges it."""
    table = Routes()
    table.set("s.v1", route(version(1, ("a",))))
    given = frames(0, 3)
    samples = np.zeros((2, 3), np.float32)
    samples[0, 2] = np.nan  # a signal that this version does not read
    given[1].value = encode_frame(Frame("x", "s.v1", 1, 0, 1, samples, 0, "1", "t"))
    taken = partition(table).take(given)
    assert [one.detail for one in taken.refused] == ["c is nan in sample 0"]


def test_windows_cut_for_other_signals_are_not_handed_to_the_one_that_serves() -> None:
    table = Routes()
    table.set("s.v1", route(version(1)))
    (old,) = table.of("x", "s.v1")
    table.set("s.v1", route(version(2, FEWER)))
    assert table.now(old) is old
    table.set("s.v1", route(version(3, columns=())))  # its frames are the same, though it does not say so
    newest = table.now(old)
    assert newest is not None
    assert newest.contract.version == 3


BAD = {
    "hop 0": {"hop": 0},
    "hop -3": {"hop": -3},
    "window 0": {"window": 0},
    "no signals": {"signals": ()},
    "a signal that frames do not have": {"signals": ("a", "d")},
    "a signal twice": {"signals": ("a", "a")},
    "a column twice": {"columns": ("a", "a", "c")},
    "memory -1": {"memory": -1},
}


@pytest.mark.parametrize("wrong", BAD.values(), ids=BAD)
def test_a_route_that_cannot_be_followed_is_told_and_the_one_before_it_stays(
    wrong: dict[str, object],
) -> None:
    table = Routes()
    table.set("s.v1", route(version(1)))
    bad = msgspec.structs.replace(version(2), **wrong)
    table.set("s.v1", route(bad))
    assert "m version 2" in table.problems["s.v1"]
    assert windows(partition(table).take(frames(0, 2))) == {1: [[0, 1, 2]]}
    assert [one.version for one in table.contracts()] == [1]
    table.set("s.v1", route(version(3)))
    assert not table.problems


@pytest.mark.parametrize("wrong", [*BAD.values(), {"columns": ("a", "b"), "signals": ("a",)}])
def test_what_cannot_be_followed_beside_the_version_that_serves_is_left_out(wrong: dict[str, object]) -> None:
    table = Routes()
    bad = msgspec.structs.replace(version(2), **wrong)
    table.set("s.v1", route(version(1), trial=bad, previous=bad))
    assert "m version 2" in table.problems["s.v1"]
    assert windows(partition(table).take(frames(0, 2))) == {1: [[0, 1, 2]]}
    assert [one.version for one in table.contracts()] == [1]


def record(value: bytes | None) -> ConsumerRecord:
    return ConsumerRecord(MODELS.name, 0, 0, 0, 0, b"s.v1", value, None, 0, 0, ())


def _told(one: ModelRoute) -> bytes:
    return message(MODELS, one, source="test").value


def test_what_cannot_be_followed_is_counted_and_told_until_it_is_mended() -> None:
    table, registry = Routes(), CollectorRegistry()
    metrics = Metrics(registry)

    def refused() -> float | None:
        return registry.get_sample_value("twinloop_detector_routes_refused")

    for value in (_told(route(version(2, hop=0))), _told(route(version(1), version(2, hop=0))), b"no route"):
        apply(record(value), table, metrics)
        assert refused() == 1
        assert table.problem() is not None
    apply(record(_told(route(version(3)))), table, metrics)
    assert (refused(), table.problem()) == (0, None)
    apply(record(b"no route"), table, metrics)
    apply(record(None), table, metrics)
    assert (refused(), table.problem(), len(table)) == (0, None, 0)


def test_a_route_to_another_sites_model_is_not_followed() -> None:
    table, metrics = Routes(), Metrics(CollectorRegistry())
    acme = ModelNamespace("acme.")
    mine = route(msgspec.structs.replace(version(1), model="acme.m"))
    apply(record(_told(mine)), table, metrics, acme)
    assert [one.model for one in table.contracts()] == ["acme.m"]
    for other in ("bolt.m", "m", "acme.eu.m"):
        apply(record(_told(route(msgspec.structs.replace(version(1), model=other)))), table, metrics, acme)
        assert [one.model for one in table.contracts()] == ["acme.m"]
        assert f"{other} is no model of this site" in (table.problem() or "")
