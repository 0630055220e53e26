"""What versions are asked, from Triton's counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.modelops.uses import VERDICTS_PER_S, Uses, every, since
from twinloop.tritonio.server import Usage

ONE = ("level", 1)


def used(requests: int) -> Usage:
    return Usage(requests=requests, failures=0, windows=10 * requests, busy_s=float(requests))


def test_counts_go_on_over_a_restart_of_triton() -> None:
    uses = Uses()
    for at, requests in enumerate((100, 105, 2, 7)):
        uses.take("level", {1: used(requests)}, float(at))
    assert uses.since_start(ONE) == used(5 + 2 + 5)
    assert uses.since_start(("level", 2)) == Usage()
    assert since(uses.since_start(ONE), used(5)) == used(7)


def test_the_rate_is_that_of_the_last_minute() -> None:
    uses = Uses()
    assert uses.windows_per_s(ONE) is None
    for at in range(200):
        requests = 10 * at if at < 100 else 1000 + (at - 100)  # 100 windows a second, then 10
        uses.take("level", {1: used(requests)}, float(at))
        if at == 0:
            assert uses.windows_per_s(ONE) is None
        if at == 90:
            assert uses.windows_per_s(ONE) == pytest.approx(100)
    assert uses.windows_per_s(ONE) == pytest.approx(10)


def test_a_version_is_quiet_from_the_last_request_to_the_last_look() -> None:
    """Time in which nobody looked says nothing."""
    uses = Uses()
    assert uses.quiet_s(ONE) is None
    uses.take("level", {1: used(5)}, 100.0)
    assert uses.quiet_s(ONE) == 0.0
    uses.take("level", {1: used(5)}, 104.0)
    assert uses.quiet_s(ONE) == 4.0
    uses.take("level", {1: used(6)}, 106.0)
    assert uses.quiet_s(ONE) == 0.0
    uses.take("level", {1: Usage(6, 1, 50, 5.0)}, 107.0)
    assert uses.quiet_s(ONE) == 0.0
    uses.take("level", {2: used(1)}, 108.0)
    assert uses.quiet_s(ONE) is None


@given(st.floats(0, 1e6))
def test_as_many_verdicts_are_published_as_can_be_read(windows_per_s: float) -> None:
    n = every(windows_per_s)
    assert 2 * windows_per_s / n <= VERDICTS_PER_S
    assert n == 1 or 2 * windows_per_s / (n - 1) > VERDICTS_PER_S


def test_of_few_windows_every_verdict_is_published() -> None:
    assert [every(one) for one in (None, 0.0, 1.0, 100.0, 101.0, 10_000.0)] == [1, 1, 1, 1, 2, 100]
