"""The score, against cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.trainer.scoreboard import Flags, Score, everything, position, runs, score, total


def flags(text: str) -> Flags:
    return np.array([one == "#" for one in text])


def test_a_case_counted_by_hand() -> None:
    #         an alarm before   event with tail     missed   alarm that was on before
    labels = flags("..........  ....####....  ..##..  ....##")
    alarms = flags(".##..#....  .....##.###.  ......  ..####")
    one = score(labels, alarms)
    assert (one.true_positives, one.false_negatives) == (2 + 2, 2 + 2 + 0)
    assert (one.false_positives, one.true_negatives) == (2 + 1 + 3 + 2, 40 - 8 - 8)
    assert (one.events, one.detected, one.delays_rows) == (3, 2, (1, 0))
    assert one.median_delay_rows == 0.5
    assert one.episodes == 3  # what touches an event is none
    assert one.f1 == pytest.approx(2 * 4 / (2 * 4 + 8 + 4))
    assert one.false_alarm_rate == pytest.approx(8 / 32)
    assert one.missed_alarm_rate == pytest.approx(0.5)
    assert one.episodes_an_hour == pytest.approx(3 * 3600 / 32)


def test_one_alarmed_row_of_a_long_event_counts_as_one_row() -> None:
    """No point adjustment: the rest of the event stays missed."""
    labels = flags("." * 50 + "#" * 50)
    alarms = flags("." * 60 + "#" + "." * 39)
    one = score(labels, alarms)
    assert (one.true_positives, one.false_negatives, one.delays_rows) == (1, 49, (10,))
    assert one.f1 == pytest.approx(2 / 51)


def test_totals_are_of_counts_and_not_of_ratios() -> None:
    good = score(flags("####......"), flags("####......"))
    bad = score(flags("#........."), flags(".........."))
    both = total([good, bad])
    assert both.f1 == pytest.approx(2 * 4 / (2 * 4 + 1))
    assert (both.events, both.detected) == (2, 1)
    assert total([]) == Score()
    assert (Score().f1, Score().median_delay_rows, Score().episodes_an_hour) == (0.0, None, 0.0)


def test_runs() -> None:
    assert runs(flags("##..#.###")) == [(0, 2), (4, 5), (6, 9)]
    assert runs(flags("....")) == []


def test_every_row_needs_a_verdict() -> None:
    with pytest.raises(ValueError, match="3 verdicts on 4 rows"):
        score(flags("...."), flags("..."))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_every_row_is_counted_once_and_the_score_knows_no_order_of_files(
    rows: list[tuple[bool, bool]],
) -> None:
    labels, alarms = (np.array(one) for one in zip(*rows, strict=True))
    one = score(labels, alarms)
    assert (one.true_positives + one.true_negatives + one.false_positives + one.false_negatives) == len(rows)
    assert one.detected <= one.events
    assert (one.f1 == 1) == (bool(labels.any()) and bool((labels == alarms).all()))
    assert (one + score(alarms, labels)).f1 == pytest.approx((score(alarms, labels) + one).f1)
    # Counted from its end, a file has the same rows, events and episodes.
    back = score(labels[::-1], alarms[::-1])
    assert (back.f1, back.events, back.detected, back.episodes) == (
        one.f1,
        one.events,
        one.detected,
        one.episodes,
    )


def test_controls() -> None:
    labels = np.zeros(700, np.bool_)
    labels[172:575] = True
    assert score(labels, everything(labels)).false_alarm_rate == 1
    assert score(labels, everything(labels)).f1 == pytest.approx(2 * 403 / (403 + 700))
    assert runs(position(labels)) == [(170, 581)]
    assert score(labels, position(labels)).f1 == pytest.approx(2 * 403 / (403 + 411))
