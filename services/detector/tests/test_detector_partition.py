"""A partition's state: what becomes a window, what is refused, and what a new owner finds again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.detector.partition import Memory, Partition
from twinloop.detector.routes import Routes, Share
from twinloop.detector.taken import Taken
from twinloop.detector.turns import Turns
from twinloop.runtime.stream.errors import PositionAhead
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.recovery import Position, Resume, resume

SIGNALS = ("a", "b")


@dataclass
class Given:
    """A record as Kafka hands it over."""

    offset: int
    value: bytes
    key: bytes | None = b"x"


OF = TopicPartition("telemetry.factory", 0)


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
    scope: str = "s.v1",
    *,
    window: int = 6,
    hop: int = 2,
    version: int = 1,
    signal_set: str = "s.v1",
) -> ModelRoute:
    contract = ModelContract(
        model="m",
        version=version,
        signal_set=signal_set,
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


def partition(table: Routes | None = None, memory: Memory | None = None) -> Partition:
    return Partition(OF, Resume(0, 0), table or routes(), memory or Memory(), {}, Turns())


def found(takens: Sequence[Taken]) -> list[tuple[str, int, int, bytes]]:
    """Every window: asset, sequence and row of its end, content."""
    return [
        (one.frame(n).asset, one.frame(n).sequence, int(row), values.tobytes())
        for taken in takens
        for one in taken.pending
        for n, (row, values) in enumerate(zip(one.rows, one.values, strict=True))
    ]


def test_windows_end_in_the_frame_that_completed_them() -> None:
    taken = partition().take(records([frame(sequence=n) for n in range(3)]))
    assert [(sequence, row) for _, sequence, row, _ in found([taken])] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    (pending,) = taken.pending
    assert pending.values.dtype == np.float32
    assert pending.values.shape == (4, 6, 2)
    assert [pending.record(n).offset for n in range(4)] == [1, 1, 2, 2]


def test_a_repeated_frame_is_dropped_and_counted() -> None:
    one = partition()
    once = one.take(records([frame(sequence=0), frame(sequence=1), frame(sequence=1)]))
    again = one.take(records([frame(sequence=0)], start=3))
    assert once.duplicates == again.duplicates == 1
    assert len(found([once, again])) == 2
    assert not once.refused + again.refused


def test_a_frame_behind_its_order_is_refused_with_its_bytes() -> None:
    given = records([frame(sequence=5), frame(sequence=3)])
    (refused,) = partition().take(given).refused
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
    taken = partition().take(given)
    assert [(one.reason, one.record.value) for one in taken.refused] == [(reason, bad.value)]
    assert {asset for asset, *_ in found([taken])} == {"y"}


def test_values_that_their_quality_bits_call_bad_are_no_reason_to_refuse() -> None:
    samples = np.full((4, 2), np.nan, np.float32)
    taken = partition().take(
        records([frame(samples=samples, bad=np.ones((4, 2), np.bool_)), frame(sequence=1), frame(sequence=2)])
    )
    assert not taken.refused
    assert found([taken])


def test_windows_that_more_is_needed_for_than_is_remembered_are_counted() -> None:
    one = partition(memory=Memory(records=10))
    taken = one.take([Given(8 * n, encode_frame(frame(sequence=n, rows=2))) for n in range(4)])
    assert (len(found([taken])), taken.too_wide, taken.silent) == (0, 2, 0)
    assert one.take(records([frame(sequence=4, rows=2)], start=60)).silent == 1


def test_an_asset_without_a_route_is_counted() -> None:
    taken = partition().take(records([frame(), frame(signal_set="other.v1")]))
    assert taken.unrouted == 1


def test_what_is_another_detectors_is_left_to_it() -> None:
    """Two detectors share two signal sets; garbage belongs to the one that has all the rest."""
    table = routes(route(), route("t.v1", signal_set="t.v1"))
    garbage = Given(0, b"\xff")
    given = [garbage, *records([frame(asset=name, sequence=n) for n in range(3) for name in "xy"], start=1)]
    given += records([frame(sequence=n, signal_set="t.v1") for n in (0, 1, 2, 2, 1)], start=7)
    only, rest = (
        Partition(OF, Resume(0, 0), table, Memory(), {}, Turns(), share).take(given)
        for share in (Share(only=frozenset({"t.v1"})), Share(without=frozenset({"t.v1"})))
    )
    assert {one.judge.contract.signal_set for one in only.pending} == {"t.v1"}
    assert {one.judge.contract.signal_set for one in rest.pending} == {"s.v1"}
    assert (only.duplicates, rest.duplicates) == (2, 0)
    assert ([one.reason for one in only.refused], [one.reason for one in rest.refused]) == (
        [],
        [Reason.UNDECODABLE],
    )
    assert (only.unrouted, rest.unrouted) == (0, 0)
    whole = Partition(OF, Resume(0, 0), table, Memory(), {}, Turns()).take(given)
    assert sorted(found([only]) + found([rest])) == sorted(found([whole]))


def test_an_assets_own_route_goes_before_that_of_its_signal_set() -> None:
    table = routes(route(), route("x", version=2))
    given = records([frame(asset=asset, sequence=n) for n in range(3) for asset in ("x", "y")])
    taken = partition(table).take(given)
    assert {
        (one.judge.contract.version, one.frame(n).asset) for one in taken.pending for n in range(len(one))
    } == {(2, "x"), (1, "y")}
    table.set("x", None)
    after = partition(table).take(given)
    assert {one.judge.contract.version for one in after.pending} == {1}


def test_a_new_version_takes_over_without_losing_open_windows() -> None:
    table = routes()
    one = partition(table)
    one.take(records([frame(sequence=0)]))
    table.set("s.v1", route(version=2))
    (pending,) = one.take(records([frame(sequence=1)], start=1)).pending
    assert (pending.judge.contract.version, len(pending)) == (2, 2)


def test_a_route_that_cuts_otherwise_takes_over_with_a_new_state_and_holds_nothing_back() -> None:
    table = routes()
    one = partition(table)
    one.take(records([frame(sequence=0), frame(asset="y", sequence=0)]))
    table.set("x", route("x", window=4, hop=4))
    given = records([frame(sequence=0), frame(asset="y", sequence=0), frame(sequence=1)])
    taken = one.take(given[2:])
    assert [pending.values.shape for pending in taken.pending] == [(2, 6, 2)]
    fresh = one.renewal()
    assert fresh is not None
    fresh.take(given)
    fresh.relieve(one)
    one = fresh
    taken = one.take(records([frame(sequence=2)], start=3))
    assert [pending.values.shape for pending in taken.pending] == [(1, 4, 2)]
    table.set("s.v1", None)
    left = one.take(records([frame(asset="y", sequence=1)], start=4))
    assert (left.unrouted, left.pending, left.refused) == (1, [], [])


moves = st.lists(
    st.tuples(st.sampled_from("xxxxyzp"), st.sampled_from([1, 1, 1, 1, 1, 2, 0, -1])),
    min_size=1,
    max_size=120,
)


@settings(max_examples=500)
@given(moves, st.data())
def test_a_new_owner_finds_every_window_after_the_commit_and_none_before(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Frames of some assets, some rare, one of them in a part without an end; some frames missing, repeated
    or late; a commit anywhere, whatever the polls were."""
    at = dict.fromkeys("xyzp", 0)
    frames = []
    for asset, ahead in steps:
        at[asset] = max(0, at[asset] + ahead)
        part_id = "endless" if asset == "p" else ""
        frames.append(frame(asset=asset, sequence=at[asset], rows=3, part_id=part_id))
    given, table = records(frames), routes(route(window=7, hop=2))
    memory = Memory(records=data.draw(st.sampled_from([4, 10, 30, 1000])))
    whole = [partition(table, memory).take(given)]
    cut = data.draw(st.integers(1, len(given)))
    before = partition(table, memory)
    first = data.draw(st.integers(1, cut))
    old = [before.take(some) for some in (given[:first], given[first:cut]) if some]
    place = resume(Position.needing(cut, before.replay_from(), before.covers()), 0, len(given))
    after = Partition(OF, place, table, memory, {}, Turns())
    assert after.position == place.read_from
    middle = data.draw(st.integers(place.read_from, len(given)))
    new = [after.take(some) for some in (given[place.read_from : middle], given[middle:]) if some]
    assert sorted(found(old) + found(new)) == sorted(found(whole))
    assert refused(old) + refused(new) == refused(whole)


