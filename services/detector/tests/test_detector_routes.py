"""Who judges what: trials, swaps between windows of unlike shape, and what was cut before a swap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelContract, ModelRoute, Trial
from twinloop.detector.judge import judge
from twinloop.detector.partition import Memory, Partition
from twinloop.detector.routes import Role, Routes
from twinloop.detector.taken import Taken
from twinloop.detector.turns import Turns
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.recovery import Position, Resume, resume
from twinloop.tritonio.server import Inference

OF = TopicPartition("telemetry.factory", 0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASSETS = [f"line.station{n}" for n in range(200)]


def version(number: int, *, window: int = 4, hop: int = 2, model: str = "m") -> ModelContract:
    return ModelContract(
        model=model,
        version=number,
        signal_set="s.v1",
        signals=("a",),
        features=("a.mean",),
        window=window,
        hop=hop,
        threshold=1.0,
        digest=str(number),
    )


def route(
    serving: ModelContract, trial: Trial | None = None, previous: ModelContract | None = None
) -> ModelRoute:
    return ModelRoute(event_id="r", scope="s.v1", at=NOW, contract=serving, trial=trial, previous=previous)


def routes(*given: ModelRoute) -> Routes:
    table = Routes()
    for one in given:
        table.set(one.scope, one)
    return table


def bench(table: Routes, asset: str = "x") -> list[tuple[int, Role]]:
    return [(one.contract.version, one.role) for one in table.of(asset, "s.v1")]


def test_a_trial_shadows_at_every_asset_and_decides_at_its_own() -> None:
    trial = Trial(contract=version(2), assets=("x",))
    table = routes(route(version(1), trial, version(0)))
    assert bench(table, "x") == [(2, Role.DECIDES), (1, Role.SHADOWS), (0, Role.STANDS_BY)]
    assert bench(table, "y") == [(1, Role.DECIDES), (2, Role.SHADOWS), (0, Role.STANDS_BY)]
    assert table.of("x", "other.v1") == ()
    assert {one.version for one in table.contracts()} == {0, 1, 2}


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_holds_a_smaller_one(one: float, other: float) -> None:
    low, high = sorted((one, other))
    few, many = (
        {asset for asset in ASSETS if Trial(contract=version(2), share=share).decides_for(asset)}
        for share in (low, high)
    )
    assert few <= many
    assert abs(len(many) - high * len(ASSETS)) < 40
    assert {asset for asset in ASSETS if Trial(contract=version(3), share=low).decides_for(asset)} == few


def test_what_was_cut_for_a_version_that_is_gone_goes_to_the_one_that_serves() -> None:
    table = routes(route(version(1), Trial(contract=version(2))))
    old, trial = table.of("x", "s.v1")
    table.set("s.v1", route(version(3), previous=version(2)))
    newest = table.now(old)
    assert newest is not None
    assert (newest.contract.version, newest.role) == (3, Role.DECIDES)
    assert table.now(trial) is trial  # still there, and may be asked
    table.set("s.v1", route(version(3)))
    assert table.now(trial) is None
    table.set("s.v1", route(version(4, window=6)))
    assert table.now(old) is old  # its windows are no other's: as long as it is loaded, it may be asked
    assert not table.knows(old)
    table.set("s.v1", None)
    assert table.now(old) is old


@dataclass
class Given:
    offset: int
    value: bytes
    key: bytes | None = b"x"


def frames(count: int, assets: Sequence[str] = "x") -> list[Given]:
    """Frames of two rows, of the assets in turn; each row says its number."""
    given = []
    for offset in range(count):
        sequence, which = divmod(offset, len(assets))
        samples = np.array([[2 * sequence], [2 * sequence + 1]], np.float32)
        frame = Frame(assets[which], "s.v1", sequence, 0, 1, samples, 0, f"{offset}", "t")
        given.append(Given(offset, encode_frame(frame)))
    return given


def said(takens: Sequence[Taken], role: Role = Role.DECIDES) -> list[tuple[str, int, int, int]]:
    """Asset, version, first and last row of each window of who has `role`."""
    return [
        (one.frame(n).asset, one.judge.contract.version, int(values[0, 0]), int(values[-1, 0]))
        for taken in takens
        for one in taken.pending
        if one.judge.role is role
        for n, values in enumerate(one.values)
    ]


def renewed(one: Partition, given: Sequence[Given]) -> Partition:
    """As the stream engine does it."""
    fresh = one.renewal()
    assert fresh is not None
    if fresh.position < one.position:
        assert not fresh.take(given[fresh.position : one.position]).pending
    fresh.relieve(one)
    return fresh


def test_the_one_before_decides_until_the_new_one_has_a_past() -> None:
    table, log = routes(route(version(1, window=4, hop=2))), frames(12)
    one = Partition(OF, Resume(0, 0), table, Memory(), {}, Turns())
    before = one.take(log[:4])
    assert one.renewal() is None
    table.set("s.v1", route(version(2, window=8, hop=2), previous=version(1, window=4, hop=2)))
    meanwhile = one.take(log[4:6])
    after = renewed(one, log).take(log[6:8])
    assert said([before]) == [("x", 1, 0, 3), ("x", 1, 2, 5), ("x", 1, 4, 7)]
    assert said([meanwhile]) == [("x", 1, 6, 9), ("x", 1, 8, 11)]
    assert said([after]) == [("x", 2, 6, 13), ("x", 2, 8, 15)]
    assert said([after], Role.STANDS_BY) == [("x", 1, 10, 13), ("x", 1, 12, 15)]


def test_a_trial_is_silent_until_it_has_a_past() -> None:
    table, log = routes(route(version(1))), frames(8)
    one = Partition(OF, Resume(0, 0), table, Memory(), {}, Turns())
    one.take(log[:3])
    table.set("s.v1", route(version(1), Trial(contract=version(2, window=6, hop=2), assets=("x",))))
    meanwhile = one.take(log[3:5])
    assert [told[1] for told in said([meanwhile])] == [1, 1]
    assert said([meanwhile], Role.SHADOWS) == []
    after = renewed(one, log).take(log[5:6])
    assert said([after]) == [("x", 2, 6, 11)]
    assert said([after], Role.SHADOWS) == [("x", 1, 8, 11)]


def test_who_decided_goes_on_when_swaps_follow_each_other_too_fast() -> None:
    """The third version comes before the second has a past; the first is no longer in the route."""
    table, log = routes(route(version(1))), frames(20)
    one = Partition(OF, Resume(0, 0), table, Memory(), {}, Turns())
    said_by = [one.take(log[:6])]
    for number, window in ((2, 8), (3, 6), (4, 10)):
        table.set("s.v1", route(version(number, window=window), previous=version(number - 1, window=window)))
        said_by.append(one.take(log[4 + number : 5 + number]))
    one = renewed(one, log)
    said_by.append(one.take(log[9:12]))
    assert [told[1:] for told in said(said_by)][-6:] == [
        (1, 10, 13), (1, 12, 15), (1, 14, 17), (4, 10, 19), (4, 12, 21), (4, 14, 23)
    ]  # fmt: skip
    assert one.renewal() is None


def test_a_trial_has_more_verdicts_published_and_never_less() -> None:
    """About one of two for the trial; all, where the detector is set so."""
    table, log = routes(route(version(1), Trial(contract=version(2), every=2))), frames(101)
    taken = Partition(OF, Resume(0, 0), table, Memory(), {}, Turns()).take(log)
    for one in taken.pending:
        values = one.values.mean(axis=(1, 2))
        answer = Inference(values, values[:, None], values[:, None])
        told = {every: len(judge(one, answer, NOW, score_every=every)[1]) for every in (0, 100, 1)}
        assert 30 < told[0] == told[100] < 70
        assert told[1] == 100


def test_also_a_route_that_names_none_before_is_followed_without_a_gap() -> None:
    table, log = routes(route(version(1))), frames(8)
    one = Partition(OF, Resume(0, 0), table, Memory(), {}, Turns())
    one.take(log[:3])
    table.set("s.v1", route(version(2, window=6, hop=2)))
    assert said([one.take(log[3:6])]) == [("x", 1, 4, 7), ("x", 1, 6, 9), ("x", 1, 8, 11)]
    assert said([renewed(one, log).take(log[6:7])]) == [("x", 2, 8, 13)]


def test_a_new_owner_reads_further_back_for_a_version_that_the_last_one_did_not_know() -> None:
    table, log = routes(route(version(1))), frames(20)
    one = Partition(OF, Resume(0, 0), table, Memory(records=2), {}, Turns())
    one.take(log[:12])
    kept = Position.needing(12, one.replay_from(), one.covers())
    table.set("s.v1", route(version(2, window=8, hop=2), previous=version(1)))
    again = Partition(OF, resume(kept, 0, 20), table, Memory(records=4), {}, Turns())
    assert again.position == 0
    again.take(log[:12])
    assert again.renewal() is None
    assert said([again.take(log[12:13])]) == [("x", 2, 18, 25)]


shapes = st.tuples(st.sampled_from([2, 4, 6, 10]), st.just(2))


@given(st.lists(st.tuples(shapes, st.integers(1, 12), st.integers(0, 3)), min_size=1, max_size=6))
def test_however_often_it_is_swapped_every_window_has_one_verdict(
    swaps: list[tuple[tuple[int, int], int, int]],
) -> None:
    """Two rows a frame and a hop of two: each frame of an asset ends a window, whatever the version."""
    log = frames(200, "xyz")
    serving = version(1)
    table = routes(route(serving))
    one, at, said_by = Partition(OF, Resume(0, 0), table, Memory(), {}, Turns()), 30, list[Taken]()
    said_by.append(one.take(log[:30]))
    for number, ((window, hop), wait, more) in enumerate(swaps, 2):
        table.set("s.v1", route(version(number, window=window, hop=hop), previous=serving))
        serving = version(number, window=window, hop=hop)
        said_by.append(one.take(log[at : at + wait]))
        at += wait
        if one.renewal() is not None:
            one = renewed(one, log)
        said_by.append(one.take(log[at : at + more + 1]))
        at += more + 1
    windows = said(said_by)
    ends = Counter((asset, last) for asset, _, _, last in windows)
    frames_of = {asset: len([n for n in range(at) if "xyz"[n % 3] == asset]) for asset in "xyz"}
    assert set(ends.values()) == {1}
    assert all(ends[asset, 2 * n + 1] for asset, count in frames_of.items() for n in range(1, count))
    for asset in "xyz":
        versions = [number for name, number, _, _ in windows if name == asset]
        assert versions == sorted(versions)
