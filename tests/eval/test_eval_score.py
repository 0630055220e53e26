"""What is counted, on flags made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from eval.data import Labelled
from eval.score import events, figures, part, rows, sequences
from eval.variants import VARIANTS, stretches


def flags(count: int, *spans: tuple[int, int]) -> np.ndarray:
    made = np.zeros(count, np.bool_)
    for first, end in spans:
        made[first:end] = True
    return made


def test_a_file_s_alarms_are_found_late_early_or_false() -> None:
    labels = flags(100, (20, 40), (60, 80))
    one = part(labels, flags(100, (5, 8), (25, 45), (58, 70)))
    assert one.delays == (5.0, 0.0)
    assert (one.score.episodes, one.early) == (1, 1)
    found = rows([one])
    assert (found["found"], found["events"], found["delay"]) == (2, 2, 2.5)
    assert found["far"] == pytest.approx((3 + 5 + 2) / 60)
    assert found["mar"] == pytest.approx((5 + 10) / 40)
    assert found["false_an_hour"] == pytest.approx(3600 / 60)
    missed = rows([part(labels, flags(100, (25, 30)))])
    assert missed["delay"] == np.inf


def test_sequences_are_found_by_any_overlap_and_near_runs_are_one() -> None:
    labelled = ((100, 150), (400, 420))
    one = events(labelled, flags(1000, (90, 95), (130, 160), (600, 610), (650, 660), (800, 810)))
    assert one.found == (True, False)
    assert one.false_runs == ((600, 659), (800, 809))  # the first run merges into the one that is found
    assert (one.false_rows, one.normal_rows) == (5 + 9 + 10 + 10 + 10, 1000 - 51 - 21)
    found = sequences([one])
    assert (found["precision"], found["recall"]) == (pytest.approx(1 / 3), 0.5)


def test_intervals_are_of_whole_files() -> None:
    labels = flags(100, (50, 80))
    good, bad = part(labels, labels), part(labels, ~labels)
    row = figures([good] * 7 + [bad], rows)
    assert row["f1"].low < row["f1"].value < row["f1"].high == 1.0
    assert figures([good] * 8, rows)["f1"].low == 1.0


def test_a_variant_moves_the_fault_and_leaves_its_rows() -> None:
    values = np.arange(1200, dtype=np.float32)[:, None]
    file = Labelled("1", values, flags(1200, (570, 980)))
    for name, begins in (
        ("50 rows later", 520),
        ("320 rows of health more", 890),
        ("960 rows of health more", 1530),
    ):
        moved = VARIANTS[name](file)
        assert np.flatnonzero(moved.anomalous)[0] == begins
        assert (moved.rows[moved.anomalous] == values[570:980]).all()
        assert np.abs(np.diff(moved.rows[:, 0])).max() <= 1
    assert VARIANTS["ends in the fault"](file).anomalous[-1]
    parts = stretches(Labelled("long", np.zeros((3000, 1), np.float32), flags(3000)))
    assert [len(one.rows) for one in parts] == [1150] * 5