def refused(takens: Sequence[Taken]) -> list[tuple[int, Reason]]:
    return [(one.record.offset, one.reason) for taken in takens for one in taken.refused]


def test_a_flood_of_refusals_stops_the_partition_just_before_the_limit_is_exceeded() -> None:
    one = partition(memory=Memory(refused=3))
    given = records([frame(sequence=n) for n in range(4)])
    given[1:1] = [Given(0, b"no frame")] * 5
    given = [Given(n, record.value) for n, record in enumerate(given)]
    taken = one.take(given)
    assert [at for at, _ in refused([taken])] == [1, 2, 3]
    assert one.position == 4
    assert one.halted is not None
    assert "3 of 10000" in one.halted
    assert not found([taken])
    again = Partition(OF, Resume(4, 4), routes(), Memory(refused=3), {}, Turns()).take(given[4:])
    assert [at for at, _ in refused([again])] == [4, 5]
    assert found([again])


@pytest.mark.parametrize(
    ("committed", "first", "end", "expected"),
    [
        (None, 5, 9, Resume(5, 5, 5)),
        (Position.needing(8, 6, {"b", "a"}), 5, 9, Resume(6, 8, 5, frozenset("ab"))),
        (Position.needing(8, 3), 5, 9, Resume(5, 8, 5)),  # retention took what an open window needs
        (Position.needing(8, 9), 5, 9, Resume(8, 8, 5)),
        (Position(8), 5, 9, Resume(8, 8, 5)),
        (Position(8, "[]"), 5, 9, Resume(8, 8, 5)),
        (Position(8, '{"replay_from": "?"}'), 5, 9, Resume(8, 8, 5)),
        (Position(8, '{"replay_from": 6}'), 5, 9, Resume(6, 8, 5)),
        (Position.needing(4, 2), 5, 9, Resume(5, 5, 5)),
        (Position.needing(9, 8), 0, 9, Resume(8, 9, 0)),
    ],
)
def test_where_a_new_owner_resumes(
    committed: Position | None, first: int, end: int, expected: Resume
) -> None:
    assert resume(committed, first, end) == expected


def test_a_position_beyond_the_end_is_no_reason_to_do_everything_again() -> None:
    with pytest.raises(PositionAhead, match="position 12 is beyond the end, 9"):
        resume(Position.needing(12, 11), 0, 9)
