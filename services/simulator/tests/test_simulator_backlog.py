"""What an edge node still has to tell: in order, bounded, and again what may have been lost on its way."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twinloop.simulator.backlog import UNSURE_MS, UNSURE_PARTS, Backlog, Report
from twinloop.simulator.plant import MadePart

LONG_MS = 3_600_000


def report(sequence: int, station: str = "weld1", made_ms: int = 0, clock_offset_s: float = 0.0) -> Report:
    part = MadePart(
        station=station,
        number=sequence,
        sequence=sequence,
        part_id=f"{station}-{sequence}",
        signals=np.zeros((1, 6), np.float32),
        missing=frozenset(),
        resistance_uohm=42.0,
        power_w=1000.0,
        focus_mm=0.0,
        limit_uohm=55.0,
        rejected=False,
        recipe="r",
        clock_offset_s=clock_offset_s,
        loses_birth=False,
    )
    return Report(part, made_ms)


def taken(backlog: Backlog, now_ms: int = 0) -> list[int]:
    """The sequences of all that waits; they are sent now."""
    found = []
    while one := backlog.take(now_ms):
        found.append(one.part.sequence)
    return found


def test_what_was_never_sent_comes_once_and_in_order() -> None:
    backlog = Backlog(10, LONG_MS)
    assert sum(backlog.add(report(n), 0) for n in range(5)) == 0
    assert len(backlog) == 5
    assert taken(backlog) == [0, 1, 2, 3, 4]
    assert backlog.take(0) is None


def test_a_stations_clock_may_be_wrong_and_the_edge_nodes_counts() -> None:
    one = report(1, made_ms=10_000, clock_offset_s=-2.5)
    assert (one.made_ms, one.ended_ms) == (10_000, 7_500)


def test_too_many_and_too_old_ones_fall_off_and_are_counted() -> None:
    backlog = Backlog(3, 1000)
    assert [backlog.add(report(n), 0) for n in range(5)] == [0, 0, 0, 1, 1]
    assert backlog.add(report(5, made_ms=1001), 1001) == 3
    assert taken(backlog) == [5]


def test_in_doubt_the_last_parts_of_each_station_come_again_before_all_else() -> None:
    backlog = Backlog(1000, LONG_MS)
    for n in range(50):
        for station in ("weld1", "weld2"):
            backlog.add(report(n, station), 0)
            backlog.take(0)
    backlog.add(report(50), 0)
    assert backlog.doubt(0) == 0
    again = range(50 - UNSURE_PARTS, 50)
    assert (len(backlog), backlog.unsent) == (2 * UNSURE_PARTS + 1, 1)
    assert taken(backlog) == [n for n in again for _ in range(2)] + [50]


def test_what_was_sent_long_ago_has_arrived() -> None:
    backlog = Backlog(10, LONG_MS)
    for n, sent_ms in enumerate((0, 1, UNSURE_MS)):
        backlog.add(report(n, made_ms=sent_ms), sent_ms)
        backlog.take(sent_ms)
    backlog.doubt(UNSURE_MS + 1)
    assert taken(backlog) == [1, 2]


def test_what_came_again_may_be_lost_again() -> None:
    backlog = Backlog(10, LONG_MS)
    backlog.add(report(1), 0)
    assert backlog.unsent == 1
    for _ in range(3):
        assert taken(backlog) == [1]
        backlog.doubt(0)
        assert (len(backlog), backlog.unsent) == (1, 0)
    assert backlog.add(report(2, made_ms=LONG_MS + 1), LONG_MS + 1) == 1
    assert (len(backlog), backlog.unsent) == (1, 1)


@given(
    st.lists(st.sampled_from(["weld1", "weld2", "take", "doubt"]), max_size=300),
    st.integers(0, UNSURE_PARTS),
)
def test_a_host_that_loses_the_last_few_of_each_station_hears_every_part(
    acts: list[str], on_its_way: int
) -> None:
    """Whenever it goes, it has lost up to `on_its_way` parts of each station, those that were sent last."""
    backlog = Backlog(10_000, LONG_MS)
    made = {"weld1": 0, "weld2": 0}
    arrived: dict[str, list[int]] = {"weld1": [], "weld2": []}
    way: dict[str, list[int]] = {"weld1": [], "weld2": []}

    def send() -> bool:
        one = backlog.take(0)
        if one is not None:
            way[one.part.station].append(one.part.sequence)
        for name, parts in way.items():
            while len(parts) > on_its_way:
                arrived[name].append(parts.pop(0))
        return one is not None

    for act in acts:
        match act:
            case "take":
                send()
            case "doubt":
                for parts in way.values():
                    parts.clear()
                backlog.doubt(0)
            case station:
                backlog.add(report(made[station], station), 0)
                made[station] += 1
    while send():
        pass
    for name, parts in arrived.items():
        heard = [*parts, *way[name]]
        assert sorted(set(heard)) == list(range(made[name]))
        # One that comes again is near enough to the newest for its readers to know it, and none is late.
        highest = -1
        for before, after in pairwise([-1, *heard]):
            highest = max(highest, before)
            assert highest - UNSURE_PARTS < after <= highest + 1
