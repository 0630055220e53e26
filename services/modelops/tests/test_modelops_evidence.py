"""Betting against a mean: nobody is wronged more often than promised, and what is wrong is found soon."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.modelops.evidence import against_at_least, against_at_most, enough

ERROR = 0.05


def runs(seed: int, share: tuple[float, float], count: int, length: int) -> np.ndarray:
    """Differences -1, 0, 1 with these shares of -1 and 1: int8 [count, length]."""
    drawn = np.random.default_rng(seed).random((count, length))
    less, more = share
    return ((drawn > 1 - more).astype(np.int8) - (drawn < less)).astype(np.int8)


def crossings(differences: np.ndarray, budget: float, *, above: bool) -> np.ndarray:
    """At which window each run is enough to give the claim up; -1: never. Looks where the capital may have
    grown: after each alarm of the trial alone, or after every fifth window."""
    found = np.full(len(differences), -1)
    for run, values in enumerate(differences):
        counts = {-1.0: 0, 0.0: 0, 1.0: 0}
        for at, value in enumerate(values.tolist(), 1):
            counts[float(value)] += 1
            if (value < 1) if above else at % 5:
                continue
            wealth = (
                against_at_most(budget, counts, low=-1.0)
                if above
                else against_at_least(budget, counts, high=1.0)
            )
            if enough(wealth, ERROR):
                found[run] = at
                break
    return found


@pytest.mark.parametrize("share", [(0.0, 0.0), (0.02, 0.02), (0.2, 0.2), (0.0, 0.01), (0.3, 0.31)])
def test_an_equal_version_is_hardly_ever_stopped_however_long_it_is_watched(
    share: tuple[float, float],
) -> None:
    """Also one at the very edge of its budget of 1 %: of 200 runs of 1500 windows, at most 5 % and what
    chance adds to that (three standard deviations)."""
    stopped = (crossings(runs(1, share, 200, 1500), 0.01, above=True) > 0).mean()
    assert stopped <= ERROR + 3 * math.sqrt(ERROR * (1 - ERROR) / 200)


@pytest.mark.parametrize("share", [(0.0, 0.01), (0.1, 0.11), (0.0, 0.05)])
def test_one_that_is_not_within_its_budget_is_hardly_ever_passed(share: tuple[float, float]) -> None:
    passed = (crossings(runs(2, share, 200, 1500), 0.01, above=False) > 0).mean()
    assert passed <= ERROR + 3 * math.sqrt(ERROR * (1 - ERROR) / 200)


@given(
    st.integers(0, 400),
    st.integers(0, 400),
    st.integers(0, 400),
    st.floats(0.0001, 0.5),
)
def test_nobody_gains_on_average_while_the_claim_holds(
    less: int, same: int, more: int, budget: float
) -> None:
    """One window later, with the mean at its limit, the capital is expected to be what it was: by that, and
    nothing else, it reaches 1/α with a chance of at most α."""
    counts = {-1.0: less, 0.0: same, 1.0: more}
    for wealth, low_chance in (
        (lambda c: against_at_most(budget, c, low=-1.0), (1 - budget) / 2),
        (lambda c: against_at_least(budget, c, high=1.0), (1 - budget) / 2),
    ):
        now = wealth(counts)
        up, down = 1 - low_chance, low_chance  # the mean of +1 and -1 is the budget
        later = math.log(
            up * math.exp(wealth({**counts, 1.0: more + 1}) - now)
            + down * math.exp(wealth({**counts, -1.0: less + 1}) - now)
        )
        assert later == pytest.approx(0.0, abs=1e-9)


def test_the_order_of_windows_says_nothing() -> None:
    counts = {1.0: 7, 0.0: 300, -1.0: 2}
    shuffled = {-1.0: 2, 1.0: 7, 0.0: 300}
    assert against_at_most(0.01, counts, low=-1.0) == pytest.approx(against_at_most(0.01, shuffled, low=-1.0))
    assert against_at_most(0.01, {}, low=-1.0) == 0.0


@pytest.mark.parametrize(
    ("serving", "trial", "windows"), [(0.01, 0.5, 40), (0.002, 0.1, 200), (0.0, 1.0, 12), (0.0, 0.05, 400)]
)
def test_many_more_alarms_are_found_within_few_windows(serving: float, trial: float, windows: int) -> None:
    """Among them fifty times as many: in nine of ten runs within so many windows."""
    differences = runs(3, (serving * (1 - trial), trial * (1 - serving)), 100, 2000)
    found = crossings(differences, 0.01, above=True)
    assert (found > 0).all()
    assert np.quantile(found, 0.9) <= windows


PASSES = {0.01: (429, 475), 0.001: (4300, 4800), 0.05: (84, 92)}
"""Of a version that says the same of every window: how many it takes, by the budget. In the README."""


@pytest.mark.parametrize("budget", PASSES)
def test_how_many_windows_it_takes_to_pass(budget: float) -> None:
    least, most = PASSES[budget]

    def passed(windows: int) -> bool:
        return enough(against_at_least(budget, {0.0: windows}, high=1.0), ERROR)

    found = next(n for n in range(1, most + 1) if passed(n))
    assert least <= found <= most, found
