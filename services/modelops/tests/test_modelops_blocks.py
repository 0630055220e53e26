"""Alarms come in episodes, and a trial is judged by blocks of windows: both of its errors stay rare."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from twinloop.modelops.blocks import Blocks
from twinloop.modelops.evidence import against_at_least, against_at_most, enough

ERROR = 0.05
RUNS = 200
RARE = ERROR + 3 * math.sqrt(ERROR * (1 - ERROR) / RUNS)
"""And what chance adds to it: three standard deviations."""
LOOK = 20
"""Windows from one look to the next."""


def blocks_of(values: list[int], length: int) -> Counter[float]:
    """The mean of every second block, cut by hand."""
    whole = [values[at : at + length] for at in range(0, len(values) - length + 1, length)]
    return Counter(sum(one) / length for one in whole[::2])


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans()), max_size=200), st.integers(1, 5)
)
def test_every_second_block_of_an_asset_is_a_piece(pairs: list[tuple[str, bool, bool]], least: int) -> None:
    made = Blocks(least)
    values: dict[str, list[int]] = {"a": [], "b": []}
    for asset, serving, trial in pairs:
        made.add(asset, serving=serving, trial=trial)
        values[asset].append(trial - serving)
    for ended in (True, False):
        length = made.length(ended=ended)
        due = blocks_of(values["a"], length) + blocks_of(values["b"], length)
        assert made.means(ended=ended) == due


def test_a_block_grows_with_the_longest_alarm_that_one_of_both_has_alone() -> None:
    made = Blocks(10)

    def lasts(windows: int, *, serving: bool, trial: bool) -> tuple[int, int]:
        for _ in range(windows):
            made.add("a", serving=serving, trial=trial)
        return made.length(ended=True), made.length(ended=False)

    assert lasts(500, serving=True, trial=True) == (10, 10), "both have it"
    assert lasts(8, serving=False, trial=True) == (10, 10)
    assert lasts(30, serving=True, trial=True) == (10, 10), "it goes on, with the other one's"
    assert lasts(8, serving=False, trial=True) == (10, 20), "16 windows of one alarm so far"
    assert lasts(1, serving=False, trial=False) == (20, 20)
    assert lasts(80, serving=True, trial=False) == (20, 80)
    assert lasts(1, serving=False, trial=False) == (80, 80)
    assert lasts(9, serving=False, trial=True) == (80, 80)


# ---- both errors, where alarms last

Flags = NDArray[np.bool_]
Line = Callable[[np.random.Generator], tuple[Flags, Flags]]
"""The alarms of the version that serves, and of the one on trial, window by window."""


def episodes(draw: np.random.Generator, windows: int, share: float, length: int) -> Flags:
    """Alarms on a share of the windows, in episodes that begin by chance and last so long."""
    found = np.zeros(windows, bool)
    for at in draw.integers(1 - length, windows, draw.poisson(windows * share / length)):
        found[max(0, at) : at + length] = True
    return found


@dataclass(frozen=True)
class Looks:
    """A trial that is looked at every twenty windows, to its end: with blocks, and as if nothing lasted."""

    allowed: float
    block: int = 10

    def stopped(self, line: tuple[Flags, Flags]) -> bool:
        return any(
            enough(against_at_most(self.allowed, made.means(ended=True), low=-1.0), ERROR)
            for made in self._grown(line)
        )

    def passed(self, line: tuple[Flags, Flags]) -> bool:
        return any(
            enough(against_at_least(self.allowed, made.means(ended=False), high=1.0), ERROR)
            for made in self._grown(line)
        )

    def stopped_by_windows(self, line: tuple[Flags, Flags]) -> bool:
        return any(enough(against_at_most(self.allowed, one, low=-1.0), ERROR) for one in counted(line))

    def passed_by_windows(self, line: tuple[Flags, Flags]) -> bool:
        return any(enough(against_at_least(self.allowed, one, high=1.0), ERROR) for one in counted(line))

    def _grown(self, line: tuple[Flags, Flags]) -> Iterator[Blocks]:
        made = Blocks(self.block)
        for at, (serving, trial) in enumerate(zip(*(one.tolist() for one in line), strict=True), 1):
            made.add("a", serving=serving, trial=trial)
            if at % LOOK == 0:
                yield made


def counted(line: tuple[Flags, Flags]) -> Iterator[Counter[float]]:
    """How often each difference was seen, so far."""
    values, counts = (line[1].astype(int) - line[0]).tolist(), Counter[float]()
    for at in range(0, len(values), LOOK):
        counts.update(values[at : at + LOOK])
        yield counts


def equal(share: float, length: int, windows: int) -> Line:
    return lambda draw: (episodes(draw, windows, share, length), episodes(draw, windows, share, length))


def earlier(share: float, length: int, by: int, windows: int) -> Line:
    """The same alarms, noticed earlier."""

    def line(draw: np.random.Generator) -> tuple[Flags, Flags]:
        found = episodes(draw, windows + by, share, length)
        return found[:windows], found[by:]

    return line


def too_many(share: float, length: int, windows: int) -> Line:
    return lambda draw: (np.zeros(windows, bool), episodes(draw, windows, share, length))


def share_of(ended: Callable[[tuple[Flags, Flags]], bool], line: Line) -> float:
    draw = np.random.default_rng(7)
    return float(np.mean([ended(line(draw)) for _ in range(RUNS)]))


GOOD = {
    "episodes of 60": (Looks(0.01), equal(0.01, 60, 5000), 0.2),
    "of 60, told by the contracts": (Looks(0.01, 60), equal(0.01, 60, 5000), 0.2),
    "of 10, often": (Looks(0.01), equal(0.05, 10, 3000), 0.4),
    "noticed 20 windows earlier": (Looks(0.01), earlier(0.02, 60, 20, 5000), 0.2),
}


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_a_version_within_its_alarms_is_hardly_ever_stopped(case: tuple[Looks, Line, float]) -> None:
    """Betting on each window by itself stops many of them."""
    looks, line, by_windows = case
    assert share_of(looks.stopped, line) <= RARE
    assert share_of(looks.stopped_by_windows, line) > by_windows


BAD = {
    "five times too many, in episodes of 60": (Looks(0.05), too_many(0.25, 60, 2500), 0.4),
    "at the edge, in episodes of 20": (Looks(0.05), too_many(0.051, 20, 2500), 0.4),
    "at the edge, in episodes of 60, told by the contracts": (Looks(0.1, 60), too_many(0.105, 60, 7000), 0.4),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_a_version_with_too_many_is_hardly_ever_passed(case: tuple[Looks, Line, float]) -> None:
    looks, line, by_windows = case
    assert share_of(looks.passed, line) <= RARE
    assert share_of(looks.passed_by_windows, line) > by_windows


def test_one_that_alarms_all_the_time_is_still_found_soon() -> None:
    """An alarm that has not ended is no episode: at one asset 130 windows are enough, at seven 10."""
    all_the_time = np.zeros(140, bool), np.ones(140, bool)
    assert Looks(0.01).stopped(all_the_time)
    many = Blocks(10)
    for asset in "abcdefg":
        for _ in range(10):
            many.add(asset, serving=False, trial=True)
    assert enough(against_at_most(0.01, many.means(ended=True), low=-1.0), ERROR)


PASSES = {0.05: 1830, 0.01: 9350}
"""Windows of an asset that it takes to pass, where both say the same of every one. In the README."""


@pytest.mark.parametrize("allowed", PASSES)
def test_how_many_windows_it_takes_to_pass(allowed: float) -> None:
    made, windows = Blocks(10), 0
    while not enough(against_at_least(allowed, made.means(ended=False), high=1.0), ERROR):
        for _ in range(10):
            made.add("a", serving=False, trial=False)
        windows += 10
    assert 0.9 * PASSES[allowed] <= windows <= PASSES[allowed]
