"""A partition's state: what becomes a window, what is refused, and what a new owner finds again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.detector.partition import Partition, Taken
from twinloop.detector.recovery import Resume, metadata, resume
from twinloop.detector.routes import Routes

SIGNALS = ("a", "b")
WIDE = np.zeros((4, 3), np.float32)


@dataclass
class Given:
    """A record as Kafka hands it over."""

    offset: int
    value: bytes
    topic: str = "telemetry.factory"
    partition: int = 0
    key: bytes | None = b"x"


def frame(asset: str = "x", sequence: int = 0, rows: int = 4, value: float = 0.0, **other: object) -> Frame:
    samples = np.full((rows, len(SIGNALS)), value + sequence, np.float32)
    samples[:, 1] = np.arange(rows)
    given = {"samples": samples, "signal_set": "s.v1", "bad": None} | other
    return Frame(
        asset=asset,
        sequence=sequence,
        first_at_ns=1_000 + sequence,
        period_ns=1,
        observed_at_ns=2_000 + sequence,
        event_id=f"{asset}-{sequence}",
        trace_id="t",
        **given,  # type: ignore[arg-type]
    )


def records(frames: Sequence[Frame], start: int = 0) -> list[Given]:
    return [Given(start + n, encode_frame(one)) for n, one in enumerate(frames)]


def route(
    scope: str = "s.v1", *, window: int = 6, hop: int = 2, model: str = "m", version: int = 1
) -> ModelRoute:
    contract = ModelContract(
        model="m",
        version=version,
        signal_set="s.v1",
        signals=SIGNALS,
        features=("a.mean", "b.mean"),
        window=window,
        hop=hop,
        threshold=1.0,
        digest="",
    )
    return ModelRoute(event_id="r", scope=scope, at=datetime(2026, 1, 1, tzinfo=UTC), contract=contract)


def routes(*given: ModelRoute) -> Routes:
    table = Routes()
    for one in given or (route(),):
        table.set(one.scope, one)
    return table


def found(takens: Sequence[Taken]) -> list[tuple[str, int, int, bytes]]:
    """Every window: asset, sequence and row of its end, content."""
    return [
        (frame.asset, frame.sequence, int(row), values.tobytes())
        for taken in takens
        for one in taken.pending
        for frame, row, values in zip(one.frames, one.rows, one.values, strict=True)
    ]


def test_windows_end_in_the_frame_that_completed_them() -> None:
    taken = Partition(0).take(records([frame(sequence=n) for n in range(3)]), routes())
    assert [(sequence, row) for _, sequence, row, _ in found([taken])] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    (pending,) = taken.pending
    assert pending.values.dtype == np.float32
    assert pending.values.shape == (4, 6, 2)
    assert [one.offset for one in pending.records] == [1, 1, 2, 2]


def test_a_repeated_frame_is_dropped_and_counted() -> None:
    partition = Partition(0)
    once = partition.take(records([frame(sequence=0), frame(sequence=1), frame(sequence=1)]), routes())
    again = partition.take(records([frame(sequence=0)], start=3), routes())
    assert once.duplicates == again.duplicates == 1
    assert len(found([once, again])) == 2
    assert not once.refused + again.refused


def test_a_frame_behind_its_order_is_refused_with_its_bytes() -> None:
    given = records([frame(sequence=5), frame(sequence=3)])
    (refused,) = Partition(0).take(given, routes()).refused
    assert (refused.reason, refused.record.value) == (Reason.OUT_OF_ORDER, given[1].value)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Given(1, b"\xff\xff no frame"), Reason.UNDECODABLE),
        (Given(1, b""), Reason.UNDECODABLE),
        (
            Given(1, encode_frame(frame(sequence=1, samples=np.zeros((4, 3), np.float32)))),
            Reason.WRONG_SIGNAL_COUNT,
        ),
        (Given(1, encode_frame(frame(sequence=1, value=float("nan")))), Reason.NON_FINITE),
        (Given(1, encode_frame(frame(sequence=1, value=float("inf")))), Reason.NON_FINITE),
    ],
)
def test_what_is_no_frame_is_refused_and_the_rest_goes_on(bad: Given, reason: Reason) -> None:
    good = [frame(sequence=0), frame(asset="y", sequence=0), frame(asset="y", sequence=1)]
    given = [*records(good[:1]), bad, *records(good[1:], start=2)]
    taken = Partition(0).take(given, routes())
    assert [(one.reason, one.record.value) for one in taken.refused] == [(reason, bad.value)]
    assert {asset for asset, *_ in found([taken])} == {"y"}


def test_values_that_their_quality_bits_call_bad_are_no_reason_to_refuse() -> None:
    samples = np.full((4, 2), np.nan, np.float32)
    taken = Partition(0).take(
        records(
            [frame(samples=samples, bad=np.ones((4, 2), np.bool_)), frame(sequence=1), frame(sequence=2)]
        ),
        routes(),
    )
    assert not taken.refused
    assert found([taken])


def test_an_asset_without_a_route_is_counted() -> None:
    taken = Partition(0).take(records([frame(), frame(signal_set="other.v1")]), routes())
    assert taken.unrouted == 1


def test_an_assets_own_route_goes_before_that_of_its_signal_set() -> None:
    table = routes(route(), route("x", version=2))
    given = records([frame(asset=asset, sequence=n) for n in range(3) for asset in ("x", "y")])
    taken = Partition(0).take(given, table)
    assert {(one.route.contract.version, frame.asset) for one in taken.pending for frame in one.frames} == {
        (2, "x"),
        (1, "y"),
    }
    table.set("x", None)
    after = Partition(0).take(given, table)
    assert {one.route.contract.version for one in after.pending} == {1}


def test_a_new_version_takes_over_without_losing_open_windows() -> None:
    partition, table = Partition(0), routes()
    partition.take(records([frame(sequence=0)]), table)
    table.set("s.v1", route(version=2))
    (pending,) = partition.take(records([frame(sequence=1)], start=1), table).pending
    assert (pending.route.contract.version, len(pending)) == (2, 2)


def test_a_route_that_cuts_otherwise_begins_anew_and_holds_nothing_back() -> None:
    partition, table = Partition(0), routes()
    partition.take(records([frame(sequence=0), frame(asset="y", sequence=0)]), table)
    assert partition.replay_from(2) == 0
    table.set("x", route("x", window=4, hop=4))
    taken = partition.take(records([frame(sequence=1)], start=2), table)
    assert [one.values.shape for one in taken.pending] == [(1, 4, 2)]
    assert partition.replay_from(3) == 1  # y's window is still open


moves = st.lists(st.tuples(st.sampled_from("xyz"), st.integers(1, 2)), min_size=1, max_size=40)


@given(moves, st.data())
def test_a_new_owner_finds_every_window_after_the_commit_and_none_before(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Frames of some assets, some missing; a commit anywhere, however the polls were cut."""
    at = dict.fromkeys("xyz", 0)
    frames = []
    for asset, ahead in steps:
        at[asset] += ahead
        frames.append(frame(asset=asset, sequence=at[asset], rows=3))
    given, table = records(frames), routes(route(window=7, hop=2))
    whole = [Partition(0).take(given, table)]
    cut = data.draw(st.integers(0, len(given)))
    before = Partition(0)
    first = data.draw(st.integers(0, cut))
    old = [before.take(given[:first], table), before.take(given[first:cut], table)]
    place = resume(cut, metadata(min(before.replay_from(cut), cut)), 0, len(given))
    after = Partition(place.emit_from)
    middle = data.draw(st.integers(place.read_from, len(given)))
    new = [after.take(given[place.read_from : middle], table), after.take(given[middle:], table)]
    assert sorted(found(old) + found(new)) == sorted(found(whole))


@pytest.mark.parametrize(
    ("committed", "text", "first", "end", "expected"),
    [
        (None, "", 5, 9, Resume(5, 5)),
        (8, metadata(6), 5, 9, Resume(6, 8)),
        (8, metadata(3), 5, 9, Resume(5, 8)),  # retention took what an open window needs
        (8, metadata(9), 5, 9, Resume(8, 8)),
        (8, "", 5, 9, Resume(8, 8)),
        (8, "[]", 5, 9, Resume(8, 8)),
        (8, '{"replay_from": "?"}', 5, 9, Resume(8, 8)),
        (4, metadata(2), 5, 9, Resume(5, 5)),
        (12, metadata(11), 0, 9, Resume(0, 0)),  # the topic was made anew
    ],
)
def test_where_a_new_owner_resumes(
    committed: int | None, text: str, first: int, end: int, expected: Resume
) -> None:
    assert resume(committed, text, first, end) == expected
