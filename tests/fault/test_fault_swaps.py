"""The reconciliation of swaps, by verdicts made by hand: two versions, one window an end, one asset."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from fault.load import SIGNAL_SET, SIGNALS, Content
from fault.oracle import Given, Judged, Rules
from fault.swaps import Due, End, due, reconcile_swaps

ASSET = "line.station"


def judged(offset: int, row: int = 0, version: int = 1) -> Judged:
    window = f"window {version}/{offset}/{row}"
    return Judged(f"frame-{offset}", ASSET, "", offset, row, 0.5, False, "", window)


DUE: Due = {
    1: {ASSET: {End(n, 0): judged(n) for n in range(10)}},
    2: {ASSET: {End(n, 1): judged(n, 1, 2) for n in range(4, 10, 2)}},
    3: {},
}


def said(**by_version: Mapping[int, int] | list[int]) -> list[tuple[int, End, Judged]]:
    rows = {"one": (1, 0), "two": (2, 1)}
    return [
        (rows[name][0], End(n, rows[name][1]), judged(n, rows[name][1], rows[name][0]))
        for name, offsets in by_version.items()
        for n in offsets
    ]


def test_a_swap_at_an_offset_is_exact() -> None:
    for last in range(3, 9):
        later = [n for n in (4, 6, 8) if n > last]
        result = reconcile_swaps(DUE, said(one=list(range(last + 1)), two=later), lambda _: [1, 2])
        if later:
            assert (result.problems, result.swaps, result.verdicts) == ([], 1, last + 1 + len(later))


@pytest.mark.parametrize(
    ("one", "two", "turns", "why"),
    [
        (range(10), [], [1, 2], None),
        (range(9), [], [1, 2], None),  # by then it was the turn of the other, who owes nothing there
        (range(9), [], [1], "nobody spoke of the frame at offset 9"),
        (range(3), [8], [1, 2], "nobody spoke of the frame at offset 4"),
        ([0, 1, 2, 4, 5], [6, 8], [1, 2], "when it was not its turn"),
        ([0, 1, 2, 4, 5], [6, 8], [1, 2, 1, 2], None),
        ([0, 1, 2, 5], [6, 8], [1, 2, 1, 2], "nobody spoke of the frame at offset 4"),
        (range(1, 6), [6, 8], [1, 2], "when it was not its turn"),
        (range(6), [8], [1, 2], "nobody spoke of the frame at offset 6"),
        (range(6), [6], [1, 2], "nobody spoke of the frame at offset 8"),
        (range(7), [6, 8], [1, 2], "versions [1, 2] decided of the frame at offset 6"),
        (range(6), [6, 8], [2, 1], "when it was not its turn"),
        (range(6), [6, 8], [1, 3, 2], None),
        ([], [], [1, 2], "nobody spoke of the frame at offset 4"),
    ],
)
def test_what_is_missing_or_too_much_is_found(
    one: range | list[int], two: list[int], turns: list[int], why: str | None
) -> None:
    problems = reconcile_swaps(DUE, said(one=list(one), two=two), lambda _: turns).problems
    assert any(why in problem for problem in problems) if why else problems == []


def test_doubles_and_other_windows_are_found() -> None:
    whole = said(one=list(range(10)))
    double = reconcile_swaps(DUE, [*whole, whole[4]], lambda _: [1])
    assert any("twice" in one for one in double.problems)
    version, end, _ = whole[4]
    other = [*whole[:4], (version, end, judged(4, 0, 7)), *whole[5:]]
    assert any("what it should not" in one for one in reconcile_swaps(DUE, other, lambda _: [1]).problems)


def test_what_is_due_is_what_the_oracle_says_of_each_version_alone() -> None:
    content, rng = iter(Content(3, assets=4)), random.Random(3)
    given = [Given("t", 0, n, next(content)[1]) for n in range(rng.randint(400, 500))]
    rules = {n: Rules(SIGNAL_SET, SIGNALS, window, 2, 0.75, 3000) for n, window in ((1, 8), (2, 4))}
    found = due(given, rules)
    assert sum(map(len, found[1].values())) < sum(map(len, found[2].values()))
    assert all(ends for of_version in found.values() for ends in of_version.values())
