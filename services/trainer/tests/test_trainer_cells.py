"""The exported graph of ΔR answers what numpy does, bit by bit the same file each time."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twinloop.features.cells import SNIPPET, slopes
from twinloop.trainer.cells_made import answer, cells, golden
from twinloop.trainer.cells_onnx import contract_of, features, signals, to_onnx

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def snippets(count: int, groups: int) -> NDArray[np.float32]:
    """What a pack's sensors would give: rounded to 1 mV, one group 300 µΩ too high."""
    draw = np.random.default_rng(groups)
    current = 60 + 70 * draw.standard_normal((count, SNIPPET, 1))
    resistance = 1040 + 30 * draw.standard_normal((count, 1, groups))
    resistance[:, :, groups // 3] += 300
    voltage = 3.7 - current * resistance * 1e-6 + 1.5e-3 * draw.standard_normal((count, SNIPPET, groups))
    distance = np.broadcast_to(np.linspace(12_345.0, 12_346.5, SNIPPET)[:, None], (count, SNIPPET, 1))
    return np.concatenate([current, np.round(voltage, 3), distance], axis=2).astype(np.float32)


@pytest.mark.parametrize("groups", [95, 96])
@pytest.mark.parametrize("count", [1, 64])
def test_onnxruntime_answers_what_numpy_does(groups: int, count: int) -> None:
    windows = snippets(count, groups)
    session = ort.InferenceSession(to_onnx(groups), providers=["CPUExecutionProvider"])
    score, found, deviations = session.run(["score", "features", "deviations"], {"windows": windows})
    wanted = slopes(windows[:, :, :-1])
    delta, se, noise, distance = np.split(found, [groups, 2 * groups, 3 * groups], axis=1)
    assert delta == pytest.approx(wanted.delta_r_uohm, abs=0.02)
    assert se == pytest.approx(wanted.se_uohm, abs=0.005)
    assert noise == pytest.approx(wanted.noise, abs=0.005)
    assert distance[:, 0] == pytest.approx(12_346.5)
    assert deviations[:, :groups] == pytest.approx(wanted.delta_r_uohm / wanted.se_uohm, abs=0.02)
    assert (deviations[:, groups:] == found[:, groups:]).all()
    assert score == pytest.approx((wanted.delta_r_uohm / wanted.se_uohm).max(axis=1), abs=0.02)
    assert (score > contract_of(groups, b"").threshold).all()
    assert delta.argmax(axis=1).tolist() == [groups // 3] * count


def test_a_minute_that_says_nothing_has_a_finite_answer() -> None:
    session = ort.InferenceSession(to_onnx(8), providers=["CPUExecutionProvider"])
    still = snippets(1, 8)
    still[:, :, 0] = 50.0
    for windows in (np.zeros((1, SNIPPET, 10), np.float32), still):
        for said in session.run(["score", "features", "deviations"], {"windows": windows}):
            assert np.isfinite(said).all()


def test_the_file_is_the_same_each_time_and_its_contract_names_its_columns() -> None:
    file = to_onnx(96)
    assert to_onnx(96) == file
    contract = contract_of(96, file)
    assert (contract.window, len(contract.signals), len(contract.features)) == (60, 98, 289)
    assert contract.signals == signals(96)
    assert contract.features == features(96)
    assert contract.digest != contract_of(96, to_onnx(95)).digest


@settings(max_examples=20)
@given(groups=st.integers(2, 120))
def test_of_any_number_of_groups_it_answers_as_staging_wants(groups: int) -> None:
    made = cells("cells_a", groups, NOW)
    assert (made.contract.model, made.contract.version, len(made.contract.signals)) == (
        "cells_a",
        0,
        groups + 2,
    )
    assert len(made.golden.windows) == 64


def test_its_card_says_that_nothing_was_learnt() -> None:
    card = cells("cells", 96, NOW).card
    assert (card.trained.windows, card.measured, card.reference, card.settings) == (0, (), {}, {"groups": 96})
    assert any("it has learnt nothing" in one for one in card.limits)


def test_it_is_checked_by_minutes_that_move_and_in_which_a_joint_has_grown() -> None:
    windows = golden(96)
    assert np.array_equal(windows, golden(96))
    said = answer(windows)
    assert (said.score > 50).all()
    assert (said.features[:, :96].argmax(axis=1) == 32).all()
    assert np.isfinite(said.features).all()
