"""Recordings of the benchmark's form: what is learnt is of the signals, not of where in a file they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twinloop.trainer import skab
from twinloop.trainer.benchmark import alarms, board
from twinloop.trainer.errors import BadRecording, NotScored
from twinloop.trainer.fit import answer
from twinloop.trainer.recipes import SKAB
from twinloop.trainer.scoreboard import position, score, total
from twinloop.trainer.verdicts import Judged

TRAIN = skab.TRAIN_ROWS
WARM_UP = SKAB.spec.window - 1


def recording(seed: int, fault: tuple[int, int] = (570, 970), rows: int = 1140) -> skab.Recorded:
    """Eight signals with a memory; the fault moves two of them."""
    draw = np.random.default_rng(seed)
    values = draw.standard_normal((rows, 8)) + 0.3 * np.sin(np.arange(rows) / 7)[:, None]
    values += 10 * np.arange(1, 9)
    anomalous = np.zeros(rows, np.bool_)
    anomalous[fault[0] : fault[1]] = True
    values[anomalous, 2:4] += (6, -6)
    return skab.Recorded(str(seed), f"skab.made.{seed}", values.astype(np.float32), anomalous)


def write(folder: Path, one: skab.Recorded) -> Path:
    lines = [";".join(["datetime", *SKAB.spec.signals, "anomaly", "changepoint"])]
    for row, (values, anomalous) in enumerate(zip(one.values, one.anomalous, strict=True)):
        at = f"2020-03-09 10:{row // 60:02}:{row % 60:02}"
        lines.append(";".join([at, *map(repr, values.tolist()), f"{float(anomalous)}", "0.0"]))
    folder.mkdir(exist_ok=True)
    path = folder / f"{one.name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_file_is_read_as_it_is_replayed(tmp_path: Path) -> None:
    for seed in (2, 10):
        write(tmp_path / "val ve", recording(seed))
    two, ten = skab.read_folder(tmp_path / "val ve")
    assert (two.asset, ten.asset) == ("skab.val_ve.2", "skab.val_ve.10")
    assert np.array_equal(ten.values, recording(10).values)
    assert np.array_equal(ten.anomalous, recording(10).anomalous)


def test_what_cannot_be_read_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, recording(1))
    whole = path.read_text()
    path.write_text(whole.replace("10:00:05;", "10:00:05;nothing", 1))
    with pytest.raises(BadRecording, match=r"1\.csv, line 7: not a number"):
        skab.read(path)
    path.write_text(whole.replace("Pressure", "Depression"))
    with pytest.raises(BadRecording, match="'Pressure' once"):
        skab.read(path)
    path.write_text("\n".join(whole.splitlines()[:401]))
    with pytest.raises(BadRecording, match="more than 400 rows"):
        skab.read(path)
    with pytest.raises(BadRecording, match="holds no CSV file"):
        skab.read_folder(tmp_path / "none")


def test_a_window_ends_with_every_row_from_the_tenth_on() -> None:
    values = recording(1).values
    windows = skab.windows(values)
    assert windows.shape == (len(values) - WARM_UP, 10, 8)
    for n in (0, 1, 777):
        assert np.array_equal(windows[n], values[n : n + 10])


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_nothing_is_learnt_from_rows_after_the_training_rows(seed: int) -> None:
    values = recording(seed).values
    other = values.copy()
    other[TRAIN:] = np.random.default_rng(seed).standard_normal((len(values) - TRAIN, 8)) * 1000
    ours, theirs = skab.fit(values), skab.fit(other)
    assert ours.threshold == theirs.threshold
    assert np.array_equal(ours.weights, theirs.weights)
    assert np.array_equal(ours.centre, theirs.centre)
    assert not skab.verdicts(ours, values)[:TRAIN].all()


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), row=st.integers(TRAIN, 1000))
def test_a_verdict_rests_on_rows_up_to_its_own(seed: int, row: int) -> None:
    """Online: what comes later changes nothing that has been said."""
    values = recording(seed).values
    model = skab.fit(values)
    other = values.copy()
    other[row + 1 :] += 100
    assert np.array_equal(skab.verdicts(model, values)[: row + 1], skab.verdicts(model, other)[: row + 1])
    assert skab.verdicts(model, other)[row + 1 + WARM_UP :].all()


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), shift=st.integers(1, 300))
def test_where_a_recording_begins_changes_no_verdict_after_the_warm_up(seed: int, shift: int) -> None:
    values = recording(seed).values
    model = skab.fit(values)
    whole, late = skab.verdicts(model, values), skab.verdicts(model, values[shift:])
    assert whole[TRAIN:].any()
    assert np.array_equal(whole[shift + WARM_UP :], late[WARM_UP:])


def test_a_detector_that_knows_only_positions_scores_high_until_faults_move() -> None:
    """The reason for the control: `learnt` knows nothing but in which rows faults lay in other files."""
    usual = [recording(seed) for seed in range(6)]
    learnt = np.mean([one.anomalous[TRAIN:] for one in usual], axis=0) > 0.5
    by_position = total(score(one.anomalous[TRAIN:], learnt) for one in usual)
    control = total(score(one.anomalous[TRAIN:], position(one.anomalous[TRAIN:])) for one in usual)
    assert by_position.f1 == pytest.approx(control.f1, abs=0.05)
    by_signals = total(score(one.anomalous[TRAIN:], _said(one)) for one in usual)
    assert by_signals.f1 > 0.9

    moved = [recording(seed, fault=(970, 1130)) for seed in range(6)]
    assert total(score(one.anomalous[TRAIN:], learnt) for one in moved).f1 < 0.05
    assert total(score(one.anomalous[TRAIN:], _said(one)) for one in moved).f1 > 0.9


def _said(one: skab.Recorded) -> NDArray[np.bool_]:
    return skab.verdicts(skab.fit(one.values), one.values)[TRAIN:]


def test_the_board_is_of_verdicts_and_a_missing_one_is_named() -> None:
    one = recording(1)
    flags = skab.verdicts(skab.fit(one.values), one.values)
    said = Judged(set(range(WARM_UP, len(flags))), set(np.flatnonzero(flags).tolist()))
    assert np.array_equal(alarms(one, said), flags)
    text = board([one], {one.asset: said})
    expected = score(one.anomalous[TRAIN:], flags[TRAIN:])
    assert f"{expected.f1:.3f}" in text
    assert "rows 170 to 580" in text
    assert "all 1140 rows of 1 files accounted for" in text
    said.rows.discard(700)
    with pytest.raises(NotScored, match="1 of 1131 windows have no verdict, the first ends at row 700"):
        board([one], {one.asset: said})


def test_scores_fall_and_rise_with_the_fault() -> None:
    one = recording(3)
    model = skab.fit(one.values)
    scores = answer(model, skab.windows(one.values)).score
    assert np.median(scores[580:960]) > 5 * model.threshold
    assert np.median(scores[990:]) < model.threshold
