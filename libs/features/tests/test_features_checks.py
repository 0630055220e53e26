"""Which frames are refused, and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.frames import Frame
from twinloop.features.checks import check_frame

SIGNALS = ("power_w", "depth_mm", "flow_l_min")
NOW_NS = 1_700_000_000_000_000_000
FRAME = Frame(
    asset="a.b.c.d.e",
    signal_set="s.v1",
    sequence=1,
    first_at_ns=NOW_NS,
    period_ns=1_000_000,
    samples=np.ones((4, 3), np.float32),
    observed_at_ns=NOW_NS,
    event_id="",
    trace_id="",
)


def spoiled(value: float, row: int = 2, column: int = 1) -> Frame:
    samples = FRAME.samples.copy()
    samples[row, column] = value
    return replace(FRAME, samples=samples)


def test_a_good_frame_passes() -> None:
    assert check_frame(FRAME, SIGNALS, now_ns=NOW_NS, max_age_ns=0, max_ahead_ns=0) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@given(row=st.integers(0, 3), column=st.integers(0, 2))
def test_a_value_that_is_no_number_is_named(value: float, row: int, column: int) -> None:
    frame = spoiled(value, row, column)
    refusal = check_frame(frame, SIGNALS)
    assert refusal is not None
    assert refusal.reason is Reason.NON_FINITE
    assert SIGNALS[column] in refusal.detail
    assert f"sample {row}" in refusal.detail


def test_a_value_marked_bad_may_be_anything() -> None:
    bad = np.zeros((4, 3), np.bool_)
    bad[2, 1] = True
    assert check_frame(replace(spoiled(np.nan), bad=bad), SIGNALS) is None
    refusal = check_frame(replace(spoiled(np.nan, row=1), bad=bad), SIGNALS)
    assert refusal is not None
    assert refusal.reason is Reason.NON_FINITE


@pytest.mark.parametrize("signals", [SIGNALS[:2], (*SIGNALS, "more")])
def test_another_number_of_signals_is_refused(signals: tuple[str, ...]) -> None:
    refusal = check_frame(FRAME, signals)
    assert refusal is not None
    assert refusal.reason is Reason.WRONG_SIGNAL_COUNT
    assert str(len(signals)) in refusal.detail


@given(age_ns=st.integers(-10_000, 10_000))
def test_time_is_judged_against_both_limits(age_ns: int) -> None:
    frame = replace(FRAME, first_at_ns=NOW_NS - age_ns)
    refusal = check_frame(frame, SIGNALS, now_ns=NOW_NS, max_age_ns=500, max_ahead_ns=300)
    if age_ns > 500:
        assert refusal is not None
        assert refusal.reason is Reason.TOO_OLD
    elif age_ns < -300:
        assert refusal is not None
        assert refusal.reason is Reason.IN_FUTURE
    else:
        assert refusal is None
    assert check_frame(frame, SIGNALS, now_ns=NOW_NS) is None
